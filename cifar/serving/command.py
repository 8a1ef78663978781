"""The command `python -m cifar serve`: arguments and their checks, before anything is loaded."""

from __future__ import annotations

import argparse
import ipaddress
import re
import socket
from pathlib import Path

from cifar.config.arguments import number, port
from cifar.runtime import extras, machine, output
from cifar.runtime.errors import InputError, warn
from cifar.serving.limits import Limits
from cifar.serving.tokens import VARIABLE, Tokens

ORIGIN = re.compile(r"\*|https?://[^/\s]+")
ARENAS = 2
"""Of `malloc`. With as many as there are by default, the service grew by 400 MiB in ten minutes of mixed load."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `serve`."""
    add = command.add_argument
    add("runs", metavar="[NAME=]RUN", nargs="*", help="a run to serve, with the run's name as the model's default name")
    add("--best", metavar=("EXPERIMENT", "METRIC"), nargs=2, action="append", default=[],
        help="serve the best finished run of an experiment, under the experiment's name; repeatable")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=port, default=8501, help="0: any free port (default: 8501)")
    add("--token-file", type=Path, metavar="FILE",
        help="file with the bearer tokens that requests need, one a line, read again at SIGHUP (default: the variable "
        f"{VARIABLE}, if set)")  # fmt: skip
    add("--token", type=_refused_token, help=argparse.SUPPRESS)
    add("--cors", type=_origin, metavar="ORIGIN", action="append", default=[],
        help="let web pages of this origin use the service, such as https://example.org, or *; repeatable")  # fmt: skip
    add("--access-log", action="store_true", help="a line of JSON on stdout for each request")
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
        help="time limit for receiving a request's head, for its body, and for reading each part of the answer "
        "(default: %(default)s)")  # fmt: skip


def serve(arguments: argparse.Namespace) -> None:
    """Serve until a signal arrives; raises `InputError`."""
    extras.require("serve", "serve", "httptools", "uvloop", "python_multipart", "prometheus_client")
    if not (arguments.runs or arguments.best):
        raise InputError("serve: a RUN or --best EXPERIMENT METRIC is needed")
    limits = Limits(**{name: getattr(arguments, name) for name in Limits.__dataclass_fields__})
    if limits.queue < limits.max_batch:
        raise InputError(f"--queue={limits.queue}: should be at least --max-batch={limits.max_batch}")
    tokens = Tokens(arguments.token_file)
    listener = bound_socket(arguments.host, arguments.port)
    if not tokens and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        warn(f"--host={arguments.host}: whoever reaches this address can use the models; --token-file restricts it")
    from cifar.serving import access_log, process, service, sources

    output.drop_unread()
    machine.limit_arenas(ARENAS)
    chosen = [*map(sources.named, arguments.runs), *(sources.best_of(*best) for best in arguments.best)]
    runs = sources.find_current(chosen, arguments.tracking_uri)
    models = process.Models(chosen, arguments.tracking_uri, service.Service(limits))
    log = access_log.AccessLog() if arguments.access_log else None
    process.serve(models, runs, tokens, listener, origins=arguments.cors, log=log)


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket with this address, which nobody can reach yet; raises `InputError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise InputError(f"--host={host} --port={port}: {error.strerror}") from None
    return listener


def _origin(given: str) -> str:
    """Parse the origin of a web page, for argparse."""
    if not ORIGIN.fullmatch(given):
        raise argparse.ArgumentTypeError(f"{given}: should be * or like https://example.org, without a path")
    return given


def _refused_token(given: str) -> None:
    """Refuse a token among the arguments, which all users of the machine can read, without repeating it."""
    raise argparse.ArgumentTypeError(f"tokens are taken from a file, by --token-file, or from the variable {VARIABLE}")
