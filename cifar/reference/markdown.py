"""docs/settings.md: all settings as tables."""

from __future__ import annotations

from collections.abc import Iterable

from cifar.config import choices
from cifar.config.describe import REQUIRED, Description
from cifar.reference.sections import Section
from cifar.runtime.paths import COMMAND

HEAD = f"""\
# Settings

This page is made from the code, by `make settings`. `{COMMAND} settings WORD` searches it, and
`python run.py model=resnet --help` shows the settings of a choice.

A choice of a group is written `GROUP=CHOICE`, several of them `'callbacks=[checkpoint,csv_logger]'`. A setting is
written as in the tables: `python run.py model=resnet model.depth=32`. The defaults are those of the choice.

## Completion in editors

`conf/schema.json` is a JSON schema of the configuration; `{COMMAND} settings --json-schema` prints it. A recipe in
`conf/experiment/` that begins with this line is completed and checked by the YAML extension of Visual Studio Code, and
by other editors that use yaml-language-server:

```yaml
# yaml-language-server: $schema=../schema.json
```

## Completion in shells

`python run.py optimizer=` and the Tab key list the choices, after the first command in Bash or Zsh, the second in fish:

```
eval "$(python run.py -sc install=bash)"
python run.py -sc install=fish | source
```

"""


def page(found: Iterable[Section]) -> str:
    """The page, with a table for each section that has settings."""
    groups, parts, group = choices.groups(), [HEAD], ""
    for one in found:
        if one.group != group:
            group = one.group
            parts.append(_group(groups[group]))
        if not one.group:
            parts.append("## Settings of every run\n")
        elif one.settings:
            parts.append(f"### {one.title}\n\n{_cell(one.text)}.\n")
        if one.settings:
            parts.append(_table(one))
    return "\n".join(parts)


def _group(one: choices.Group) -> str:
    rows = [
        f"| `{name}`{' (default)' if name in one.defaults else ''} | {_cell(choices.text(one.name, name))} |"
        for name in choices.names(one.name)
    ]
    head = f"## {one.name}\n\n{one.text[0].upper()}{one.text[1:]}.\n"
    return "\n".join([head, f"| `{one.name}=` | |", "|---|---|", *rows, ""])


def _table(one: Section) -> str:
    rows = [
        f"| `{key}` | {_default(found)} | {_cell(found.accepted)} | {_cell(found.text)} |"
        for key, found in one.settings.items()
    ]
    return "\n".join(["| setting | default | accepted | meaning |", "|---|---|---|---|", *rows, ""])


def _default(found: Description) -> str:
    return "required" if found.default == REQUIRED else f"`{_cell(found.default_text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
