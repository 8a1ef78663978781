"""The command line: train, and list, show, compare, evaluate, predict, export, serve and send recorded runs."""

from __future__ import annotations

import argparse
import runpy
import signal
import sys

if "serve" in sys.argv[1:]:
    # Before the imports, which take a quarter of a second: SIGHUP waits until the server handles it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])

from cifar import __version__
from cifar.analysis import command as analysis
from cifar.analysis import record_commands as records
from cifar.audit import command as auditing
from cifar.config import extensions
from cifar.config.arguments import port
from cifar.config.command_parser import CommandParser
from cifar.evaluation import command as evaluation
from cifar.export import command as exporting
from cifar.inspection import command as inspection
from cifar.prediction import command as prediction
from cifar.reference import command as reference
from cifar.reproduction import command as reproduction
from cifar.runtime import output, paths
from cifar.runtime.errors import ExitCodes, InputError
from cifar.scaffold import command as scaffold
from cifar.serving import command as serving


def main() -> None:
    if sys.argv[1:2] == ["run"]:  # Hydra reads the arguments
        del sys.argv[1]
        runpy.run_path(str(paths.ROOT / "run.py"), run_name="__main__")
        return
    output.prepare()
    with ExitCodes():
        arguments = argument_parser().parse_args(sys.argv[1:])
        if "extensions" in arguments:  # of a command that reads the settings of runs
            extensions.load_installed()
            if arguments.extensions:
                extensions.load(arguments.extensions)
        arguments.run(arguments)


def argument_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the options of all can also be given after the name of a command."""
    parser = CommandParser(prog=paths.COMMAND, description=__doc__)
    parser.add_argument("--version", action="version", version=f"cifar {__version__}")
    everywhere = CommandParser(add_help=False, argument_default=argparse.SUPPRESS)
    default = str(paths.STORE / "mlflow.db").replace("%", "%%")  # help texts are formatted
    for options in (parser, everywhere):
        options.add_argument(
            "--tracking-uri",
            metavar="URI",
            help=f"where the runs are recorded (default: $MLFLOW_TRACKING_URI, else {default})",
        )
        options.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=CommandParser)

    def add(name: str, text: str) -> CommandParser:
        return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[everywhere])

    command = commands.add_parser("run", add_help=False, help=f"train, as run.py does: `{paths.COMMAND} run --help`")
    command.set_defaults(run=refuse_run)

    command = add("runs", "list runs, and sweeps with their jobs, newest first")
    analysis.add_runs_arguments(command)
    command.set_defaults(run=analysis.runs)

    command = add("show", "one run: settings that differ from the defaults, scores, curves, files, and how it ended")
    records.add_show_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=records.show)

    command = add("compare", "runs against each other, in the terminal and as a page")
    analysis.add_compare_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=analysis.compare)

    command = add("ui", "open MLflow's page on the recorded runs")
    command.add_argument("--port", type=port, default=5000, help="0 is any that is free (default: 5000)")
    command.set_defaults(run=ui)

    command = add("data", "what a data set has: counts, sizes, and examples as a picture")
    inspection.add_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=inspection.describe)

    command = add("audit", "check a data set: duplicates, wrong labels, outliers, invalid files")
    auditing.add_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=auditing.audit)

    command = add("evaluate", "evaluate finished runs again, also on other data")
    evaluation.add_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=evaluation.evaluate)

    command = add("predict", "a finished run's answers for image files and folders of them")
    prediction.add_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=prediction.predict)

    command = add("export", "a finished run's model as files that other programs take; "
                                  "data.path=DIR: where its data are now")  # fmt: skip
    exporting.add_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=exporting.export)

    command = add("serve", "finished runs as a web service, until Ctrl-C or SIGTERM; at SIGHUP "
                                  "it looks for the runs again")  # fmt: skip
    serving.add_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=serving.serve)

    command = add("reproduce", "train a finished run again, and compare weights and metrics")
    reproduction.add_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=reproduction.reproduce)

    command = add("settings", "all settings of all choices with their meaning; or those that have to do with a word")
    reference.add_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=reference.settings)

    command = add("tag", "set tags of a run, which `runs --filter` and MLflow's page find")
    records.add_tag_arguments(command)
    command.set_defaults(run=records.tag)

    command = add("note", "describe a run")
    records.add_note_arguments(command)
    command.set_defaults(run=records.note)

    command = add("register", "make a run a version of a model in MLflow's registry, for `serve models:/NAME@ALIAS`")
    records.add_register_arguments(command)
    extensions.add_argument(command)
    command.set_defaults(run=records.register)

    command = add("delete", "delete runs; they can be restored until `gc` deletes their files")
    records.add_delete_arguments(command)
    command.set_defaults(run=records.delete)

    command = add("gc", "delete the files of deleted runs, and other files that nothing needs")
    records.add_gc_arguments(command)
    command.set_defaults(run=records.gc)

    command = add("sync", "send the runs that were recorded here while their server was away")
    command.set_defaults(run=sync)

    command = add("new", "write a start of your own model, data set, …, with its test")
    scaffold.add_arguments(command)
    command.set_defaults(run=scaffold.new)

    return parser


def refuse_run(_: argparse.Namespace) -> None:
    """Raise `InputError`: `main` has not seen the command, since options come before it."""
    raise InputError(f"run: options come after it, as in `{paths.COMMAND} run --debug`")


def ui(arguments: argparse.Namespace) -> None:
    """Serve MLflow's page until Ctrl-C."""
    address = serving.bound_socket("127.0.0.1", arguments.port)
    from cifar import tracking

    tracking.serve_page(arguments.tracking_uri, address)


def sync(arguments: argparse.Namespace) -> None:
    """Print a line for each run that is sent."""
    from cifar import tracking

    for line in tracking.synchronise():
        print(line)


if __name__ == "__main__":
    main()
