"""Bounds on the work that an image file can ask for besides its pixels; nothing is decoded here."""

from __future__ import annotations

import re

from cifar.runtime.errors import InputError

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
SIGNATURES = {"PNG": PNG, "JPEG": JPEG, "WEBP": b"RIFF", "BMP": b"BM", "GIF": b"GIF8"}
"""First bytes of the files by format. TIFF is left out: its files may be compressed in a dozen ways, each of which is
decoded by code of its own, and hardly any of which is used for photos."""
ACCEPTED = "a PNG, JPEG, WebP, BMP or GIF image"
KEPT_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
"""The chunks of a PNG that decide its pixels; others hold texts and profiles, which decoders unpack."""
MAX_CHUNKS = 2**14
MAX_EXIF = 2**16
"""Bytes, as in a JPEG."""
MAX_MARKERS, MAX_SCANS = 2000, 50
"""Of a JPEG. Progressive ones have about 10 scans, each of which passes over all pixels."""
SCAN = b"\xff\xda"
"""The marker that begins a scan of a JPEG."""
MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""The markers that a length follows; in compressed data, 0 or a restart marker follows each 255."""


def format_of(content: bytes) -> str | None:
    """Return the format of a file, or `None` if it is not accepted."""
    return next((name for name, first in SIGNATURES.items() if content.startswith(first)), None)


def bounded(content: bytes, where: object) -> bytes:
    """Return a PNG or JPEG file without what is not needed for its pixels; raises `InputError` about `where`.

    Files of other formats are returned as they are.
    """
    if content.startswith(PNG):
        return _png(content, where)
    if content.startswith(JPEG):
        _check_jpeg(content, where)
    return content


def _png(content: bytes, where: object) -> bytes:
    parts, position = [PNG], len(PNG)
    for _ in range(MAX_CHUNKS):
        length, kind = int.from_bytes(content[position : position + 4]), content[position + 4 : position + 8]
        end = position + 12 + length
        if kind in KEPT_CHUNKS and not (kind == b"eXIf" and length > MAX_EXIF):
            parts.append(content[position:end])
        if kind == b"IEND" or end >= len(content):
            return b"".join(parts)
        position = end
    raise InputError(f"{where}: has too many chunks; accepted: at most {MAX_CHUNKS}")


def _check_jpeg(content: bytes, where: object) -> None:
    position, scans = 2, 0
    for _ in range(MAX_MARKERS):
        found = MARKER.search(content, position)
        if found is None or found[0] == b"\xff\xd9":
            return
        scans += found[0] == SCAN
        if scans > MAX_SCANS:
            break
        position = found.end() + int.from_bytes(content[found.end() : found.end() + 2])
    raise InputError(f"{where}: has too many scans or segments; accepted: at most {MAX_SCANS} and {MAX_MARKERS}")
