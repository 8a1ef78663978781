"""Values of annotation files in the forms that programs write: `7`, `7.0` and `"7"` are one number."""

from __future__ import annotations

import math
from typing import Any


def as_number(value: Any) -> float:
    """A finite number; raises `ValueError`."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise ValueError(f"{_shown(value)}; accepted: a finite number")


def as_whole(value: Any) -> int:
    """A whole number; raises `ValueError`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = as_number(value)
    if not number.is_integer():
        raise ValueError(f"{_shown(value)}; accepted: a whole number")
    return int(number)


def as_id(value: Any) -> int | str:
    """An id: a whole number, or any other text; raises `ValueError`."""
    try:
        return as_whole(value)
    except ValueError:
        if isinstance(value, str) and value.strip():
            return value.strip()
        raise ValueError(f"{_shown(value)}; accepted: a whole number or a text") from None


def as_flag(value: Any) -> bool:
    """0 or 1, true or false, or nothing, which is false; raises `ValueError`."""
    if value is None or value == "" or isinstance(value, bool):
        return bool(value)
    try:
        number = as_number(value)
    except ValueError:
        number = math.nan
    if number not in (0, 1):
        raise ValueError(f"{_shown(value)}; accepted: 0 or 1")
    return number == 1


def as_name(value: Any) -> str:
    """A name: a text that is not empty, or a number; raises `ValueError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError(f"{_shown(value)}; accepted: a name")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
