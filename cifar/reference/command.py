"""The command `python -m cifar settings`: all settings of all choices, searched, or as a file."""

from __future__ import annotations

import argparse

from cifar.runtime import output
from cifar.runtime.errors import InputError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `settings`."""
    command.add_argument("word", metavar="WORD", nargs="?", help="list what has this word in its name or its meaning")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as docs/settings.md")
    form.add_argument(
        "--json-schema", action="store_true", help="a JSON schema of YAML files with settings, as conf/schema.json"
    )


def settings(arguments: argparse.Namespace) -> None:
    """Print the settings; raises `InputError` where none has to do with the word."""
    from cifar.reference import json_schema, markdown, sections, texts

    word = arguments.word
    if word and (arguments.markdown or arguments.json_schema):
        raise InputError(f"settings {word}: the whole file is written, without a WORD")
    if arguments.json_schema:
        print(json_schema.text(), end="")
        return
    found = list(sections.matching(word) if word else sections.all_sections())
    if not found:
        raise InputError(f"settings {word}: no setting, and no choice, has it in its name or its meaning")
    if arguments.json:
        output.print_json([sections.as_plain(one) for one in found])
    elif arguments.markdown:
        print(markdown.page(found), end="")
    else:
        print("\n\n".join(map(texts.section, found)))
