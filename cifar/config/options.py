"""Options of `run.py` that begin with a dash: a check before Hydra reads them, and those that a job inherits."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.config.arguments import OneLineParser
from cifar.runtime.errors import InputError, did_you_mean

FLAGS = (("--help", "-h"), ("--hydra-help",), ("--version",), ("--resolve",), ("--run", "-r"), ("--multirun", "-m"),
         ("--shell-completion", "-sc"))  # fmt: skip
SOURCES = (("--config-path", "-cp"), ("--config-name", "-cn"), ("--config-dir", "-cd"))
"""Where the configuration is; a value follows."""
VALUED = (("--cfg", "-c"), ("--package", "-p"), *SOURCES, ("--experimental-rerun",))
CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
SEARCH_PATH = "hydra.searchpath="


def _parser(flags: Sequence[tuple[str, ...]], valued: Sequence[tuple[str, ...]]) -> OneLineParser:
    parser = OneLineParser(add_help=False)
    for names in flags:
        parser.add_argument(*names, action="store_true")
    for names in valued:
        parser.add_argument(*names, choices=CHOICES.get(names[0]))
    return parser


def check(arguments: Sequence[str]) -> None:
    """Raises `InputError` for an option that Hydra does not have, and for a word that is neither option nor setting."""
    parser = _parser(FLAGS, VALUED)
    parser.add_argument("--info", "-i", nargs="?", choices=CHOICES["--info"])
    parser.add_argument("settings", nargs="*")
    given, unknown = parser.parse_known_args(arguments)
    for option in (name for name in unknown if name.startswith("-")):
        from cifar.config.settings import Settings  # not for a command without a mistake, such as --help

        name, _, value = option.partition("=")
        if (setting := name.lstrip("-")).partition(".")[0] in Settings.model_fields:
            raise InputError(f"{option}: unknown option; a setting is written {setting}={value or 'VALUE'}")
        known = [names[0] for names in (*FLAGS, *VALUED)]
        raise InputError(f"{option}: unknown option; {did_you_mean(name, [*known, '--info', '--debug'])}")
    for word in (*given.settings, *unknown):
        if "=" not in word and not word.startswith("~"):
            raise InputError(f"{word}: neither an option nor a setting; a setting is written NAME=VALUE")


def inherited(arguments: Sequence[str]) -> list[str]:
    """The options and settings of a sweep that say where configurations are, which its jobs need too."""
    given, settings = _parser((), SOURCES).parse_known_args(arguments)
    values = {names[0]: getattr(given, names[0].lstrip("-").replace("-", "_")) for names in SOURCES}
    found = [f"{name}={value}" for name, value in values.items() if value is not None]
    return [*found, *(setting for setting in settings if setting.startswith(SEARCH_PATH))]
