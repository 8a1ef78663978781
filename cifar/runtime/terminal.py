"""Texts for the terminal: tables that fit its width, numbers, and names that anybody may have chosen."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Collection, Mapping, Sequence

GAP = "  "
COLUMN_GAP = "   "
"""Between columns of which each has a name and a value."""
NARROWEST = 8
"""Characters that a column keeps however narrow the terminal is."""
NUMBER = re.compile(r"[\[<]? ?[-−+]?\d[-−+\d.,:e±\[\] ]*|—?")


def width() -> int:
    """Columns of the terminal, or what COLUMNS says; more than any table has where the output goes elsewhere."""
    return shutil.get_terminal_size((10_000, 0)).columns


def line_width() -> int:
    """Columns of a line of text: of the terminal, or what COLUMNS says, else 80."""
    return shutil.get_terminal_size().columns


def table(
    rows: Sequence[Sequence[str]], columns: int, whole: Collection[int] = (), optional: Sequence[str] = ()
) -> str:
    """`rows`, the first of which is the header, as lines of at most `columns` characters where that can be.

    If the table is too wide, columns whose headers are `optional` are left out, the first one first; then the widest
    columns are cut, except those whose number is in `whole`. Columns of numbers are flush right.
    `rich.table.Table` (15.0) takes 17 times as long, and cuts all columns to a letter on a narrow terminal.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    for header in optional:
        if header in cells[0] and _total(_widths(cells)) > columns:
            number = cells[0].index(header)
            cells = [[*row[:number], *row[number + 1 :]] for row in cells]
    widths = _widths(cells)
    cuttable = [number for number in range(len(widths)) if number not in whole]
    while _total(widths) > columns and cuttable:
        widest = max(cuttable, key=lambda number: widths[number])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    right = are_numbers(cells)
    return "\n".join(GAP.join(map(_padded, row, widths, right)).rstrip() for row in cells)


def in_columns(values: Mapping[str, str], columns: int) -> list[str]:
    """Names with their `values` in lines of at most `columns` characters, as many aligned pairs a line as fit."""
    name_width, value_width = max(map(len, values)), max(map(len, values.values()))
    pairs = [f"{name:{name_width}} {value:>{value_width}}" for name, value in values.items()]
    in_line = max(1, (columns + len(COLUMN_GAP)) // (len(pairs[0]) + len(COLUMN_GAP)))
    return [COLUMN_GAP.join(pairs[start : start + in_line]) for start in range(0, len(pairs), in_line)]


def are_numbers(rows: Sequence[Sequence[str]]) -> list[bool]:
    """For each column, whether it holds nothing but numbers below the header."""
    return [all(map(NUMBER.fullmatch, column[1:])) for column in zip(*rows, strict=True)]


def printable(text: str) -> str:
    """`text` in one line, with `�` for each character that would move the cursor, color or hide something."""
    return "".join(character if character.isprintable() else "�" for character in text)


def first_of(names: Sequence[str], most: int) -> str:
    """At most so many of the `names`, with an ellipsis if there are more: `a, b, c …`."""
    return ", ".join(names[:most]) + (" …" if names[most:] else "")


def redact(url: str) -> str:
    """`url` without its password."""
    return re.sub(r"(://[^:@/]*):.*@", r"\1:***@", url)


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some: `4:05`, `1:02:00`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def number(value: float) -> str:
    """A measured value as one reads it: 0.7703, 357,706, 1.2e-05; a dash for NaN."""
    if math.isnan(value):
        return "—"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def size(count: int) -> str:
    """A number of bytes as one reads it: 812 bytes, 3.4 kB, 1.2 GB."""
    if count < 1000:
        return f"{count} bytes"
    power = min(3, (len(str(count)) - 1) // 3)
    return f"{count / 1000**power:.1f} {'kMG'[power - 1]}B"


def plus_minus(mean: float, deviation: float) -> str:
    """A mean and a standard deviation, the latter with as many decimals; the mean alone where it is NaN."""
    if math.isnan(deviation):
        return number(mean)
    return f"{number(mean)} ± {f'{deviation:.4f}' if 0.001 <= abs(mean) < 1000 else number(deviation)}"


def signed(value: float, digits: int = 4) -> str:
    """A difference, with a sign of the width of a digit."""
    return f"{value:+.{digits}f}".replace("-", "−")


def text_width(text: str) -> int:
    """Columns of a terminal that `text` takes: two for an ideograph or an emoji, none for a combining accent."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fitted(text: str, columns: int) -> str:
    """`text`, cut to as many columns of a terminal."""
    if text_width(text) <= columns:
        return text
    while text and text_width(text) > columns - 1:
        text = text[:-1]
    return f"{text}…"


def unescaped(text: str) -> str:
    """`text` as UTF-8 can hold it: bytes that Python could not decode in a file's name are decoded, or written `\\xe9`.

    Python keeps such bytes as lone surrogates, which databases and files refuse.
    """
    other = re.sub("[\ud800-\udc7f\udd00-\udfff]", "�", text)
    return other.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(text_width, column)) for column in zip(*rows, strict=True)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _padded(text: str, columns: int, right: bool) -> str:
    text = fitted(text, columns)
    space = " " * (columns - text_width(text))
    return space + text if right else text + space
