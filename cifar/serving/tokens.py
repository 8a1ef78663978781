"""The bearer tokens (RFC 6750) that requests need."""

from __future__ import annotations

import hmac
import os
import re
from pathlib import Path

from cifar.runtime.errors import InputError

VARIABLE = "CIFAR_TOKEN"
"""Environment variable of the tokens, used without a token file."""
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class Tokens:
    """The tokens of a file, or else of the variable `VARIABLE`, one a line; all requests are accepted without any."""

    def __init__(self, path: Path | None):
        self._path = path
        self._tokens = self._read()

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def read_again(self) -> None:
        """Read the file again; raises `InputError`, and keeps the earlier tokens, if it has none."""
        self._tokens = self._read()

    def accept(self, authorization: str) -> bool:
        """True for the value of an `Authorization` header with one of the tokens."""
        scheme, _, given = authorization.partition(" ")
        content = given.strip().encode()
        accepted = sum(hmac.compare_digest(content, token) for token in self._tokens)
        return scheme.lower() == "bearer" and accepted > 0

    def _read(self) -> list[bytes]:
        where = f"--token-file={self._path}" if self._path else VARIABLE
        try:
            text = self._path.read_text("utf-8-sig") if self._path else os.environ.get(VARIABLE, "")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{where}: {error}") from None
        tokens = [line.strip() for line in text.splitlines() if line.strip()]
        if not tokens and (self._path or text):
            raise InputError(f"{where}: the file is empty" if self._path else f"{where}: is blank")
        for number, token in enumerate(tokens, 1):
            if not TOKEN.fullmatch(token):
                raise InputError(
                    f"{where}: token {number} has other characters than a bearer token may have; accepted: letters and "
                    "digits of ASCII, '-', '.', '_', '~', '+', '/', and '=' at the end; one token a line"
                )
        return [token.encode() for token in tokens]
