"""Read a large JSON object one element of its lists at a time: neither its text nor its objects are kept in memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

from cifar.files.safe_io import LIMIT

CHUNK = 2**16
"""Bytes read at once, at least."""
SPACE = re.compile(r"[ \t\n\r]*")


def lists(file: BinaryIO) -> Iterator[tuple[str, Iterator[Any] | None]]:
    """Yield each key of the JSON object in `file` with an iterator over its list, `None` for a value that is no list.

    An iterator is at its end when the next key is asked for. UTF-8, with or without a byte order mark. Raises
    `ValueError` with the line for anything else, for NaN and infinity, and after `LIMIT` bytes.
    """
    text = _Text(file)
    text.expect("{", "expecting an object")
    while text.next() != "}":
        if text.next() != '"':
            text.fail("expecting a key in double quotes")
        key = text.value()
        text.expect(":", "expecting a colon")
        if text.next() == "[":
            elements = _list(text)
            yield key, elements
            for _ in elements:
                pass
        else:
            text.value()
            yield key, None
        if text.next() != "}":
            text.expect(",", "expecting a comma or the end of the object")
    text.expect("}", "expecting the end of the object")
    if text.next():
        text.fail("expecting the end of the file")


def _list(text: _Text) -> Iterator[Any]:
    text.expect("[", "expecting a list")
    while text.next() != "]":
        yield text.value()
        if text.next() != "]":
            text.expect(",", "expecting a comma or the end of the list")
    text.expect("]", "expecting the end of the list")


class _Text:
    """The text of a file; what is read but not yet decoded is in memory."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._to_text = codecs.getincrementaldecoder("utf-8-sig")()
        self._to_value = json.JSONDecoder(parse_constant=_refuse).raw_decode
        self._ahead, self._at = "", 0
        self._lines = self._bytes = 0
        self._complete = False

    def next(self) -> str:
        """The next character that is no white space, which stays; empty at the end."""
        while True:
            self._at = SPACE.match(self._ahead, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._ahead) or self._complete:
                return self._ahead[self._at : self._at + 1]
            self._read()

    def expect(self, character: str, message: str) -> None:
        """Pass over `character`, after white space."""
        if self.next() != character:
            self.fail(message)
        self._at += 1

    def value(self) -> Any:
        """Decode and pass over the next value."""
        self.next()
        while True:
            try:
                value, end = self._to_value(self._ahead, self._at)
            except json.JSONDecodeError as error:
                if self._complete:
                    self._at = error.pos
                    self.fail(error.msg.lower())
            else:
                if end < len(self._ahead) or self._complete:  # the end of a number shows in what follows
                    self._at = end
                    return value
            self._read()

    def fail(self, message: str) -> NoReturn:
        line = 1 + self._lines + self._ahead.count("\n", 0, self._at)
        raise ValueError(f"no JSON: line {line}: {message}")

    def _read(self) -> None:
        """Read as much again as was not enough, so that the time for a long value stays proportional to its length."""
        self._lines += self._ahead.count("\n", 0, self._at)
        content = self._file.read(max(CHUNK, len(self._ahead) - self._at))
        self._bytes += len(content)
        if self._bytes > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
        self._complete = not content
        self._ahead, self._at = self._ahead[self._at :] + self._to_text.decode(content, self._complete), 0


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
