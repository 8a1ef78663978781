"""Every YAML composes and is accepted; every mistake ends in one line and exit code 2, with nothing left behind."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cifar.config import command_line
from cifar.config.compose import read, resolve
from cifar.config.registry import OPTIMIZERS, SCHEDULES
from cifar.config.settings import flatten, parse
from cifar.runtime.errors import InputError
from cifar.runtime.paths import ROOT
from cifar.training import experiment
from helpers.processes import Completed, run_python
from helpers.runs import TINY, composed, sqlite

CHOICES = [f"{path.parent.name}={path.stem}" for path in sorted((ROOT / "conf").glob("*/*.yaml"))]
ROOT_KEYS = "augmentation, backend, batch_size, callbacks, data, "


class TestComposition:
    """What is under `conf/`, as `run.py` composes it."""

    @pytest.mark.parametrize("choice", CHOICES)
    def test_every_yaml_composes_and_is_accepted(self, compose, tmp_path, choice):
        needed = {
            **{f"data={name}": [f"data.path={tmp_path}"] for name in ("folder", "coco", "voc", "masks", "pets")},
            "callbacks=reduce_lr": ["schedule=constant"],
            "model=from_run": ["model.run=abcd"],
            "experiment=transfer": ["model.run=abcd"],
        }
        settings = compose(choice, *needed.get(choice, []))
        experiment.check(settings)
        group, name = choice.split("=")
        if group not in ("experiment", "sweep", "augmentation", "callbacks"):
            assert getattr(settings, group).name.startswith(name)  # which may go on with what tells variants apart

    @pytest.mark.parametrize("group", ["experiment", "sweep"])
    def test_every_recipe_opens_with_its_command(self, group):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            lines = path.read_text().splitlines()
            assert lines[0] == "# @package _global_"
            assert lines[1].startswith(f"# python run.py {group}={path.stem}")

    def test_mappings_are_composed_from_several_files(self, compose):
        settings = compose("augmentation=[crop,flip]", "callbacks=[checkpoint,csv_logger]")
        assert list(settings.augmentation) == ["crop", "flip"]
        assert list(settings.callbacks) == ["checkpoint", "csv_logger"]

    def test_entry_of_a_mapping_can_be_changed_and_dropped(self, compose):
        settings = compose("augmentation.rotation.degrees=30", "~augmentation.flip", "~callbacks.early_stopping")
        assert settings.augmentation["rotation"].degrees == 30
        assert "flip" not in settings.augmentation
        assert list(settings.callbacks) == ["checkpoint"]

    def test_none_is_no_augmentation_and_no_callback(self, compose):
        for none in ("none", "[]"):
            settings = compose(f"augmentation={none}", f"callbacks={none}")
            assert (settings.augmentation, settings.callbacks) == ({}, {})

    def test_command_line_overrides_a_recipe(self, compose):
        assert compose("experiment=quickstart", "optimizer.lr=1e-4").optimizer.lr == 1e-4

    def test_references_are_resolved(self, compose):
        settings = compose("data=digits")
        assert (settings.tracking.experiment, settings.tracking.name) == ("digits", "cnn3")

    def test_settings_survive_their_yaml(self, compose):
        settings = compose("experiment=quickstart", "model.filters=[8]")
        assert read(yaml.safe_dump(settings.model_dump())) == settings


class TestFlatten:
    """Every leaf under its dotted key."""

    def test_of_the_defaults(self, compose):
        flat = flatten(compose("optimizer.lr=0.5", "callbacks=none"))
        assert flat["optimizer.lr"] == 0.5
        assert flat["model.filters"] == [32, 64, 128]
        assert flat["callbacks"] == {}
        assert not any(isinstance(value, dict) and value for value in flat.values())

    @given(st.recursive(st.integers(), lambda node: st.dictionaries(st.text("abc", min_size=1), node, min_size=1)))
    def test_loses_nothing(self, tree):
        flat = flatten(SimpleNamespace(model_dump=lambda: {"data": {"data": tree}}))

        def grown(key, node):
            return sum(grown(f"{key}.{k}", v) for k, v in node.items()) if isinstance(node, dict) else flat[key] == node

        leaves = sum(key.startswith("data.") for key in flat)
        assert grown("data.data", tree) == leaves


class TestBuilders:
    """Choices that are cheap to build, from their own YAML."""

    @pytest.mark.parametrize("schedule", SCHEDULES.names())
    @pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
    def test_every_optimizer_steps_under_every_schedule(self, compose, optimizer, schedule):
        import keras

        settings = compose(f"optimizer={optimizer}", f"schedule={schedule}", "optimizer.clip_norm=1.0", "epochs=2")
        chosen = settings.optimizer.build(schedule=settings.schedule.build(steps_per_epoch=3, epochs=2), head=[])
        weight = keras.Variable(np.ones(3, "float32"))
        for _ in range(6):
            chosen.apply([keras.ops.convert_to_tensor([3.0, 0.0, -3.0])], [weight])
        down, same, up = weight.numpy()
        assert down < 1 < up
        decay = settings.optimizer.weight_decay
        assert same == 1 if not decay else 0.99 < same < 1

    @pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
    def test_weight_decay_shrinks_weights(self, compose, optimizer):
        import keras

        settings = compose(f"optimizer={optimizer}", "optimizer.weight_decay=0.1", "optimizer.lr=0.1")
        chosen = settings.optimizer.build(schedule=lambda lr: lr, head=[])
        weight = keras.Variable(np.ones(1, "float32"))
        chosen.apply([keras.ops.zeros(1)], [weight])
        assert weight.numpy() == pytest.approx(0.99)

    def test_clip_norm_bounds_the_global_norm(self, compose):
        import keras

        settings = compose("optimizer=sgd", "optimizer.lr=1", "optimizer.clip_norm=5", "optimizer.momentum=0")
        chosen = settings.optimizer.build(schedule=lambda lr: lr, head=[])
        weights = [keras.Variable(np.zeros(1, "float32")) for _ in range(2)]
        chosen.apply([keras.ops.full((1,), 30.0), keras.ops.full((1,), 40.0)], weights)
        assert [float(weight.numpy()[0]) for weight in weights] == pytest.approx([-3, -4])


class TestSchedules:
    """Learning rates over a training of `EPOCHS` epochs of `STEPS` steps."""

    STEPS, EPOCHS = 10, 8

    def rates(self, compose, *overrides, lr=0.5):
        settings = compose(*overrides).schedule
        schedule = settings.build(steps_per_epoch=self.STEPS, epochs=self.EPOCHS)(lr)
        return np.array([float(schedule(step)) for step in range(self.STEPS * self.EPOCHS + 1)])

    def test_constant_leaves_the_rate_to_callbacks(self, compose):
        assert compose("schedule=constant").schedule.build()(0.5) == 0.5

    @pytest.mark.parametrize("final", [0.0, 0.1])
    def test_cosine_warms_up_linearly_and_falls_to_its_end(self, compose, final):
        rates = self.rates(compose, "schedule=cosine", "schedule.warmup_epochs=2", f"schedule.final={final}")
        warmup = 2 * self.STEPS
        assert rates[: warmup + 1] == pytest.approx(np.linspace(0, 0.5, warmup + 1))
        assert (np.diff(rates[warmup:]) < 0).all()
        half = warmup + (len(rates) - 1 - warmup) // 2
        assert rates[half] == pytest.approx(0.5 * (1 + final) / 2)
        assert rates[-1] == pytest.approx(0.5 * final, abs=1e-7)

    def test_cosine_without_warm_up_begins_at_the_peak(self, compose):
        assert self.rates(compose, "schedule=cosine", "schedule.warmup_epochs=0")[0] == 0.5

    def test_step_falls_after_each_milestone(self, compose):
        rates = self.rates(compose, "schedule=multistep", "schedule.milestones=[0.5,0.75]", "schedule.factor=0.1")
        assert sorted(set(rates.round(6))) == pytest.approx([0.005, 0.05, 0.5])
        assert (np.diff(rates) <= 0).all()
        assert list(np.flatnonzero(np.diff(rates))) == [40, 60]

    def test_exponential_falls_by_its_factor_each_epoch(self, compose):
        rates = self.rates(compose, "schedule=exponential", "schedule.decay_rate=0.5")
        assert rates[:: self.STEPS] == pytest.approx(0.5 * 0.5 ** np.arange(self.EPOCHS + 1))

    def test_onecycle_rises_to_the_peak_and_falls_to_its_end(self, compose):
        rates = self.rates(compose, "schedule=onecycle", "schedule.warmup_fraction=0.25", "schedule.initial=0.1",
                           "schedule.final=0.01")  # fmt: skip
        peak = rates.argmax()
        assert peak == 0.25 * self.STEPS * self.EPOCHS
        assert (np.diff(rates[: peak + 1]) > 0).all()
        assert (np.diff(rates[peak:]) < 0).all()
        assert [rates[0], rates[peak], rates[-1]] == pytest.approx([0.05, 0.5, 0.005])


MISTAKES = [
    # choices and keys
    ("model=cnn33", "model=cnn33: unknown choice; did you mean 'cnn3'? known: "),
    ("model=resnet44", "model=resnet44: unknown choice; did you mean 'resnet'? known: airbench, all_conv, "),
    ("callbacks=[checkpointt]", "callbacks=checkpointt: unknown choice; did you mean 'checkpoint'? known: "),
    ("experiment=quickstat", "experiment=quickstat: unknown choice; did you mean 'quickstart'?"),
    ("modle=cnn3", f"modle=cnn3: unknown setting; did you mean 'model'? known: {ROOT_KEYS}"),
    ("optimizer.lrr=1", "optimizer.lrr=1: unknown setting; did you mean 'lr'? known: clip_norm, lr"),
    ("+epoch=3", f"epoch=3: unknown setting; did you mean 'epochs'? known: {ROOT_KEYS}"),
    ("++epoch=3", f"epoch=3: unknown setting; did you mean 'epochs'? known: {ROOT_KEYS}"),
    ("++optimizer.lrr=1", "optimizer.lrr=1: unknown setting; did you mean 'lr'? known: clip_norm, lr"),
    ("+tracking.url=x", "tracking.url=x: unknown setting; did you mean 'uri'? known: experiment, name"),
    ("+callbacks.early_stoping.patience=3", "callbacks.early_stoping.name=early_stoping: unknown callbacks; "
                                            "did you mean 'early_stopping'?"),
    ("++augmentation.rotation.degree=3", "augmentation.rotation.degree=3: unknown setting; did you mean 'degrees'?"),
    ("model.classifier.unit=[3]", "model.classifier.unit=[3]: unknown setting; did you mean 'units'? known: dropout"),
    ("++model.classifier.unit=3", "model.classifier.unit=3: unknown setting; did you mean 'units'? known: bias, "),
    ("model.head.units=[3]", "model.head.units=[3]: model.head is called model.classifier now"),
    ("++model.head.units=[3]", "model.head={'units': [3]}: model.head is called model.classifier now"),
    ("model.name=cnn33", "model.name=cnn33: unknown model; did you mean 'cnn3'? known: "),
    ("+model._target_=os.system", "model._target_=os.system: settings name builders by `name`"),
    ("+data.nested={_target_:os.system}", "data.nested._target_=os.system: settings name builders by `name`"),
    ("~optimizer", "optimizer: required setting is missing"),
    ("~model.filters", "model.filters: required setting is missing"),
    ("epochs=???", "epochs: required setting is missing"),
    # types
    ("epochs=three", "epochs=three: should be a valid integer"),
    ("epochs=1.5", "epochs=1.5: should be a valid integer"),
    ("epochs=true", "epochs=True: should be"),
    ("epochs=null", "epochs="),
    ("optimizer.lr=fast", "optimizer.lr=fast: should be a valid number"),
    ("optimizer.lr=nan", "optimizer.lr=nan: should be a finite number"),
    ("optimizer.lr=inf", "optimizer.lr=inf: should be a finite number"),
    ("optimizer.lr=[1]", "optimizer.lr=[1]: should be a valid number"),
    ("model.filters=3", "model.filters=3: should be a valid list"),
    ("model.filters=[a]", "model.filters.0=a: should be a valid integer"),
    ("model=cnn model.blocks=[{filters:8},{filters:a}]", "model.blocks.1.filters=a: should be a valid integer"),
    ("model=cnn +model.blocks.1.pol=max", "model.blocks.1.pol=max: unknown setting; did you mean 'pool'? known: activ"),
    ("model=cnn model.blocks=[{filters:8,pool:min}]", "model.blocks.0.pool=min: should be 'max', 'average' or 'none'"),
    ("model.classifier=null", "model.classifier"),
    ("augmentation.rotation=null", "augmentation.rotation="),
    ("augmentation.shift.width=x", "augmentation.shift.width=x: should be a valid number"),
    ("precision=float64", "precision=float64: should be 'float32', 'mixed_bfloat16', "),
    ("fill_mode=mirror", "fill_mode=mirror: should be 'nearest', 'reflect', 'wrap' or 'constant'"),
    ("model.classifier.pooling=mean", "model.classifier.pooling=mean: should be 'flatten', 'average' or 'max'"),
    # ranges
    ("optimizer.lr=-1", "optimizer.lr=-1: should be greater than 0"),
    ("optimizer.clip_norm=0", "optimizer.clip_norm=0: should be greater than 0"),
    ("epochs=0", "epochs=0: should be greater than 0"),
    ("batch_size=0", "batch_size=0: should be greater than 0"),
    ("seed=-1", "seed=-1: should be greater than or equal to 0"),
    ("seed=99999999999999999999", "seed=99999999999999999999: should be less than"),
    ("model.dropout=1", "model.dropout=1: should be less than 1"),
    ("model.classifier.dropout=1.5", "model.classifier.dropout=1.5: should be less than 1"),
    ("model.filters=[]", "model.filters=[]: should"),
    ("model.classifier.units=[0]", "model.classifier.units.0=0: should be greater than 0"),
    ("task.label_smoothing=1", "task.label_smoothing=1: should be less than 1"),
    ("data.val_fraction=0", "data.val_fraction=0: should be greater than 0"),
    ("data.val_fraction=1", "data.val_fraction=1: should be less than 1"),
    ("data.test_fraction=1.5", "data.test_fraction=1.5: should be less than 1"),
    ("data.limit=5", "data.val_fraction=0.1: class '0' has 0 images to split; accepted: at least 2"),
    ("schedule=cosine epochs=3 schedule.warmup_epochs=3",
     "schedule.warmup_epochs=3: should be less than the number of epochs, 3"),
    ("schedule=cosine epochs=20 finetune.epochs=1 data=digits",
     "finetune.epochs=1: schedule.warmup_epochs=1: should be less than the number of epochs, 1"),
    ("schedule=multistep schedule.milestones=[0.5,0.4]", "schedule.milestones=[0.5, 0.4]: should be increasing"),
    # what does not go together
    ("callbacks.early_stopping.monitor=val/acc", "callbacks.early_stopping.monitor=val/acc: never logged; did you mean "
                                                 "'val/accuracy'? known: train/accuracy, train/loss, val/accuracy"),
    ("callbacks.checkpoint.monitor=val_loss", "callbacks.checkpoint.monitor=val_loss: never logged; did you mean "
                                              "'val/loss'? known: train/accuracy, train/loss"),
    ("callbacks.checkpoint.monitor=test/loss", "callbacks.checkpoint.monitor=test/loss: never logged; "),
    ("callbacks=[reduce_lr] schedule=cosine", "callbacks.reduce_lr: needs schedule=constant, not schedule=cosine"),
    # files and stores
    ("data=folder", "data.path: required setting is missing"),
    ("data=folder data.path=/nowhere", "/nowhere/train: "),
    ("data=cifar10 data.path=/nowhere", "/nowhere: no such file or folder; accepted for data.path: the folder"),
    ("tracking.uri=sqlite:////dev/null/x/mlflow.db", "tracking.uri=sqlite:////dev/null/x/mlflow.db: "),
    ("tracking.uri=sqlite:////dev", "tracking.uri=sqlite:////dev: is a folder; should be a file in it, such as "),
    ("tracking.uri=gopher://here", "tracking.uri=gopher://here: "),
    ("tracking.experiment=", "tracking.experiment="),
    # what Hydra cannot read
    ("epochs", "Error parsing override 'epochs' missing EQUAL"),
    ("model.filters=[3", "model.filters=[3: a bracket is not closed; write 'model.filters=\"[3\"' for a text"),
    ("optimizer.lr=1e-3,1e-2", "optimizer.lr=1e-3,1e-2: several values; write optimizer.lr=1e-3,1e-2 with --multirun "
                               "for a run of each, 'optimizer.lr=[1e-3,1e-2]' for a list, "),
    ("data.path=photos(1)", "data.path=photos(1): unknown function; known: bool, choice, "),
    ("model.filters=${nothing}", "Interpolation key 'nothing' not found"),
    ("optimizer=null", "optimizer=null: should be one of the choices"),
    ("callbacks=3", "callbacks=3: should be one of the choices, or a list of them"),
    ("augmentation=[3]", "augmentation=[3]: should be one of the choices, or a list of them"),
    ("model=[cnn3,[vgg]]", "model=[cnn3,[vgg]]: should be one of the choices"),
    ("model=[]", "model=[]: should be one of the choices, not a list"),
    *((f"{group}=[{choices}]", f"{group}=[{choices}]: should be one of the choices, not a list; --multirun runs")
      for group, choices in {"data": "digits,masks", "task": "classification,detection", "model": "cnn3,vgg",
                             "optimizer": "adam,sgd", "schedule": "cosine,constant", "weight_averaging": "ema,none",
                             "experiment": "quickstart,cnn3"}.items()),
    ("data=scenes data@data.source=[digits,cifar10]", "data@data.source=[digits,cifar10]: should be one of"),
    ("--multirun optimizer=[adam,sgd],adam", "optimizer=[adam,sgd]: should be one of the choices, not a list"),
    # a key under a list
    ("model.filters.x=3", "model.filters.x=3: model.filters is a list of 3; write it whole, such as model.filters="),
    ("++model.filters.x=3", "++model.filters.x=3: model.filters is a list of 3; "),
    ("~model.filters.x", "~model.filters.x: model.filters is a list of 3; "),
    ("model.filters.7=3", "model.filters.7=3: model.filters is a list of 3; "),
    ("--multirun model.filters.x=3,4", "model.filters.x=3: model.filters is a list of 3; "),
    ("model.filters={a:3}", "model.filters={'a': 3}: should be a valid list"),
    ("evaluate=[3]", "evaluate=[3]: should be a valid dictionary"),
    ("--config-dir=/nowhere", "Additional config directory '/nowhere' not found"),
    ("--config-name=nothing", "--config-name=nothing: unknown choice; known: config"),
    # what Hydra's parser would answer with its usage
    ("--multrun optimizer.lr=1,2", "--multrun: unknown option; did you mean '--multirun'? known: --cfg, "),
    ("--epochs 3", "--epochs: unknown option; a setting is written epochs=VALUE"),
    ("--optimizer.lr=0.1", "--optimizer.lr=0.1: unknown option; a setting is written optimizer.lr=0.1"),
    ("-x epochs=3", "-x: unknown option; "),
    ("train", "train: neither an option nor a setting; a setting is written NAME=VALUE"),
    ("epochs=3 --resolve train", "train: neither an option nor a setting"),
    ("--config-name", "argument --config-name/-cn: expected one argument"),
    # what a sweep would run into
    ("--multirun optimizer.lr=1e-3,-1", "optimizer.lr=-1: should be greater than 0"),
    ("--multirun model.classifier.dropout=0.5,1", "model.classifier.dropout=1: should be less than 1"),
    ("--multirun callbacks.checkpoint.monitor=val/loss,val/acc", "callbacks.checkpoint.monitor=val/acc: never logged"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "line"), MISTAKES, ids=[arguments for arguments, _ in MISTAKES])
def test_mistake_is_told_in_one_line(mistake, tmp_path, arguments, line):
    given = arguments.split(" ")
    if not any(argument.startswith("tracking.uri") for argument in given):
        given.append(f"tracking.uri={sqlite(tmp_path)}")
    if not any(argument.startswith("data=") for argument in given):
        given.append("data=digits")
    assert mistake(*given).startswith(line)


class TestTexts:
    """Values that may hold anything, such as the names of folders."""

    NAMES = ("a b/ü=(1)", "~/my photos", "{split}/_annotations.json", "a#b!&", "br[1]{2}", "100%25",
             "C:\\x\\ü\\", "it's", "what?", 'say "ü"', "$x ü", "a: ü")  # fmt: skip

    @pytest.mark.parametrize("name", NAMES)
    def test_is_taken_as_typed(self, in_process, tmp_path, name):
        done = in_process("data=folder", f"data.path={tmp_path}/{name}", f"tracking.uri={sqlite(tmp_path)}")
        assert (done.code, done.stderr.count("\n")) == (2, 1)
        assert f"{tmp_path}/{name}/train: cannot be read" in done.stderr

    @pytest.mark.parametrize("name", NAMES)
    def test_is_taken_as_typed_in_each_job_of_a_sweep(self, in_process, tmp_path, name):
        needed = ("data=folder", "seed=1,2", f"tracking.uri={sqlite(tmp_path)}")
        done = in_process(*needed, f"data.path={tmp_path}/{name}", "--multirun")
        assert done.stderr.count("\n") == 1
        assert f"{tmp_path}/{name}/train: cannot be read" in done.stderr

    @pytest.mark.parametrize("value", ["/ü,b", "photos(1)", "[ü", "'it's'", "/a,b", "[ü]", '"ü,b', "a,b\\"])
    def test_form_that_a_message_offers_works(self, mistake, in_process, tmp_path, value):
        needed = ("data=folder", f"tracking.uri={sqlite(tmp_path)}")
        line = mistake(*needed, f"data.path={value}")
        offered = line.removeprefix(f"data.path={value}: ")
        words = shlex.split(offered.replace(" for a text", " text"))
        form = words[words.index("text") - 1]
        assert f"{value}/train: cannot be read" in in_process(*needed, form).stderr

    def test_list_and_mapping_that_a_message_offers_work(self, mistake, in_process, tmp_path):
        needed = ("data=masks", f"data.path={tmp_path}", f"tracking.uri={sqlite(tmp_path)}")
        for value in ("{road: #804080, void: #ffffff}", "[é,è]"):
            offered = shlex.split(mistake(*needed, f"data.classes={value}").partition("write ")[2])[0]
            assert f"{tmp_path}/images: cannot be read" in in_process(*needed, offered).stderr

    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0$"), min_size=1))
    def test_any_text_survives_its_quotes(self, text):
        from hydra.core.override_parser.overrides_parser import OverridesParser

        read = OverridesParser.create().parse_override(f"data.path={command_line.quoted(text)}")
        assert read.value() == text


COLORS = {"road": "#804080", "void": "#ffffff"}


class TestListsAndMappings:
    """A setting that takes either."""

    def test_mapping_replaces_a_list_on_the_command_line(self, compose, tmp_path):
        settings = compose("data=masks", f"data.path={tmp_path}", "data.classes={road: '#804080', void: '#ffffff'}")
        assert settings.data.model_dump()["classes"] == COLORS

    @pytest.mark.parametrize("typed", [[], ["data.classes=[a,b]"]])
    def test_each_replaces_the_other_in_a_recipe(self, tmp_path, typed):
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "own.yaml").write_text(
            "# @package _global_\ndefaults:\n  - override /data: masks\n"
            "data: {path: /x, classes: {road: '#804080', void: '#ffffff'}}\nmodel: {classifier: [3]}\n"
        )
        found = composed("experiment=own", f"hydra.searchpath=[file://{tmp_path}]", *typed)
        assert found.data.classes == (["a", "b"] if typed else COLORS)
        assert found.model.classifier == [3]


def test_line_stays_one_line_whatever_the_value(mistake, tmp_path):
    assert mistake("optimizer.lr='one\ntwo'", f"tracking.uri={sqlite(tmp_path)}").startswith("optimizer.lr=one")


class TestOwnYaml:
    """Mistakes in a YAML of the user's, given with `--config-dir`."""

    @pytest.fixture
    def refused(self, mistake, tmp_path):
        def write(text: str) -> str:
            path = tmp_path / "mine" / "experiment" / "own.yaml"
            path.parent.mkdir(parents=True)
            path.write_text("# @package _global_\n" + text)
            return mistake(f"--config-dir={tmp_path / 'mine'}", "experiment=own", f"tracking.uri={sqlite(tmp_path)}")

        return write

    def test_unknown_key(self, refused):
        assert refused("optimizer: {lrr: 1}").startswith("optimizer.lrr=1: unknown setting; did you mean 'lr'?")

    def test_unknown_root_key(self, refused):
        assert refused("epoch: 1").startswith("epoch=1: unknown setting; did you mean 'epochs'?")

    def test_wrong_type(self, refused):
        assert refused("epochs: many").startswith("epochs=many: should be a valid integer")

    def test_broken_yaml(self, refused):
        assert "own.yaml" in refused("epochs: [1")

    def test_code(self, refused):
        assert refused("model: {_target_: os.system}").startswith("model._target_=os.system: ")


def test_own_recipe_is_accepted(in_process, tmp_path, monkeypatch):
    import cifar.tracking

    path = tmp_path / "experiment" / "own.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\ndefaults:\n  - override /data: digits\nepochs: 7\n")
    opened = []
    monkeypatch.setattr(cifar.tracking, "check", lambda settings: opened.append(settings.uri) or exit())
    in_process(f"--config-dir={tmp_path}", "experiment=own", f"tracking.uri={sqlite(tmp_path)}")
    assert opened == [sqlite(tmp_path)]


SPY = """
import runpy, sys
sys.argv = ["run.py", *sys.argv[2:]]
try:
    runpy.run_path("run.py", run_name="__main__")
finally:
    loaded = {"tensorflow", "keras", "mlflow", "sklearn", "matplotlib", "numpy", "pydantic"} & sys.modules.keys()
    open(LOADED, "w").write(" ".join(sorted(loaded)))
"""


def spied(loaded: Path, *arguments: str) -> Completed:
    """`python run.py ARGUMENTS…`, which leaves in the file `loaded` what heavy libraries it has loaded."""
    return run_python("-c", SPY.replace("LOADED", repr(str(loaded))), "run.py", *arguments)


def test_help_lists_the_choices_and_loads_nothing_heavy(tmp_path):
    done = spied(tmp_path / "loaded", "--help")
    assert (done.code, done.stderr) == (0, "")
    assert "\noptimizer: adam, adamw, muon, nadam, rmsprop, sgd\n" in done.stdout
    assert (tmp_path / "loaded").read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "line", "heavy"),
    [
        ("modle=cnn3", "error: modle", ""),
        ("optimizer.lrr=1", "error: optimizer.lrr=1: unknown setting; did you mean 'lr'? known: ", ""),
        ("++optimizer.lrr=1", "error: optimizer.lrr=1: unknown setting; did you mean 'lr'? known: ", "pydantic"),
        ("optimizer.lr=-1", "error: optimizer.lr=-1: should be greater than 0", "pydantic"),
        ("data.path=/nowhere", "error: /nowhere: no such file or folder; accepted for data.path: ", "pydantic"),
    ],
)
def test_mistake_is_told_before_anything_heavy_loads(tmp_path, arguments, line, heavy):
    loaded = tmp_path / "loaded"
    done = spied(loaded, *arguments.split(), f"tracking.uri={sqlite(tmp_path)}")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert loaded.read_text() == heavy
    assert list(tmp_path.iterdir()) == [loaded]


@pytest.mark.parametrize(("argument", "variables"), [("--debug", {}), ("seed=0", {"HYDRA_FULL_ERROR": "1"})])
def test_traceback_is_shown_when_asked_for(argument, variables):
    done = run_python(ROOT / "run.py", "optimizer.lr=-1", argument, **variables)
    assert done.code == 2
    assert done.stderr.startswith("Traceback")
    assert "InputError: optimizer.lr=-1: should be greater than 0" in done.stderr


class TestResolve:
    """From what Hydra has composed to settings."""

    def test_hydras_own_node_is_left_out(self):
        assert "hydra" not in resolve(composed("data=digits")).model_dump()

    @given(st.sampled_from(["data", "model", "optimizer"]), st.lists(st.sampled_from("abc"), max_size=3))
    def test_target_is_refused_at_any_depth(self, group, path):
        node: dict = {"_target_": "os.system"}
        for key in reversed(path):
            node = {key: [node]}
        with pytest.raises(InputError, match=r"_target_=os\.system"):
            parse({group: node})

    def test_lists_are_plain(self, compose):
        settings = compose(*TINY)
        assert type(settings.model.filters) is list
        assert type(settings.model.model_dump()) is dict
        assert not math.isnan(settings.optimizer.lr)
