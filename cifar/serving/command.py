"""The command `python -m cifar serve`: arguments and their checks, before anything is loaded."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path

from cifar.config.arguments import number, port
from cifar.runtime import extras, output
from cifar.runtime.errors import InputError
from cifar.serving.limits import Limits

TOKEN = "CIFAR_TOKEN"
"""Environment variable of the token, used without a token file."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `serve`."""
    add = command.add_argument
    add("runs", metavar="[NAME=]RUN", nargs="*", help="a run to serve, with the run's name as the model's default name")
    add("--best", metavar=("EXPERIMENT", "METRIC"), nargs=2, action="append", default=[],
        help="serve the best finished run of an experiment, under the experiment's name; repeatable")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=port, default=8501, help="0: any free port (default: 8501)")
    add("--token-file", type=Path, metavar="FILE",
        help=f"file with the bearer token that requests need (default: the variable {TOKEN}, if set)")  # fmt: skip
    add("--max-batch", type=number(int, 1), default=Limits.max_batch, metavar="N",
        help="maximum number of images in a batch, and in a request (default: %(default)s)")  # fmt: skip
    add("--max-wait", type=number(float, 0, 1000), default=Limits.max_wait, metavar="MS",
        help="maximum milliseconds that a batch waits for more images (default: %(default)s)")  # fmt: skip
    add("--queue", type=number(int, 1), default=Limits.queue, metavar="N",
        help="maximum number of waiting images of a model (default: %(default)s)")  # fmt: skip
    add("--max-body", type=number(int, 1), default=Limits.max_body, metavar="BYTES",
        help="maximum size of a request (default: %(default)s)")  # fmt: skip
    add("--max-pixels", type=number(int, 1), default=Limits.max_pixels, metavar="N",
        help="maximum number of pixels in a request's images, before resizing (default: %(default)s)")  # fmt: skip
    add("--timeout", type=number(float, 0.1, 3600), default=Limits.timeout, metavar="S",
        help="time limit for receiving a request's head, and for its body (default: %(default)s)")  # fmt: skip


def serve(arguments: argparse.Namespace) -> None:
    """Serve until a signal arrives; raises `InputError`."""
    extras.require("serve", "serve", "httptools", "uvloop", "python_multipart", "prometheus_client")
    if not (arguments.runs or arguments.best):
        raise InputError("serve: a RUN or --best EXPERIMENT METRIC is needed")
    limits = Limits(**{name: getattr(arguments, name) for name in Limits.__dataclass_fields__})
    if limits.queue < limits.max_batch:
        raise InputError(f"--queue={limits.queue}: should be at least --max-batch={limits.max_batch}")
    secret = token(arguments.token_file)
    listener = listening_socket(arguments.host, arguments.port)
    from cifar.serving import process, sources

    output.drop_unread()
    chosen = [*map(sources.named, arguments.runs), *(sources.best_of(*best) for best in arguments.best)]
    runs = sources.find_current(chosen, arguments.tracking_uri)
    process.serve(chosen, runs, arguments.tracking_uri, limits, secret, listener)


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket listening_socket to the address, before models are loaded; raises `InputError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # connections from now on wait until the models are loaded
    except OSError as error:
        raise InputError(f"--host={host} --port={port}: {error.strerror}") from None
    return listener


def token(path: Path | None) -> str | None:
    """Return the token that requests need, or None; raises `InputError`."""
    if path is None:
        return os.environ.get(TOKEN) or None
    try:
        content = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--token-file={path}: {error}") from None
    if not content:
        raise InputError(f"--token-file={path}: the file is empty")
    return content
