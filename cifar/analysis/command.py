"""The commands `runs` and `compare`: arguments, their checks, and what is printed."""

from __future__ import annotations

import argparse
from pathlib import Path

from cifar.config.arguments import integer_from_1
from cifar.runtime import output


def add_runs_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `runs`."""
    add = command.add_argument
    add("--experiment", metavar="NAME")
    add("--status", type=str.upper, choices=["RUNNING", "FINISHED", "FAILED", "KILLED"])
    add("--filter", metavar="'METRIC>VALUE'", default="", help="or a filter string of MLflow's")
    add("--sort", metavar="METRIC", help="the best first, without those that lack it")
    add("--columns", metavar="NAME,…", help="metrics, settings and tags to show instead of the usual metrics")
    add("--json", action="store_true", help="as JSON: all of each run")
    add("--limit", type=integer_from_1, default=30, help="runs and sweeps at most (default: 30)")


def add_compare_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    add = command.add_argument
    chosen = command.add_mutually_exclusive_group(required=True)
    chosen.add_argument("run_ids", metavar="RUN", nargs="*", default=[], help="the others are held against the first")
    chosen.add_argument("--sweep", metavar="RUN", help="the jobs of a sweep")
    chosen.add_argument("--experiment", metavar="NAME", help="the best settings of an experiment")
    add("--top", type=integer_from_1, metavar="N",
        help="the best settings by validation accuracy, each with all of its seeds (default: 10 of an experiment, "
        "else all)")  # fmt: skip
    add("--ignore", metavar="SETTING", action="append", default=[],
        help="ignore differences in this: code, a setting, or a group such as optimizer; may be repeated")  # fmt: skip
    add("--html", type=Path, default=Path("comparison.html"), help="(default: comparison.html)")
    add("--json", action="store_true", help="print the tables as JSON")


def runs(arguments: argparse.Namespace) -> None:
    """Print a table of recorded runs; sorted, it is flat, else jobs stand under their sweep."""
    from cifar import tracking
    from cifar.analysis import listing, portrait
    from cifar.runtime import terminal

    tracking.connect_existing(arguments.tracking_uri)
    found = listing.select(arguments.experiment, arguments.status, arguments.filter)
    entries = [(run, []) for run in listing.ranked(found, arguments.sort)] if arguments.sort else listing.nested(found)
    if arguments.json:
        listed = [run for entry, jobs in entries[: arguments.limit] for run in (entry, *jobs)]
        output.print_json([portrait.plain(run) for run in listed])
        return
    chosen = [name for name in (arguments.columns or "").split(",") if name]
    shown = listing.table(entries[: arguments.limit], terminal.width(), arguments.sort, chosen)
    print(shown if entries else "no runs")
    if len(entries) > arguments.limit:
        print(f"{len(entries) - arguments.limit} more: --limit {len(entries)}")


def compare(arguments: argparse.Namespace) -> None:
    """Print how the runs differ, and write the comparison as an HTML page with its pictures."""
    from cifar import tracking
    from cifar.analysis import groups, html, report
    from cifar.runtime import terminal

    html.check_path(arguments.html)
    tracking.connect_existing(arguments.tracking_uri)
    if arguments.run_ids:
        chosen, top = groups.named(arguments.run_ids), arguments.top
    elif arguments.sweep:
        chosen = groups.of_sweep(arguments.sweep)
        top = arguments.top or len(chosen)
    else:
        chosen, top = groups.of_experiment(arguments.experiment), arguments.top or 10
    found = report.Comparison.of(groups.grouped(chosen, top, arguments.ignore), arguments.ignore)
    html.write(found, arguments.html)
    if arguments.json:
        output.print_json(report.as_plain(found))
        return
    print(report.as_text(found, terminal.width()))
    print(f"\n{arguments.html} has the whole comparison, with its pictures")
