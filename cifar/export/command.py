"""The command `python -m cifar export`: a finished run's model as files of other formats."""

from __future__ import annotations

import argparse
from pathlib import Path

from cifar.config.command_parser import CommandParser
from cifar.config.overrides import with_data
from cifar.export import formats, versioned_dir
from cifar.runtime import interrupts
from cifar.runtime.lazy import load_tensorflow
from cifar.training.checks import check_settings


def add_arguments(command: CommandParser) -> None:
    """Add the arguments of `export`."""
    command.takes_data = True
    command.add_argument("run_id", metavar="RUN")
    command.add_argument("folder", metavar="DIR", type=Path, help="gets a folder with the next number: DIR/1 at first")
    command.add_argument("--format", metavar="NAME,…", default=",".join(formats.USUAL),
                         help=f"of {', '.join(formats.FORMATS)} (default: %(default)s)")  # fmt: skip


def export(arguments: argparse.Namespace) -> None:
    """Write the model in each format, print a line when each has been compared with Keras, then the folder."""
    names = formats.chosen(arguments.format)
    versioned_dir.check(arguments.folder)
    from cifar import tracking

    run, settings, weights = tracking.finished_run(arguments.tracking_uri, arguments.run_id)
    settings = with_data(settings, arguments.data)
    settings = settings.model_copy(update={"backend": "tensorflow", "distribute": "none", "precision": "float32"})
    check_settings(settings)
    with interrupts.handled(), versioned_dir.partial(arguments.folder) as folder:
        load_tensorflow()
        from cifar.export import metadata, source

        restored = source.restore(run, settings, weights)
        written = []
        for model in formats.write(restored, names, folder):
            written.append(model)
            print(metadata.line(restored, model, written[0]), flush=True)
        metadata.write(restored, written[0], written[1:], folder)
        print(metadata.summary(restored, versioned_dir.publish(folder, arguments.folder)))
