"""A page of HTML as a browser reads it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """What a browser makes of the page: its tables by the heading before them, pictures, scripts, text."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.pictures: list[str] = []
        self.captions: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self._heading = ""
        self._open: list[str] = []
        self.feed(text)

    @classmethod
    def of(cls, path: Path) -> Page:
        return cls(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        assert not {name for name in attributes if name.startswith("on") or name == "href"}
        if tag == "img":
            self.pictures.append(attributes["src"])
        if tag in ("h2", "summary"):
            self._heading = ""
        if tag == "tr":
            self.tables.setdefault(self._heading.strip(), []).append([])
        if tag in ("td", "th"):
            self.tables[self._heading.strip()][-1].append("")
        if tag == "figcaption":
            self.captions.append("")
        if tag not in ("img", "meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"h2", "summary"} & {*self._open}:
            self._heading += data
        if {"td", "th"} & {*self._open}:
            self.tables[self._heading.strip()][-1][-1] += data
        if "figcaption" in self._open:
            self.captions[-1] += data
