"""The command line: train, and list, show, compare, evaluate, predict, export, serve and send recorded runs."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from pathlib import Path

from cifar.audit import command as auditing
from cifar.config.command_parser import CommandParser
from cifar.evaluation import command as evaluation
from cifar.export import command as exporting
from cifar.prediction import command as prediction
from cifar.reproduction import command as reproduction
from cifar.runtime import output, paths
from cifar.runtime.errors import ExitCodes, InputError
from cifar.serving import command as serving

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
    prediction.add_arguments(command)
    command.set_defaults(run=prediction.predict)

    command = commands.add_parser("export", help="a finished run's model as files that other programs take; "
                                  "data.path=DIR: where its data are now")  # fmt: skip
    exporting.add_arguments(command)
    command.set_defaults(run=exporting.export)

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


def sync(arguments: argparse.Namespace) -> None:
    """Print a line for each run that is sent."""
    from cifar import tracking

    for line in tracking.synchronise():
        print(line)


def _count(given: str) -> int:
    """A number from 1, for argparse."""
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given}: should be 1 or more")
    return int(given)


if __name__ == "__main__":
    main()
