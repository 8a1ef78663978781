"""Every call that creates, overwrites or deletes files stands in one table here, with its row in docs/files.md."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifar.files import atomic
from cifar.runtime.paths import ROOT
from helpers.source_files import FILES

DATABASE = "`mlflow.db` next to `run.py`, or the database of `tracking.uri`"
MLRUNS = "`mlruns/` next to the database, with `mlruns/RUN/artifacts/`"
WORK = "`mlruns/RUN/work/`"
CLAIMS = "`mlruns/.claims/`"
OPTUNA = "`optuna.db` next to the database, or `hydra.sweeper.storage`"
PAGE = "`comparison.html`, or `--html FILE`"
AUDIT = "`audit.html`, or `--html FILE`"
EXCLUDED = "`--exclude FILE`"
PREDICTED = "`IMAGE.predicted.png`, `IMAGE.predicted.json`"
ANSWERS = "`--csv FILE`, `--embeddings FILE`"
EXPORT = "`DIR/N/`"
EXAMPLES = "`data_examples.png`, or `--sheet FILE`"
PARTS = "`DIR/models/NAME.py`, `DIR/conf/model/NAME.yaml`, `DIR/tests/test_NAME.py`, or those of another part"
CACHE = "`~/.cache/cifar/`, or `$XDG_CACHE_HOME/cifar/`"
PHOTOS = "`~/.cache/cifar/photos/`, or `$XDG_CACHE_HOME/cifar/photos/`"
PARTIAL = "`.cifar-partial,…` in the same folder as any of these"
SYSTEM = "temporary folders of the system"
LIBRARIES = {OPTUNA}
"""Written by libraries alone."""
CALLER, MEMORY = "what the caller writes", "memory"

WRITES = {
    "cifar/prediction/reports.py": {
        "ownership.write": PREDICTED,  # refuses files without the mark
        "atomic.write": ANSWERS,  # the command refuses a file that is there
        "np.save": MEMORY,
        "np.savez": MEMORY,
    },
    "cifar/export/command.py": {"versioned_dir.partial": PARTIAL, "versioned_dir.publish": EXPORT},
    "cifar/training/callbacks.py": {
        "atomic.write": WORK,  # the run's own earlier weights, and its history.csv
    },
    "cifar/analysis/html.py": {"ownership.write": PAGE},  # refuses files without the mark
    "cifar/api/display.py": {"ownership.write": PAGE},  # likewise
    "cifar/api/training.py": {"tempfile.TemporaryDirectory": SYSTEM},
    "cifar/inspection/command.py": {"ownership.write": EXAMPLES},  # refuses files without the mark
    "cifar/scaffold/command.py": {
        "(folder / path).parent.mkdir": PARTS,
        "atomic.write": PARTS,  # the command refuses files that are there
    },
    "cifar/tracking/garbage.py": {
        "path.unlink": MLRUNS,  # of runs that were deleted, and that this program has recorded in this store
        "shutil.rmtree": MLRUNS,  # likewise
        "ownership.remove_folder": WORK,  # only with the mark
        "folder.rmdir": MLRUNS,  # an empty one
    },
    "cifar/audit/page.py": {"ownership.write": AUDIT},  # likewise
    "cifar/data/exclusion.py": {"ownership.write": EXCLUDED},  # likewise
    "cifar/data/download.py": {
        "target.parent.mkdir": CACHE,
        "atomic.replacing": CACHE,  # only where no file was there
        "io.FileIO": PARTIAL,
    },
    "cifar/data/photos/cache.py": {
        "folder.mkdir": PHOTOS,
        "(folder / '.lock').open('ab')": PHOTOS,
        "atomic.temporary_path": PARTIAL,
        "temporary.mkdir": PARTIAL,
        "(temporary / IMAGES).open('wb')": PARTIAL,
        "np.savez": PARTIAL,
        "atomic.replace": PHOTOS,
        "shutil.rmtree": PHOTOS,
    },
    "cifar/tracking/environment.py": {"tempfile.TemporaryDirectory": SYSTEM, "shutil.copyfile": SYSTEM},
    "cifar/export/metadata.py": {"(folder / CARD).write_text": PARTIAL},
    "cifar/export/keras_file.py": {"model.save": PARTIAL},
    "cifar/export/onnx_file.py": {"onnx.save": PARTIAL},
    "cifar/export/versioned_dir.py": {
        "atomic.temporary_path": PARTIAL,
        "path.mkdir": PARTIAL,
        "shutil.rmtree": PARTIAL,  # made by the line before
        "folder.mkdir": EXPORT,
        "path.rename": EXPORT,  # to a number that nothing has; a folder that holds something is never replaced
    },
    "cifar/export/saved_model.py": {"archive.write_out": PARTIAL},
    "cifar/export/tflite.py": {"path.write_bytes": PARTIAL},
    "cifar/files/atomic.py": {
        "os.replace": CALLER,
        "temporary.write_bytes": PARTIAL,
        "temporary.unlink": PARTIAL,
        "shutil.rmtree": PARTIAL,  # its name states a process of this machine that is gone
        "path.unlink": PARTIAL,  # likewise
    },
    "cifar/files/ownership.py": {
        "atomic.write": CALLER,  # after `check`, which refuses a file without the mark
        "path.parent.mkdir": CALLER,
        "path.mkdir": CALLER,
        "(path / MARKER).write_text": CALLER,  # in a folder that was made by the line before
        "shutil.rmtree": CALLER,  # of a folder that holds the mark
    },
    "cifar/images/io.py": {"Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save": MEMORY},
    "cifar/plots/comparison.py": {"figure.savefig": MEMORY},
    "cifar/training/budget.py": {
        "tempfile.TemporaryDirectory": SYSTEM,
        "Checkpoints(Path(folder), model, experiment.metrics, []).save": SYSTEM,  # to measure what it takes
    },
    "cifar/training/checkpoints.py": {"checkpoint_file.save": WORK},
    "cifar/training/loop.py": {"self._checkpoints.save": WORK, "self.save": WORK},
    "cifar/runtime/job_report.py": {"Path(path).open('a')": WORK},  # the report of a job, whose path its sweep has set
    "cifar/training/checkpoint_file.py": {
        "folder.mkdir": WORK,
        "np.savez": MEMORY,
        "atomic.write": WORK,
        "old.unlink": WORK,  # states but the last two, by the form of their names
    },
    "cifar/data/corruptions/digital.py": {"image.save": MEMORY},
    "cifar/sweep/jobs.py": {"folder.mkdir": WORK},
    "cifar/sweep/launchers/local.py": {
        "self.report.unlink": WORK,  # of an earlier try of the same job
        "self.console.open('wb')": WORK,  # likewise
    },
    "cifar/sweep/launchers/submitit.py": {"self.report.unlink": WORK, "console.open('wb')": WORK, "atomic.write": WORK},
    "cifar/tracking/recorder.py": {"tempfile.TemporaryDirectory": SYSTEM},
    "cifar/tracking/running.py": {
        "tempfile.TemporaryDirectory": SYSTEM,
        "ownership.make_folder": WORK,
        "ownership.remove_folder": WORK,  # only with the mark
    },
    "cifar/tracking/store.py": {
        "folder(uri).mkdir": MLRUNS,
        "left.unlink": DATABASE,  # a database that was half made, under the lock of those who make it
        "partial.replace": DATABASE,  # where there was none, under the same lock
    },
    "cifar/tracking/locks.py": {
        "ownership.make_folder": CLAIMS,
        "path.open('a+b')": CLAIMS,
        "self._file.truncate": CLAIMS,
        "Path(self._file.name).unlink": CLAIMS,  # the lock that the process holds
    },
    "cifar/tracking/sweeps.py": {"ownership.remove_folder": CLAIMS},  # only with the mark
    "cifar/files/memory_file.py": {"tempfile.TemporaryDirectory": SYSTEM},
    "cifar/training/trainer.py": {"model.save_weights": MEMORY, "atomic.write": WORK},
}
"""By file: each call, the row of docs/files.md that it belongs to, and why what it overwrites or deletes is ours."""

ALWAYS = {
    "fdopen", "FileIO", "hardlink_to", "makedirs", "mkdir", "mkdtemp", "mkstemp", "NamedTemporaryFile", "removedirs",
    "rename", "renames", "rmdir", "rmtree", "save", "savefig", "save_weights", "savez", "symlink_to",
    "TemporaryDirectory", "touch", "truncate", "unlink", "write_bytes", "write_out", "write_text",
}  # fmt: skip
OF_MODULES = {
    "os": {"link", "remove", "replace", "symlink"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move"},
    "atomic": {"replace", "replacing", "temporary_path", "write"},
    "ownership": {"make_folder", "remove_folder", "write"},
    "versioned_dir": {"partial", "publish"},
}
"""Names that mean something else on other objects."""


def writes(path: Path) -> Iterator[str]:
    """The calls in the file at `path` that create, overwrite or delete files; of `open` with its mode."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or (node.args and ast.unparse(node.args[0]) == "os.devnull"):
            continue
        function, arguments = ast.unparse(node.func), [*node.args, *(keyword.value for keyword in node.keywords)]
        module, _, name = function.rpartition(".")
        if name == "open":
            texts = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
            modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwaxbt+")]
            if any(set(mode) & set("wax+") for mode in modes):
                yield f"{function}({', '.join(map(repr, modes))})"
            elif module == "os" and "O_RDONLY" not in ast.unparse(node):
                yield function
        elif name in ALWAYS or name in OF_MODULES.get(module, ()) or _is_replace_of_path(name, node):
            yield function


def _is_replace_of_path(name: str, call: ast.Call) -> bool:
    """True for `path.replace(other)`; the method of texts takes two arguments."""
    return name == "replace" and len(call.args) == 1 and not call.keywords


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_file_writes_is_listed(path):
    assert set(writes(path)) == set(WRITES.get(str(path.relative_to(ROOT)), {}))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_imported_without_its_module(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module, names = node.module.rpartition(".")[2], {alias.name for alias in node.names}
            assert not names & OF_MODULES.get(module, set()) and not (module in OF_MODULES and names & ALWAYS)


def test_no_file_is_listed_that_is_not_there():
    assert set(WRITES) <= {str(path.relative_to(ROOT)) for path in FILES}


@pytest.mark.parametrize("call", [
    "shutil.rmtree(x)", "path.unlink()", "open(x, 'w')", "path.open(mode='r+')", "os.replace(x, y)", "path.replace(y)",
    "os.remove(x)", "os.open(x, os.O_CREAT)", "path.rename(y)", "path.write_text(x)", "shutil.move(x, y)",
])  # fmt: skip
def test_a_new_call_would_be_found(tmp_path, call):
    (tmp_path / "new.py").write_text(f"def f(x, y, path):\n    return [{call}]\n")
    assert len(list(writes(tmp_path / "new.py"))) == 1


def test_the_page_has_a_row_for_each_place():
    lines = (ROOT / "docs" / "files.md").read_text().splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:]
    assert len(rows) == len(set(rows))
    assert set(rows) == {row for calls in WRITES.values() for row in calls.values()} - {CALLER, MEMORY} | LIBRARIES


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository")
def test_git_ignores_what_is_written_into_the_project_by_default():
    names = [
        "mlflow.db", "mlflow.db-wal", "mlflow.db.partial", "mlruns/1/work/state", "mlruns/.claims/store", "optuna.db",
        "optuna.db-journal", "comparison.html", "audit.html", "photo.jpg.predicted.png",
        "photos/photo.jpg.predicted.json",
        str(atomic.temporary_path(ROOT).relative_to(ROOT)), "search/search.png", "cifar/__pycache__/x.pyc",
    ]  # fmt: skip
    done = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == names
