"""The commands on single runs, `show`, `tag`, `note`, `register`, `delete`, and `gc`, which deletes files."""

from __future__ import annotations

import argparse

from cifar.runtime import output
from cifar.runtime.errors import InputError
from cifar.runtime.paths import COMMAND


def add_show_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `show`."""
    command.add_argument("run_id", metavar="RUN")
    command.add_argument("--json", action="store_true", help="as JSON, with all settings, metrics and tags")


def add_tag_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `tag`."""
    command.add_argument("run_id", metavar="RUN")
    command.add_argument("tags", metavar="KEY=VALUE", nargs="+", help="KEY= removes a tag")


def add_note_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `note`."""
    command.add_argument("run_id", metavar="RUN")
    command.add_argument("text", metavar="TEXT", help="Markdown; it takes the place of an earlier description")


def add_register_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `register`."""
    command.add_argument("run_id", metavar="RUN", help="a finished run")
    command.add_argument("name", metavar="NAME", help="the model of which the run becomes the next version")
    command.add_argument("--alias", metavar="ALIAS", help="a name for this version, such as champion; it may have been "
                         "that of another version before")  # fmt: skip


def add_delete_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `delete`."""
    command.add_argument("run_ids", metavar="RUN", nargs="+", help="a run, or a sweep with all of its jobs")


def add_gc_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `gc`."""
    add = command.add_argument
    add("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    add("--states", action="store_true",
        help="also the last checkpoints of finished runs, which can no longer be extended then")  # fmt: skip
    add("--orphans", action="store_true",
        help="also checkpoints of runs that this store does not have, unless a tracking server has them")  # fmt: skip


def show(arguments: argparse.Namespace) -> None:
    """Print what is recorded of a run."""
    from cifar import tracking
    from cifar.analysis import portrait
    from cifar.runtime import terminal

    tracking.connect_existing(arguments.tracking_uri)
    found = portrait.Portrait.of(arguments.run_id)
    if arguments.json:
        output.print_json(found.as_plain())
    else:
        print(portrait.as_text(found, terminal.width()))


def tag(arguments: argparse.Namespace) -> None:
    """Set or remove tags; raises `InputError`."""
    tags = {}
    for given in arguments.tags:
        key, equals, value = given.partition("=")
        if not (key and equals):
            raise InputError(f"tag {given}: should be KEY=VALUE")
        tags[key] = value
    from cifar import tracking
    from cifar.tracking import edits, queries

    tracking.connect_existing(arguments.tracking_uri)
    (run,) = queries.find_runs([arguments.run_id])
    edits.set_tags(run, tags)


def note(arguments: argparse.Namespace) -> None:
    """Set the description of a run."""
    from cifar import tracking
    from cifar.tracking import edits, queries

    tracking.connect_existing(arguments.tracking_uri)
    (run,) = queries.find_runs([arguments.run_id])
    edits.set_note(run, arguments.text)


def register(arguments: argparse.Namespace) -> None:
    """Register a run as a version of a model, and print the version's address."""
    from cifar import tracking

    run, address = tracking.register(arguments.tracking_uri, arguments.run_id, arguments.name, arguments.alias)
    current = f"models:/{arguments.name}@{arguments.alias}" if arguments.alias else address
    print(f"run {run.id} is {address}; `{COMMAND} serve {current}` serves it")


def delete(arguments: argparse.Namespace) -> None:
    """Delete runs, all of which must be known, and print a line for each."""
    from cifar import tracking
    from cifar.tracking import edits, queries

    tracking.connect_existing(arguments.tracking_uri)
    for run in queries.find_runs(arguments.run_ids):
        for deleted in edits.delete(run):
            print(f"deleted run {deleted.id}: {deleted.name}")
    print(f"`{COMMAND} ui` restores deleted runs, `{COMMAND} gc` deletes their files")


def gc(arguments: argparse.Namespace) -> None:
    """Delete files that nothing needs, with a line for each run and the bytes in all; raises `InputError`."""
    from cifar import tracking
    from cifar.runtime.terminal import size
    from cifar.tracking import garbage

    garbage.check(arguments.tracking_uri)
    tracking.connect_existing(arguments.tracking_uri)
    finished, unknown = garbage.checkpoints()
    chosen: list[tuple[str, garbage.Waste]] = []
    for found in garbage.deleted_runs():
        if isinstance(found, str):
            print(f"kept: {found}")
        else:
            chosen.append(("deleted run", found))
    chosen += [("checkpoints of finished run", one) for one in finished if arguments.states]
    chosen += [("checkpoints of unknown run", one) for one in unknown if arguments.orphans]
    total = 0
    for label, one in chosen:
        total += one.size
        print(f"{label} {one.run_id}{f' ({one.name})' if one.name else ''}: {size(one.size)}", flush=True)
        if not arguments.dry_run:
            one.delete()
    print(f"{'would free' if arguments.dry_run else 'freed'} {size(total)}")
    for option, kept, label in (("states", finished, "finished runs"), ("orphans", unknown, "unknown runs")):
        if kept and not getattr(arguments, option):
            amount = size(sum(one.size for one in kept))
            print(f"kept: {amount} of checkpoints of {label} ({len(kept)}); --{option} deletes them")
