"""Texts for the terminal."""

from __future__ import annotations

from collections.abc import Collection


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some: `4:05`, `1:02:00`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def columns(rows: Collection[Collection[str]]) -> list[str]:
    """`rows` of texts, each of equal length, as lines in which the texts stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
