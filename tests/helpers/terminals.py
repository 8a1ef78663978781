"""A terminal to write to."""

from __future__ import annotations

import io
import re


class Terminal(io.StringIO):
    """A terminal of `columns` that keeps what is written to it."""

    def __init__(self, columns: int = 80):
        super().__init__()
        self.columns = columns

    def isatty(self) -> bool:
        return True

    def rows(self) -> list[str]:
        """What is to be seen: each row of the screen, on which a line that is too long wraps."""
        rows, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[\d*[A-Z]|.", self.getvalue(), re.DOTALL):
            match part:
                case "\n":
                    row, column = row + 1, 0
                case "\r":
                    column = 0
                case "\x1b[J":
                    rows[row:] = [rows[row][:column]]
                case "\x1b[K":
                    rows[row] = rows[row][:column]
                case _ if part.startswith("\x1b["):
                    assert part.endswith("A"), part
                    row -= int(part[2:-1])
                    assert row >= 0
                case _:
                    if column == self.columns:
                        row, column = row + 1, 0
                        rows[row:row] = [""] if row < len(rows) else []
                    rows += [""] * (row + 1 - len(rows))
                    rows[row] = f"{rows[row]:{column}}"[:column] + part + rows[row][column + 1 :]
                    column += 1
            rows += [""] * (row + 1 - len(rows))
        return rows
