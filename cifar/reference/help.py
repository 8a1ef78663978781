"""`run.py --help`: examples, choices and settings; with `GROUP=CHOICE`, the settings of what is chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cifar import __version__
from cifar.config import choices, extensions
from cifar.config.renamed import unknown_choice, unknown_setting
from cifar.reference import sections, texts
from cifar.runtime.errors import InputError
from cifar.runtime.paths import COMMAND, RUN

HEAD = f"""\
Train and evaluate one experiment; --multirun runs one for each combination.

  {RUN} model=cnn3 optimizer.lr=1e-3
  {RUN} --multirun optimizer.lr=1e-3,1e-2
  {RUN} resume=RUN_ID
  {f"{RUN} model=resnet --help":29}  the settings of a choice
  {f"{COMMAND} settings WORD":29}  the settings that have to do with a word
"""
OPTIONS = """\
options
  -m, --multirun    a sweep: each combination of the values between commas
  --cfg job         print the settings that a command line makes; run nothing
  --debug           show the traceback of an error
  -h, --help        with GROUP=CHOICE: the settings of what is chosen
  --version         print the version
  --hydra-help      what else Hydra can do
"""


def answer(arguments: Sequence[str]) -> None:
    """Print the version or the help that the arguments ask for; raises `InputError`."""
    given = [argument for argument in arguments if not argument.startswith(("-", extensions.SETTING))]
    if "--version" in arguments:
        print(f"cifar {__version__}")
    else:
        print("\n".join(_of_choices(given)) if given else _overview())


def _overview() -> str:
    listed = [texts.group(group) for group in choices.groups().values()]
    intro = "choices, as GROUP=CHOICE (* is the default) or 'augmentation=[flip,crop]'"
    return "\n\n".join([HEAD + "\n" + OPTIONS, intro, *listed, texts.section(sections.root())])


def _of_choices(given: Sequence[str]) -> Iterator[str]:
    """The settings of each choice that is `given`, and of the default ones where a setting of a group is given."""
    groups, root = choices.groups(), sections.root().settings
    for argument in given:
        key, _, value = argument.lstrip("+~").partition("=")
        group = groups.get(key) or next((one for one in groups.values() if key.startswith(f"{one.key}.")), None)
        if key in root:
            yield texts.section(replace(sections.root(), settings={key: root[key]}))
        elif not group:
            raise InputError(
                f"{argument}: {unknown_setting(key, {*groups, *(name.partition('.')[0] for name in root)})}"
            )
        else:
            names = re.findall(r"[\w.-]+", value) if key == group.name else group.defaults
            for name in names:
                if name not in choices.names(group.name):
                    raise InputError(f"{argument}: {unknown_choice(group.name, name, choices.names(group.name))}")
                yield texts.section(sections.of_choice(group, name)) + "\n"
