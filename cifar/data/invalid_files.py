"""Files and annotations that a data set cannot use: refused, all in one message, or left out and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Literal

from pydantic import BeforeValidator

from cifar.runtime.errors import InputError, warn

OnInvalid = Annotated[
    Literal["error", "clip", "skip"], BeforeValidator(lambda value: "error" if value == "refuse" else value)
]
"""What happens to invalid files and annotations. `clip` moves what exceeds its photo into it; other faults are errors.
`skip` moves it too, and leaves out what has other faults. Earlier runs have recorded `refuse` for `error`."""
SHOWN = 3
"""Messages that are shown of many."""


class InvalidDataError(InputError):
    """All that a data set cannot use, in one message."""


class Invalid:
    """Messages about what a data set cannot use, and those about what it has changed, with the kind of each."""

    def __init__(self, on_invalid: OnInvalid, is_audit: bool = False):
        self.on_invalid, self.is_audit = on_invalid, is_audit
        self.faults: list[tuple[str, str]] = []
        self.clipped: list[tuple[str, str]] = []

    @property
    def messages(self) -> list[str]:
        """The messages about what cannot be used."""
        return [message for _, message in self.faults]

    def refuse(self) -> None:
        """Raise an `InputError` about all faults, unless they are skipped."""
        if self.faults and self.on_invalid != "skip":
            raise InvalidDataError(_listed(self.messages))

    def counts(self) -> dict[str, int]:
        """Number of skipped and of clipped ones of each kind, such as `skipped photos`."""
        skipped = Counter(f"skipped {_plural(kind)}" for kind, _ in self.faults)
        return dict(skipped + Counter(f"clipped {_plural(kind)}" for kind, _ in self.clipped))


_current: ContextVar[Invalid | None] = ContextVar("current", default=None)


@contextmanager
def collected(is_audit: bool = True) -> Iterator[Invalid]:
    """Inside the `with`, data sets leave out what they cannot use, whatever their settings; an audit keeps copies."""
    invalid = Invalid("skip", is_audit)
    token = _current.set(invalid)
    try:
        yield invalid
    finally:
        _current.reset(token)


@contextmanager
def handling_invalid(on_invalid: OnInvalid) -> Iterator[None]:
    """Refuse what `skipping_invalid` finds in the body, all at once, or warn of what was skipped and clipped."""
    if _current.get() is not None:
        yield
        return
    invalid = Invalid(on_invalid)
    token = _current.set(invalid)
    try:
        yield
        invalid.refuse()
    except InvalidDataError:
        raise
    except InputError as error:  # perhaps because too much is left out
        raise InputError(_listed([*invalid.messages, str(error)])) from None
    finally:
        _current.reset(token)
    if counts := invalid.counts():
        messages = [*invalid.messages, *(message for _, message in invalid.clipped)]
        warn(f"{', '.join(f'{count} {kind}' for kind, count in counts.items())}: {_listed(messages)}")


@contextmanager
def skipping_invalid(kind: str = "photo") -> Iterator[None]:
    """Keep the `InputError` that the body raises, about a `kind` of file or annotation, for `handling_invalid`.

    Outside of one, it is raised.
    """
    try:
        yield
    except InputError as error:
        report_invalid(error, kind)


def report_invalid(error: InputError, kind: str = "photo") -> None:
    """Keep `error` like one that a body of `skipping_invalid` raises."""
    if (invalid := _current.get()) is None:
        raise error
    invalid.faults.append((kind, str(error)))


def refuse_invalid() -> None:
    """Raise an `InputError` about all faults so far, unless they are skipped."""
    if invalid := _current.get():
        invalid.refuse()


def counts() -> dict[str, int]:
    """`Invalid.counts` of what is invalid so far."""
    invalid = _current.get()
    return invalid.counts() if invalid else {}


def is_auditing() -> bool:
    """True within `collected`: a check of the data should see all of them."""
    invalid = _current.get()
    return invalid is not None and invalid.is_audit


def clip(kind: str, message: str) -> None:
    """Count a `kind` of annotation that is moved into its photo; raises `InputError` unless it may be."""
    invalid = _current.get()
    if invalid is None or invalid.is_audit or invalid.on_invalid == "error":
        raise InputError(message)
    invalid.clipped.append((kind, message))


def _plural(kind: str) -> str:
    return f"{kind}es" if kind == "box" else f"{kind}s"


def _listed(messages: Sequence[str]) -> str:
    more = f"; and {len(messages) - SHOWN} more" if messages[SHOWN:] else ""
    return "; ".join(messages[:SHOWN]) + more
