"""What a notebook shows: pictures, tables and comparisons."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar.files import ownership
from cifar.runtime import terminal


@dataclass(frozen=True)
class Picture:
    """A picture that a run has recorded; a notebook shows it."""

    path: Path

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self._repr_png_()).decode()}"

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True)
class Comparison:
    """Runs held against each other: `str()` of it is the text of `python -m cifar compare`."""

    text: str
    page: str
    """HTML that needs no other file."""

    def save(self, path: str | Path) -> Path:
        """Write the page; raises `InputError` where there is a file that is no such page."""
        path = Path(path)
        ownership.write(path, self.page.encode())
        return path

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.page)}" style="width: 100%; height: 640px; border: 0"></iframe>'


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    cells = ("".join(f"<td>{html.escape(terminal.printable(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
