"""Text that the installed fonts can draw."""

from __future__ import annotations

import functools

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAGothic", "Hiragino Sans", "Hiragino Sans GB", "PingFang SC",
    "Apple SD Gothic Neo", "Arial Unicode MS", "Microsoft YaHei", "Noto Sans Devanagari", "Noto Sans Arabic",
    "Noto Sans Hebrew", "Noto Sans Thai",
)  # fmt: skip
"""Fonts for scripts that DejaVu Sans, which Matplotlib brings along, lacks; those that are installed are used."""


@functools.cache
def families() -> tuple[str, ...]:
    """DejaVu Sans and the `FALLBACKS` that are installed."""
    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in FALLBACKS if name in installed))


def legible(text: str) -> str:
    """`text` with `\\uXXXX` for each character that none of the fonts has, in place of an empty box."""
    if text.isascii():
        return text
    return "".join(one if _is_drawn(one) else one.encode("unicode_escape").decode() for one in text)


def _is_drawn(character: str) -> bool:
    return character.isascii() or any(ord(character) in _characters(family) for family in families())


@functools.cache
def _characters(family: str) -> frozenset[int]:
    return frozenset(FT2Font(findfont(FontProperties(family=[family]))).get_charmap())
