"""The Dockerfile: what can be checked without a builder of images."""

from __future__ import annotations

import json
import re

from cifar.__main__ import argument_parser
from cifar.runtime.paths import ROOT

LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def test_sources_exist_and_are_not_ignored():
    copied = [source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied and kept == set(copied)
    assert all((ROOT / source).exists() for source in copied)


def test_command_is_accepted():
    program, *arguments = json.loads(instructions("ENTRYPOINT")[0])
    given = argument_parser().parse_args([*arguments, "models:/cats@champion", "--token-file", "/run/tokens"])
    assert program == "cifar" and given.host == "0.0.0.0" and given.runs == ["models:/cats@champion"]


def test_user_is_not_root_and_the_health_check_asks_the_port_of_the_service():
    assert instructions("USER") == ["10001"]
    (port,) = instructions("EXPOSE")
    check = json.loads(instructions("HEALTHCHECK")[0].partition(" CMD ")[2])
    assert (
        re.search(r"http://127\.0\.0\.1:(\d+)/readyz", check[-1])[1]
        == port
        == str(argument_parser().parse_args(["serve", "abcd"]).port)
    )
    compile(check[-1], "health check", "exec")
