"""The command line: train, and list, show, compare, evaluate, predict, export, serve and send recorded runs."""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
from pathlib import Path

from cifar.audit import command as auditing
from cifar.config.command_parser import CommandParser
from cifar.config.overrides import with_data
from cifar.evaluation import command as evaluation
from cifar.export import formats, versioned_dir
from cifar.files import ownership
from cifar.images.io import encode_png, read_image, read_photo
from cifar.reproduction import command as reproduction
from cifar.runtime import interrupts, output, paths
from cifar.runtime.errors import ExitCodes, InputError
from cifar.runtime.lazy import load_tensorflow
from cifar.serving import command as serving
from cifar.training.experiment import Experiment, check

SHOWN = "CIFAR_RUN"
"""The variable from which `conf/config.yaml` has the command that `--help` shows."""


def main() -> None:
    if sys.argv[1:2] == ["run"]:  # Hydra reads the arguments
        del sys.argv[1]
        os.environ[SHOWN] = paths.RUN
        runpy.run_path(str(paths.ROOT / "run.py"), run_name="__main__")
        return
    output.prepare()
    with ExitCodes():
        arguments = argument_parser().parse_args()
        arguments.run(arguments)


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=paths.COMMAND, description=__doc__)
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help=f"where the runs are recorded (default: $MLFLOW_TRACKING_URI, else {paths.STORE / 'mlflow.db'})",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=CommandParser)

    command = commands.add_parser("run", add_help=False, help=f"train, as run.py does: `{paths.COMMAND} run --help`")
    command.set_defaults(run=refuse_run)

    command = commands.add_parser("runs", help="list runs, and sweeps with their jobs, newest first")
    command.add_argument("--experiment", metavar="NAME")
    command.add_argument("--status", type=str.upper, choices=["RUNNING", "FINISHED", "FAILED", "KILLED"])
    command.add_argument("--filter", metavar="'METRIC>VALUE'", default="", help="or a filter string of MLflow's")
    command.add_argument("--sort", metavar="METRIC", help="the best first, without those that lack it")
    command.add_argument("--limit", type=_count, default=30, help="runs and sweeps at most (default: 30)")
    command.set_defaults(run=runs)

    command = commands.add_parser("compare", help="runs against each other, in the terminal and as a page")
    chosen = command.add_mutually_exclusive_group(required=True)
    chosen.add_argument("run_ids", metavar="RUN", nargs="*", default=[], help="the others are held against the first")
    chosen.add_argument("--sweep", metavar="RUN", help="the jobs of a sweep")
    chosen.add_argument("--experiment", metavar="NAME", help="the best settings of an experiment")
    command.add_argument(
        "--top",
        type=_count,
        metavar="N",
        help="the best settings by validation accuracy, each with "
        "all of its seeds (default: 10 of an experiment, else all)",
    )
    command.add_argument(
        "--ignore",
        metavar="SETTING",
        action="append",
        default=[],
        help="ignore differences in this: code, a setting, or a group such as optimizer; may be repeated",
    )
    command.add_argument("--html", type=Path, default=Path("comparison.html"), help="(default: comparison.html)")
    command.set_defaults(run=compare)

    command = commands.add_parser("ui", help="open MLflow's page on the recorded runs")
    command.add_argument("--port", type=serving.port, default=5000, help="0 is any that is free (default: 5000)")
    command.set_defaults(run=ui)

    command = commands.add_parser("audit", help="check a data set: duplicates, wrong labels, outliers, invalid files")
    auditing.add_arguments(command)
    command.set_defaults(run=auditing.audit)

    command = commands.add_parser("evaluate", help="evaluate finished runs again, also on other data")
    evaluation.add_arguments(command)
    command.set_defaults(run=evaluation.evaluate)

    command = commands.add_parser(
        "predict",
        help="what a finished run's model sees in images of any size, boxes and "
        "masks drawn on them in IMAGE.predicted.png; data.path=DIR: where its data are now",
    )
    command.add_argument("run_id", metavar="RUN")
    command.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    command.takes_data = True
    command.set_defaults(run=predict)

    command = commands.add_parser("export", help="a finished run's model as files that other programs take; "
                                  "data.path=DIR: where its data are now")  # fmt: skip
    command.add_argument("run_id", metavar="RUN")
    command.takes_data = True
    command.add_argument("folder", metavar="DIR", type=Path, help="gets a folder with the next number: DIR/1 at first")
    command.add_argument("--format", metavar="NAME,…", default=",".join(formats.FORMATS), help="(default: %(default)s)")
    command.set_defaults(run=export)

    command = commands.add_parser("serve", help="finished runs as a web service, until Ctrl-C or SIGTERM; at SIGHUP "
                                  "it looks for the runs again")  # fmt: skip
    serving.add_arguments(command)
    command.set_defaults(run=serving.serve)

    command = commands.add_parser("reproduce", help="train a finished run again, and compare weights and metrics")
    reproduction.add_arguments(command)
    command.set_defaults(run=reproduction.reproduce)

    command = commands.add_parser("sync", help="send the runs that were recorded here while their server was away")
    command.set_defaults(run=sync)

    return parser


def refuse_run(_: argparse.Namespace) -> None:
    """Raise `InputError`: `main` has not seen the command, since options come before it."""
    raise InputError(f"run: options come after it, as in `{paths.COMMAND} run --debug`")


def runs(arguments: argparse.Namespace) -> None:
    """Print a table of recorded runs; sorted, it is flat, else jobs stand under their sweep."""
    from cifar import tracking
    from cifar.analysis import listing
    from cifar.runtime import terminal

    tracking.connect_existing(arguments.tracking_uri)
    found = listing.select(arguments.experiment, arguments.status, arguments.filter)
    entries = [(run, []) for run in listing.ranked(found, arguments.sort)] if arguments.sort else listing.nested(found)
    print(listing.table(entries[: arguments.limit], terminal.width(), arguments.sort) if entries else "no runs")
    if len(entries) > arguments.limit:
        print(f"{len(entries) - arguments.limit} more: --limit {len(entries)}")


def compare(arguments: argparse.Namespace) -> None:
    """Print how the runs differ, and write the comparison as an HTML page with its pictures."""
    from cifar import analysis, tracking
    from cifar.analysis import html
    from cifar.runtime import terminal

    html.check_path(arguments.html)
    tracking.connect_existing(arguments.tracking_uri)
    if arguments.run_ids:
        chosen, top = analysis.named(arguments.run_ids), arguments.top
    elif arguments.sweep:
        chosen = analysis.of_sweep(arguments.sweep)
        top = arguments.top or len(chosen)
    else:
        chosen, top = analysis.of_experiment(arguments.experiment), arguments.top or 10
    found = analysis.Comparison.of(analysis.grouped(chosen, top, arguments.ignore), arguments.ignore)
    html.write(found, arguments.html)
    print(analysis.as_text(found, terminal.width()))
    print(f"\n{arguments.html} has the whole comparison, with its pictures")


def ui(arguments: argparse.Namespace) -> None:
    """Serve MLflow's page until Ctrl-C."""
    address = serving.listening_socket("127.0.0.1", arguments.port)
    from cifar import tracking

    tracking.serve_page(arguments.tracking_uri, address)


def predict(arguments: argparse.Namespace) -> None:
    """Print the task's answer for each image as a line of JSON.

    Boxes and masks are also written next to the image, as JSON and drawn on a copy of it.
    """
    for path in arguments.images:
        read_image(path, (1, 1, 3))
    experiment, weights = _of_run(arguments)
    task, shape = experiment.task, experiment.dataset.image_shape
    if task.is_dense:
        for path in arguments.images:
            for written in _written(path):
                ownership.check(written)
    model = _restored(experiment, weights)
    from cifar.tracking import queries
    from cifar.training import calibration

    (run,) = queries.find_runs([arguments.run_id])
    model = calibration.calibrated(model, experiment.settings, run.metrics)
    for path in arguments.images:
        if task.is_dense:
            photo, image, position = read_photo(path, shape)
            found = position.to_photo(task.predictions(model.predict(image[None], verbose=0)))
        else:
            found = task.predictions(model.predict(read_image(path, shape)[None], verbose=0))
        answer = {"image": str(path), "answer": task.decode(found)[0]}
        print(json.dumps(answer))
        if task.is_dense:
            drawn = task.draw(photo, {name: values[0] for name, values in found.items()})
            picture, record = _written(path)
            ownership.write(picture, encode_png(drawn, ownership.MARK))
            ownership.write(record, (json.dumps({"generator": ownership.MARK, **answer}) + "\n").encode())


def export(arguments: argparse.Namespace) -> None:
    """Write the model in each format, print a line when each has been compared with Keras, then the folder."""
    names = formats.chosen(arguments.format)
    versioned_dir.check(arguments.folder)
    from cifar import tracking

    run, settings, weights = tracking.finished_run(arguments.tracking_uri, arguments.run_id)
    settings = with_data(settings, arguments.data)
    settings = settings.model_copy(update={"backend": "tensorflow", "distribute": "none", "precision": "float32"})
    check(settings)
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


def sync(arguments: argparse.Namespace) -> None:
    """Print a line for each run that is sent."""
    from cifar import tracking

    for line in tracking.synchronise():
        print(line)


def _written(image: Path) -> tuple[Path, Path]:
    """The picture and the text that `predict` writes next to an image."""
    return Path(f"{image}.predicted.png"), Path(f"{image}.predicted.json")


def _count(given: str) -> int:
    """A number from 1, for argparse."""
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given}: should be 1 or more")
    return int(given)


def _of_run(arguments: argparse.Namespace) -> tuple[Experiment, Path]:
    """A recorded run's experiment and its weights."""
    from cifar import tracking

    settings, weights, fingerprint = tracking.stored_run(arguments.tracking_uri, arguments.run_id)
    return Experiment.of_run(with_data(settings, arguments.data), fingerprint), weights


def _restored(experiment: Experiment, weights: Path):
    """The experiment's model with its weights."""
    load_tensorflow(experiment.settings.backend)
    from cifar.training import trainer

    return trainer.with_weights(experiment, weights)


if __name__ == "__main__":
    main()
