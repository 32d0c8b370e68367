"""The pages: what a person sees of a queue, and what the forms do to it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from serving import MINUTE, Browser, MakeApp, dead_task

from lowq import Backend, Counts, open_backend

LATER = datetime(2031, 1, 1, 12, tzinfo=UTC)
NASTY = '<script>alert("1")</script>\u202e\x07'


class TestLooking:
    def test_the_first_page_shows_the_next_task_and_a_form(self, browser: Browser, queue: Backend) -> None:
        queue.push({"mail": "second"})
        queue.push({"mail": "first"}, priority=5)

        page = browser.get("/").text

        assert "&#34;mail&#34;: &#34;first&#34;" in page
        assert "second" not in page
        assert 'value="100"' in page
        assert all(f'name="{field}"' in page for field in ("payload", "priority", "exectime"))

    def test_a_task_of_the_future_is_next_only_where_none_is_due(self, browser: Browser, queue: Backend) -> None:
        queue.push("tomorrow", not_before=LATER, priority=9)
        alone = browser.get("/").text
        queue.push("today")

        assert "tomorrow" in alone
        assert "2031-01-01 12:00:00" in alone
        assert "tomorrow" not in browser.get("/").text

    def test_an_empty_queue_says_so(self, browser: Browser) -> None:
        assert "Nothing waits in this queue." in browser.get("/").text
        assert "The queue is empty." in browser.get("/tasks").text

    def test_tasks_are_listed_in_the_order_in_which_they_are_claimed(self, browser: Browser, queue: Backend) -> None:
        for work, priority in (("c", 0), ("a", 2), ("d", 0), ("b", 1)):
            queue.push(f"work {work}", priority=priority)

        page = browser.get("/tasks").text

        assert sorted("abcd", key=lambda each: page.index(f"work {each}")) == list("abcd")

    def test_the_ancestors_list_leads_to_the_tasks(self, browser: Browser) -> None:
        answer = browser.get("/list?name=default")

        assert (answer.status_code, answer.location) == (301, "/tasks?name=default")

    def test_tasks_are_shown_by_state(self, browser: Browser, queue: Backend) -> None:
        dead_task(queue, "a dead one", "ValueError: no")
        queue.push("a ready one")
        queue.push("a later one", not_before=LATER)

        shown = {state: browser.get(f"/tasks?state={state}").text for state in ("ready", "scheduled", "dead")}

        assert {state: [each for each in ("a ready one", "a later one", "a dead one") if each in page]
                for state, page in shown.items()} == {
            "ready": ["a ready one"], "scheduled": ["a later one"], "dead": ["a dead one"],
        }  # fmt: skip

    def test_every_task_is_on_exactly_one_of_the_pages(self, make_app: MakeApp, queue: Backend) -> None:
        for number in range(25):
            queue.push(f"work-{number:02}", priority=number % 3)
        browser = Browser(make_app(page_size=10).test_client())

        path, seen = "/tasks", []
        for _ in range(3):
            page = browser.get(path).text
            seen += [f"work-{number:02}" for number in range(25) if f"work-{number:02}" in page]
            link = page.partition('rel="next" href="')[2].partition('"')[0]
            path = link.replace("&amp;", "&")

        assert sorted(seen) == [f"work-{number:02}" for number in range(25)]
        assert link == ""

    @pytest.mark.parametrize("text", ["Needle", "needle", "KEY-7", "no such user"])
    def test_a_search_finds_works_keys_and_reasons(self, browser: Browser, queue: Backend, text: str) -> None:
        dead_task(queue, {"deep": ["a needle"], "n": 1}, "LookupError: no such user needle")
        queue.push({"deep": ["a needle"], "n": 2}, key="key-7")
        for number in range(20):
            queue.push({"hay": number})

        page = browser.get("/tasks", query_string={"q": text}).text

        assert "needle" in page
        assert "&#34;hay&#34;" not in page

    def test_a_search_goes_on_where_it_stopped(self, make_app: MakeApp, queue: Backend) -> None:
        for number in range(30):
            queue.push(f"{'odd' if number % 2 else 'even'}-{number:02}")
        browser = Browser(make_app(page_size=10).test_client())

        first = browser.get("/tasks?q=odd").text
        link = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
        second = browser.get(link).text

        found = [[number for number in range(30) if f"-{number:02}" in page] for page in (first, second)]
        assert found == [list(range(1, 20, 2)), list(range(21, 30, 2))]

    def test_one_task_is_shown_with_its_headers_and_its_traceback(self, browser: Browser, queue: Backend) -> None:
        queue.push({"mail": 1}, key="k", headers={"traceparent": "00-1"}, priority=7)
        lease = queue.claim(lease_for=MINUTE)
        assert lease is not None
        queue.dead_letter(lease, reason="Traceback (most recent call last):\n  boom\nValueError: no such user")

        page = browser.get(f"/task?id={lease.id}").text

        for text in ("traceparent", "00-1", "ValueError: no such user", "  boom", ">7<", "<code>k</code>", "Redrive"):
            assert text in page

    def test_the_counts_of_every_queue_of_the_location_are_shown(self, browser: Browser, location: Path) -> None:
        other = open_backend(location, name="mails")
        other.push_many([])
        other.push(1)
        other.close()

        page = browser.get("/").text

        assert 'href="/?name=mails"' in page
        assert browser.get("/counts?name=mails").json == {"ready": 1, "scheduled": 0, "leased": 0, "dead": 0}

    @pytest.mark.parametrize(
        "path", ["/", "/tasks", "/tasks?q=alert", "/task?id={id}", "/confirm?id={id}&verb=redrive"]
    )
    def test_nothing_that_a_task_says_is_taken_for_the_page(
        self, browser: Browser, queue: Backend, path: str
    ) -> None:
        queue.push({"work": NASTY}, key=NASTY, headers={NASTY: NASTY}, priority=2_000_000)
        lease = queue.claim(lease_for=MINUTE)
        assert lease is not None
        queue.dead_letter(lease, reason=NASTY)
        queue.push([NASTY])

        page = browser.get(path.format(id=lease.id)).text

        assert "<script>alert" not in page
        assert "alert" in page
        assert not {"\u202e", "\x07"} & set(page)

    @pytest.mark.parametrize(
        "path",
        [
            "/tasks?state=no", "/tasks?after=x", "/tasks?after=[1]", "/tasks?after=" + "[" * 9000, "/tasks?q=1&q=2",
            '/tasks?after=["1","ready",0,99999999999999999999]', '/tasks?after=["1","ready",2147483648,null]',
            '/tasks?after=["1","scheduled",0,-1]', "/?name=%00", "/?name=" + "x" * 201,
            "/confirm?id={id}&verb=no",
        ],
    )  # fmt: skip
    def test_a_wrong_address_is_a_page_that_says_so(self, browser: Browser, queue: Backend, path: str) -> None:
        answer = browser.get(path.replace("{id}", queue.push(1).id))

        assert answer.status_code == 400
        assert "This cannot be understood" in answer.text

    @pytest.mark.parametrize("path", ["/task?id=99", "/task", "/task?id=%F0%9F%90%9F", "/?name=other", "/nowhere"])
    def test_what_is_not_there_is_said_to_be_missing(self, browser: Browser, path: str) -> None:
        answer = browser.get(path)

        assert answer.status_code == 404
        assert "<h1" in answer.text


class TestForms:
    def test_a_new_task_is_kept_as_it_was_filled_in(self, browser: Browser, queue: Backend) -> None:
        page = browser.send(
            "/new", name="default", payload='{"mail": 1}', format="json", priority="-3", exectime="2031-01-01T12:00",
            key="k",
        )  # fmt: skip

        task = queue.tasks()[0]
        assert (task.work, task.priority, task.not_before, task.key) == ({"mail": 1}, -3, LATER, "k")
        assert f"Task {task.id} was added." in page.text

    @pytest.mark.parametrize(
        ("exectime", "kept"),
        [
            ("", None),
            ("2031-01-01T13:00+01:00", LATER),
            ("2031-01-01 12:00:00Z", LATER),
            ("2031-01-01T12:00:00", LATER),
        ],
    )
    def test_a_time_without_zone_is_utc_and_none_is_now(
        self, browser: Browser, queue: Backend, exectime: str, kept: datetime | None
    ) -> None:
        browser.send("/new", name="default", payload="1", priority="0", exectime=exectime)

        assert queue.tasks()[0].not_before == kept

    def test_a_text_is_kept_as_text(self, browser: Browser, queue: Backend) -> None:
        browser.send("/new", name="default", payload="two\r\nlines", format="text", priority="1", exectime="")

        assert queue.tasks()[0].work == "two\nlines"

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("priority", "1.5", "Write a whole number"), ("priority", "", "Write a whole number"),
            ("priority", "high", "found &#39;high&#39;"), ("priority", "2147483648", "Write a whole number"),
            ("priority", "1e3", "Write a whole number"), ("priority", "１", "Write a whole number"),
            ("priority", "9" * 5000, "Write a whole number"), ("priority", "--1", "Write a whole number"),
            ("exectime", "tomorrow", "Write a time"), ("exectime", "1969-12-31T23:59", "1970 to 9999"),
            ("exectime", "10000-01-01T00:00", "Write a time"), ("exectime", "9999-12-31T23:59-12:00", "1970 to 9999"),
            ("exectime", "2031-02-30T00:00", "Write a time"), ("exectime", "1767268800", "Write a time"),
            ("payload", "{'mail': 1}", "Not JSON"), ("payload", "", "Nothing was written"),
            ("payload", "NaN", "NaN is not JSON"), ("payload", "[" * 100_000, "Nested too deeply"),
            ("payload", "[" * 300 + "]" * 300, "nested more than"), ("payload", '"\\ud800"', "lone surrogate"),
            ("payload", "9" * 5000, "digits"), ("format", "yaml", "Choose JSON or text"),
        ],
    )  # fmt: skip
    def test_a_wrong_field_is_named_and_nothing_is_kept(
        self, browser: Browser, queue: Backend, field: str, value: str, says: str
    ) -> None:
        fields = {"name": "default", "payload": '{"mine": 1}', "priority": "7", "exectime": "", "format": "json"}

        answer = browser.send("/new", **{**fields, field: value})

        assert answer.status_code == 400
        assert "The task was not added" in answer.text
        assert says in answer.text
        assert field == "payload" or "{&#34;mine&#34;: 1}" in answer.text  # what was right is still filled in
        assert queue.count() == Counts()

    @pytest.mark.parametrize("change", ["missing", "twice", "unknown"])
    def test_a_form_of_other_fields_is_refused(self, browser: Browser, queue: Backend, change: str) -> None:
        fields = {
            "name": ["default"],
            "payload": ["1"],
            "priority": ["7"],
            "exectime": [""],
            "csrf": [browser.mark()],
        }
        if change == "missing":
            del fields["priority"]
        elif change == "twice":
            fields["priority"].append("8")
        else:
            fields["urgency"] = ["9"]

        answer = browser.client.post("/new", data=fields)

        assert answer.status_code == 400
        assert queue.count() == Counts()

    def test_an_equal_task_is_not_kept_twice_and_the_page_says_so(self, browser: Browser, queue: Backend) -> None:
        fields = {"name": "default", "payload": "1", "priority": "0", "exectime": ""}
        browser.send("/new", **fields)

        assert "Not added: task 1 in the queue is equal to it" in browser.send("/new", **fields).text
        assert queue.count() == Counts(ready=1)

    def test_a_task_is_deleted(self, browser: Browser, queue: Backend) -> None:
        id = queue.push(1).id
        asked = browser.get(f"/confirm?id={id}&verb=cancel").text

        page = browser.send("/delete", name="default", id=id)

        assert f"Delete task {id}?" in asked
        assert f"Task {id} was deleted." in page.text
        assert queue.count() == Counts()

    def test_a_dead_task_is_redriven(self, browser: Browser, queue: Backend) -> None:
        id = dead_task(queue, 1, "no")

        browser.send("/redrive", name="default", id=id)

        assert queue.count() == Counts(ready=1)

    def test_what_a_worker_holds_cannot_be_deleted(self, browser: Browser, queue: Backend) -> None:
        id = queue.push(1).id
        lease = queue.claim(lease_for=MINUTE)

        answer = browser.send("/delete", name="default", id=id)

        assert (answer.status_code, lease is not None) == (409, True)
        assert "a worker holds it" in answer.text

    def test_a_task_that_was_claimed_here_is_released_and_its_worker_refused(
        self, browser: Browser, queue: Backend
    ) -> None:
        queue.push(1)
        given = browser.get("/api/next").json
        assert given is not None
        id = queue.tasks()[0].id
        asked = browser.get(f"/task?id={id}").text

        browser.send("/release", name="default", id=id)

        assert "verb=release" in asked
        assert queue.count() == Counts(ready=1)
        assert browser.client.post("/api/complete", json={"id": given["task"]["id"]}).status_code == 409

    def test_a_task_that_was_claimed_elsewhere_cannot_be_released_and_its_page_says_why(
        self, browser: Browser, queue: Backend
    ) -> None:
        id = queue.push(1).id
        assert queue.claim(lease_for=MINUTE) is not None

        assert "does not come through this server" in browser.get(f"/task?id={id}").text
        assert browser.send("/release", name="default", id=id).status_code == 409
        assert queue.count() == Counts(leased=1)

    @pytest.mark.parametrize("path", ["/new", "/delete", "/redrive", "/release", "/logout"])
    @pytest.mark.parametrize("mark", [None, "", "guessed", "\udcff"])
    def test_a_form_without_the_mark_of_its_page_changes_nothing(
        self, browser: Browser, queue: Backend, path: str, mark: str | None
    ) -> None:
        id = queue.push(1).id
        browser.get("/")
        fields = {"name": "default", "id": id} | ({} if mark is None else {"csrf": mark.encode("utf-8", "replace")})

        answer = browser.client.post(path, data=fields)

        assert answer.status_code == 403
        assert "load its page again" in answer.text
        assert queue.count() == Counts(ready=1)

    def test_the_mark_of_another_browser_is_refused(self, browser: Browser, queue: Backend) -> None:
        id = queue.push(1).id
        other = Browser(browser.client.application.test_client()).mark()

        answer = browser.client.post("/delete", data={"csrf": other, "name": "default", "id": id})

        assert answer.status_code == 403
        assert queue.count() == Counts(ready=1)
