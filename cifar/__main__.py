"""What one does with finished runs: show, evaluate, predict, send."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cifar.errors import exit_codes
from cifar.images import read_image
from cifar.lazy import load_tensorflow


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cifar", description=__doc__)
    parser.add_argument("--tracking-uri", metavar="URI", help="where the runs are recorded; mlflow.db by default")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("ui", help="open MLflow's page on the recorded runs")
    command.add_argument("--port", type=int, default=5000)
    command.set_defaults(run=ui)

    command = commands.add_parser("evaluate", help="evaluate a finished run on its test images again")
    command.add_argument("run_id", metavar="RUN")
    command.set_defaults(run=evaluate)

    command = commands.add_parser("predict", help="what a finished run's model sees in images of any size")
    command.add_argument("run_id", metavar="RUN")
    command.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    command.set_defaults(run=predict)

    command = commands.add_parser("sync", help="send the runs that were recorded here while their server was away")
    command.set_defaults(run=sync)

    arguments = parser.parse_args()
    with exit_codes():
        arguments.run(arguments)


def ui(arguments: argparse.Namespace) -> None:
    """Serve MLflow's page until Ctrl-C."""
    from cifar import tracking

    tracking.serve_ui(arguments.tracking_uri, arguments.port)


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the reports and the metrics of the run's weights on the test split."""
    experiment, model = _restore(arguments)
    from cifar import training

    evaluation = training.test(experiment, model)
    for name, table in evaluation.tables.items():
        if name.endswith(".txt"):
            print(table)
    for name, value in evaluation.metrics.items():
        print(f"test/{name} {value:.4f}")


def predict(arguments: argparse.Namespace) -> None:
    """Print the task's answer for each image as a line of JSON."""
    for path in arguments.images:
        read_image(path, (1, 1, 3))
    experiment, model = _restore(arguments)
    for path in arguments.images:
        outputs = model.predict(read_image(path, experiment.dataset.image_shape)[None], verbose=0)
        print(json.dumps({"image": str(path), "answer": experiment.task.decode(outputs)[0]}))


def sync(arguments: argparse.Namespace) -> None:
    """Print a line for each run that is sent."""
    from cifar import tracking

    for line in tracking.synchronise():
        print(line)


def _restore(arguments: argparse.Namespace):
    load_tensorflow()
    from cifar import tracking, training

    return training.restore(*tracking.stored_run(arguments.tracking_uri, arguments.run_id))


if __name__ == "__main__":
    main()
