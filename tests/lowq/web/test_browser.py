"""The pages in a real browser: without and with scripts, light and dark, narrow and wide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import chromium
import pytest
from backends import served
from serving import dead_task

from lowq import Backend, Counts, Item, open_backend

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def page() -> Iterator[chromium.Page]:
    with chromium.browser() as found:
        yield found


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Backend]:
    backend = open_backend(tmp_path / "q.db")
    yield backend
    backend.close()


@pytest.fixture
def url(tmp_path: Path, queue: Backend) -> Iterator[str]:
    with served(tmp_path / "q.db", name=queue.name) as found:
        yield found


def test_without_scripts_a_person_adds_and_deletes_a_task(page: chromium.Page, url: str, queue: Backend) -> None:
    page.show(1000, script=False)
    page.open(f"{url}/")
    page.fill("textarea", '{"mail": 1}')
    page.fill("[name=priority]", "7")
    page.click(".new button")
    added = queue.tasks()[0]
    page.click("section .danger")
    asked = page.look("document.querySelector('h1').textContent")
    page.click("form .main")

    assert (added.work, added.priority) == ({"mail": 1}, 7)
    assert asked == f"Delete task {added.id}?"
    assert queue.count() == Counts()


def test_the_numbers_stay_true_while_a_page_is_open(page: chromium.Page, url: str, queue: Backend) -> None:
    page.show(1000)
    page.open(f"{url}/")
    before = page.look("document.querySelector('[data-count=ready]').textContent")
    queue.push(1)
    after = page.look("refresh().then(() => document.querySelector('[data-count=ready]').textContent)")

    assert (before, after) == ("0", "1")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 760, 1400])
def test_no_page_is_wider_than_its_window_and_none_breaks_its_own_policy(
    page: chromium.Page, url: str, queue: Backend, width: int, dark: bool
) -> None:
    dead_task(queue, {"x" * 300: "<script>alert(1)</script>"}, "Traceback\n" + "y" * 400)
    queue.push({"long": "z" * 500}, key="k" * 300, headers={"h" * 100: "v" * 300})
    queue.push("later", not_before=datetime(2031, 1, 1, tzinfo=UTC))
    page.show(width, dark=dark)
    page.errors.clear()

    for path in ("/", "/tasks", "/tasks?state=dead", "/task?id=1", "/task?id=2", "/confirm?id=1&verb=redrive"):
        page.open(url + path)
        assert page.look("document.documentElement.scrollWidth - innerWidth") <= 0, path
        assert page.errors == [], path


@pytest.mark.parametrize("width", [400, 480, 800, 1400])
def test_no_number_is_cut_or_broken_where_many_tasks_wait(
    page: chromium.Page, url: str, queue: Backend, width: int
) -> None:
    queue.push_many(Item(number) for number in range(20_000))
    queue.push({"long": "z" * 300}, priority=1)
    page.show(width)
    page.open(f"{url}/tasks")

    assert page.look(f"[...{ALL}('.counter strong')].filter((e) => e.scrollWidth > e.clientWidth).length") == 0
    assert page.look(f"[...{ALL}('tbody th a')].filter((e) => e.getClientRects().length > 1).length") == 0
    assert page.look("document.querySelector('tbody th a').textContent") == "20001"


@pytest.mark.parametrize("width", [400, 1400])
def test_no_long_name_and_no_message_is_squeezed_into_a_narrow_column(
    page: chromium.Page, url: str, tmp_path: Path, width: int
) -> None:
    with closing(open_backend(tmp_path / "q.db", name="long_name." * 20)) as other:
        other.push(1)
    page.show(width)

    page.open(f"{url}/")
    assert page.look(f"Math.max(...[...{ALL}('.queues th a')].map((e) => e.getClientRects().length))") <= 12
    page.fill("textarea", "1")
    page.fill("[name=priority]", "1.5")
    page.click(".new button")
    assert page.look("document.querySelector('#fault-priority').clientWidth") >= 200


def test_a_path_in_an_error_is_shown_as_it_is(page: chromium.Page, url: str, tmp_path: Path) -> None:
    page.show(1000)
    page.open(f"{url}/?name=nowhere")

    assert page.look("document.querySelector('.detail').innerText").startswith(f"{tmp_path}/q.db: there is no queue")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read(page: chromium.Page, url: str, queue: Backend, dark: bool) -> None:
    """Each text stands out from what is behind it by 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    dead_task(queue, 1, "ValueError: no")
    queue.push(2)
    page.show(1000, dark=dark)
    page.open(f"{url}/tasks")

    assert page.look(CONTRAST) == []


ALL = "document.querySelectorAll"

CONTRAST = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parts(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest(".skip, .hidden")) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 20)}: ${ratio}`);
  }
  return low;
})()
"""
