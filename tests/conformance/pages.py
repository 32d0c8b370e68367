"""What a page consists of, as a browser would take it: elements, texts, links, and whatever is out of place."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "wbr"}
FETCHING = {"script", "link", "img", "iframe", "object", "embed", "base", "video", "audio", "source", "image", "use"}


@dataclass
class Page(HTMLParser):
    """A parsed page. `faults` are elements that do not close in order, and ids that are there twice."""

    source: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append((tag, told))
        if tag not in VOID:
            self.open.append(tag)
        id = told.get("id")
        if id is not None:
            if id in self.ids:
                self.faults.append(f"two elements have the id {id}")
            self.ids.add(id)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is to be read."""
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such element."""
        return [attributes for name, attributes in self.tags if name == tag]

    def leads_nowhere(self) -> list[str]:
        """Links and descriptions whose end is not on the page."""
        wanted = [each.get("href") or "" for each in self.all("a")]
        wanted += [f"#{told[name]}" for _, told in self.tags for name in DESCRIBING if name in told]
        return [link for link in wanted if link.removeprefix("#") not in self.ids or not link.startswith("#")]

    def asks_for(self) -> list[str]:
        """What a browser would fetch or run."""
        found = [tag for tag, _ in self.tags if tag in FETCHING]
        for _, told in self.tags:
            found += [name for name in told if name.startswith("on") or name in ("src", "srcset", "style")]
        return found + [word for word in ("url(", "@import") if word in self.source.lower()]


DESCRIBING = ("aria-labelledby", "aria-describedby")
