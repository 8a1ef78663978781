"""Models, data sets and other parts from a folder outside of the package."""

from __future__ import annotations

import json

import pytest

from cifar.__main__ import argument_parser
from cifar.config import compose as composing
from cifar.config import extensions, search_path
from cifar.config.settings import identity
from cifar.runtime.errors import InputError
from cifar.scaffold import command as scaffold
from helpers import extending
from helpers.extending import write
from helpers.runs import composed

SMALL = ("data=digits", "data.limit=300")


@pytest.fixture(autouse=True)
def forgotten():
    """What a test loads is not there after it."""
    with extending.forgotten():
        yield


@pytest.mark.parametrize("kind", scaffold.PARTS)
def test_each_new_part_is_one_of_the_choices(kind, tmp_path):
    folder = write(tmp_path / "own parts", kind)
    extensions.load(folder)
    used = [setting.replace("NAME", "mine") for setting in scaffold.PARTS[kind].settings]
    settings = composing.resolve(composed(*used, f'extensions="{folder}"'))
    assert "mine" in scaffold.PARTS[kind].registry.names()
    assert set(settings.extensions) == {path.as_posix() for path in scaffold.files(kind, "mine")
                                        if path.parts[0] != "tests"}  # fmt: skip
    assert sorted(path.name for path in folder.rglob("*pyc")) == []


def test_a_record_is_read_with_the_same_files_only(tmp_path):
    folder = write(tmp_path)
    plain = composing.resolve(composed(*SMALL))
    extensions.load(folder)
    settings = composing.resolve(composed("model=mine", f"extensions={folder}", *SMALL))
    record = json.dumps(settings.model_dump())
    assert composing.read(record).model_dump() == settings.model_dump()
    assert identity(plain) == identity(composing.resolve(composed(*SMALL)))
    changed = settings.model_copy(update={"extensions": {"models/mine.py": "0" * 64}})
    assert identity(changed) != identity(settings)
    with pytest.raises(InputError, match=r"'models/mine\.py' differs from that of the run; the run has its own as art"):
        composing.read(json.dumps(changed.model_dump()))
    gone = settings.model_copy(update={"extensions": {"models/its.py": "0" * 64}})
    with pytest.raises(InputError, match=r"'models/its\.py' is missing"):
        composing.read(json.dumps(gone.model_dump()))


def test_a_record_names_no_code_to_load(tmp_path):
    folder = write(tmp_path)
    (folder / "models" / "mine.py").write_text("raise SystemExit('loaded')")
    for files in ({f"{folder}/models/mine.py": "0" * 64}, {"../models/mine.py": "x"}, [str(folder)], str(folder)):
        record = json.dumps({**composing.resolve(composed(*SMALL)).model_dump(), "extensions": files})
        with pytest.raises(
            InputError, match=r"made with extensions .*; name their folder by --extensions DIR|should be"
        ):
            composing.read(record)
    with pytest.raises(InputError, match=r"extensions=.*: should be given on the command line, which alone can name"):
        composing.resolve(composed(f"extensions={folder}", *SMALL))
    assert extensions.named() is None


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("models/mine.py", "\n\nimport nosuch", "models/mine.py, line 3: ModuleNotFoundError: No module named"),
        ("models/mine.py", "def f(:\n", "models/mine.py, line 1: SyntaxError: invalid syntax"),
        ("models/mine.py", "from cifar.config.registry import MODELS\n\n\n@MODELS.register\ndef cnn3():\n    pass\n",
         "models/mine.py, line 4: ValueError: model 'cnn3' is registered twice"),
        ("model/mine.py", "", "model: unknown folder of code; did you mean 'models'?"),
        ("conf/models/mine.yaml", "", "conf/models/mine.yaml: unknown group; did you mean 'model'?"),
        ("conf/model/cnn3.yaml", "", "conf/model/cnn3.yaml: cifar has a choice of this name; give it another"),
        ("notes.txt", "", "no code in it; accepted: folders called augmentation, data, "),
    ],
)  # fmt: skip
def test_mistakes_in_a_folder(path, text, line, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    with pytest.raises(InputError) as refused:
        extensions.load(tmp_path)
    assert str(refused.value).startswith(f"extensions={tmp_path}: {line}")
    assert extensions.named() is None


def test_mistakes_on_the_command_line(mistake, tmp_path):
    assert mistake("extensions=nosuch").startswith(
        "extensions=nosuch: no such folder; `python -m cifar new model NAME`"
    )
    folder = write(tmp_path / "own")
    line = mistake(f"extensions={folder}", "model=mina")
    assert line.startswith("model=mina: unknown choice; did you mean 'mine'?")
    line = mistake(f"extensions={folder}", "model=mine", "model.filters=0")
    assert line == "model.filters=0: should be greater than 0"


@pytest.mark.parametrize("written", ['extensions="{}/own parts"', "++extensions={}/own\\ parts"])
def test_jobs_of_a_sweep_name_the_folder_as_hydra_writes_it(written, tmp_path):
    folder = write(tmp_path / "own parts")
    extensions.load_command([written.format(tmp_path)])
    assert extensions.named().folder == folder


def test_commands_that_read_the_settings_of_runs_take_the_folder():
    for words in ("show R", "compare R R", "evaluate R", "predict R I", "export R D", "serve R", "reproduce R",
                  "register R N", "audit data=digits"):  # fmt: skip
        assert argument_parser().parse_args([*words.split(), "--extensions", "own"]).extensions == "own"


def test_a_process_has_one_state_of_a_folder(tmp_path):
    folder = write(tmp_path / "own")
    extensions.load(folder)
    extensions.load(folder)
    (folder / "models" / "other.py").touch()
    with pytest.raises(InputError, match="loaded extensions, its files have changed since; a new process can load"):
        extensions.load(folder)


def test_installed_packages_are_found_by_their_entry_points(tmp_path, monkeypatch):
    write(tmp_path / "installed_parts")
    (tmp_path / "installed_parts" / "models" / "__init__.py").touch()
    (tmp_path / "installed_parts" / "__init__.py").touch()
    metadata = tmp_path / "installed_parts-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-parts\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[cifar.extensions]\nparts = installed_parts\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    extensions.load_installed()
    assert composing.resolve(composed("model=mine", *SMALL)).extensions is None
    assert search_path.choices("model")[-1] == "mine"


def test_new_part_on_the_command_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("", "new", "model", "mine")
    assert done.stdout.splitlines()[:3] == [
        "extensions/models/mine.py", "extensions/conf/model/mine.yaml", "extensions/tests/test_mine.py"
    ]  # fmt: skip
    assert "python run.py extensions=extensions model=mine data=digits" in done.stdout
    for name, line in (
        ("mine", "extensions/models/mine.py: exists already, and is not overwritten"),
        ("cnn3", "new model cnn3: cifar has one of this name; accepted: another"),
        ("Mine", "new model Mine: should be a name of lower-case letters, digits and '_'"),
    ):
        assert command("", "new", "model", name).stderr == f"error: {line}\n"
