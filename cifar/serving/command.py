"""`python -m cifar serve`: what one types, checked before anything is loaded."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable
from pathlib import Path

from cifar.runtime import extras, output
from cifar.runtime.errors import InputError
from cifar.serving.limits import Limits

TOKEN = "CIFAR_TOKEN"
"""The variable that holds the token where no file does."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What `serve` takes."""
    add = command.add_argument
    add("runs", metavar="[NAME=]RUN", nargs="*", help="a model each, called as its run is unless named")
    add("--best", metavar=("EXPERIMENT", "METRIC"), nargs=2, action="append", default=[],
        help="the best finished run of an experiment, as a model of its name; may be given again")  # fmt: skip
    add("--host", default="127.0.0.1", help="(default: 127.0.0.1, which no other machine reaches)")
    add("--port", type=port, default=8501, help="0 is any that is free (default: 8501)")
    add("--token-file", type=Path, metavar="FILE",
        help=f"has the bearer token that a request must come with; else the variable {TOKEN} may")  # fmt: skip
    add("--max-batch", type=_number(int, 1), default=Limits.max_batch, metavar="N",
        help="images that are computed at once, and that a request may bring (default: %(default)s)")  # fmt: skip
    add("--max-wait", type=_number(float, 0, 1000), default=Limits.max_wait, metavar="MS",
        help="for as many images as were computed at once before (default: %(default)s)")  # fmt: skip
    add("--queue", type=_number(int, 1), default=Limits.queue, metavar="N",
        help="images that may wait, of each model (default: %(default)s)")  # fmt: skip
    add("--max-body", type=_number(int, 1), default=Limits.max_body, metavar="BYTES",
        help="of a request (default: %(default)s)")  # fmt: skip
    add("--max-pixels", type=_number(int, 1), default=Limits.max_pixels, metavar="N",
        help="of all images of a request, as they come (default: %(default)s)")  # fmt: skip
    add("--timeout", type=_number(float, 0.1, 3600), default=Limits.timeout, metavar="S",
        help="in which the head of a request comes, and then its body (default: %(default)s)")  # fmt: skip


def serve(arguments: argparse.Namespace) -> None:
    """Answer requests until a signal ends it; raises `InputError`."""
    extras.require("serve", "serve", "httptools", "uvloop", "python_multipart", "prometheus_client")
    if not (arguments.runs or arguments.best):
        raise InputError("serve: a RUN or --best EXPERIMENT METRIC is needed")
    limits = Limits(**{name: getattr(arguments, name) for name in Limits.__dataclass_fields__})
    if limits.queue < limits.max_batch:
        raise InputError(f"--queue={limits.queue}: should be at least --max-batch={limits.max_batch}")
    secret = token(arguments.token_file)
    listener = bound(arguments.host, arguments.port)
    from cifar.serving import process, sources

    output.drop_unread()
    chosen = [*map(sources.named, arguments.runs), *(sources.best_of(*best) for best in arguments.best)]
    runs = sources.found(chosen, arguments.tracking_uri)
    process.serve(chosen, runs, arguments.tracking_uri, limits, secret, listener)


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the address already, so that nothing is loaded in vain; raises `InputError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # those who connect from here on wait until the models are loaded
    except OSError as error:
        raise InputError(f"--host={host} --port={port}: {error.strerror}") from None
    return listener


def token(path: Path | None) -> str | None:
    """The token that requests must come with, `None` where they need none; raises `InputError`."""
    if path is None:
        return os.environ.get(TOKEN) or None
    try:
        found = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--token-file={path}: {error}") from None
    if not found:
        raise InputError(f"--token-file={path}: it is empty")
    return found


def port(given: str) -> int:
    """A number of a port, for argparse."""
    return int(_number(int, 0, 65535)(given))


def _number(kind: type, minimum: float, maximum: float = float("inf")) -> Callable[[str], float]:
    """What reads an argument as an int or a float within a range."""

    def number(given: str) -> float:
        value = kind(given)
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{given}: should be from {minimum} to {maximum}")
        return value

    return number
