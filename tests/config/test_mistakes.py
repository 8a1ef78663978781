"""Every mistake in settings ends in one line and exit code 2, with nothing left behind."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar.config import command_line
from helpers.runs import sqlite

ROOT_KEYS = "accumulate_steps, augmentation, backend, batch_size, callbacks, data, "
MISTAKES = [
    # choices and keys
    ("model=cnn33", "model=cnn33: unknown choice; did you mean 'cnn3'? known: "),
    ("model=resnet44", "model=resnet44: unknown choice; did you mean 'resnet'? known: airbench, all_conv, "),
    ("callbacks=[checkpointt]", "callbacks=checkpointt: unknown choice; did you mean 'checkpoint'? known: "),
    ("experiment=quickstat", "experiment=quickstat: unknown choice; did you mean 'quickstart'?"),
    ("modle=cnn3", f"modle=cnn3: unknown setting; did you mean 'model'? known: {ROOT_KEYS}"),
    ("lr=1", f"lr=1: unknown setting; did you mean 'finetune.lr' or 'optimizer.lr'? known: {ROOT_KEYS}"),
    ("n_jobs=2", f"n_jobs=2: unknown setting; did you mean 'hydra.launcher.n_jobs'? known: {ROOT_KEYS}"),
    ("model.lr=1", "model.lr=1: unknown setting; did you mean 'finetune.lr' or 'optimizer.lr'? known: classifier, "),
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
    ("data=folder data.path=/nowhere", "/nowhere: "),
    ("data=cifar10 data.path=/nowhere", "/nowhere: no such file or folder; accepted for data.path: the folder"),
    ("tracking.uri=sqlite:////dev/null/x/mlflow.db", "tracking.uri=sqlite:////dev/null/x/mlflow.db: "),
    ("tracking.uri=sqlite:////dev", "tracking.uri=sqlite:////dev: is a folder; should be a file in it, such as "),
    ("tracking.uri=gopher://here", "tracking.uri=gopher://here: "),
    ("tracking.experiment=", "tracking.experiment="),
    # what Hydra cannot read
    ("epochs", "epochs: neither an option nor a setting; a setting is written NAME=VALUE"),
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
    ("--multi optimizer.lr=1,2", "--multi: unknown option; did you mean '--multirun'? known: "),
    ("--cfg jobb", "--cfg/-c jobb: did you mean 'job'? known: all, hydra, job"),
    ("--cfg epochs=3", "--cfg/-c epochs=3: known: all, hydra, job"),
    ("epochs=3 --resolve train", "train: neither an option nor a setting"),
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
        assert f"{tmp_path}/{name}: cannot be read" in done.stderr

    @pytest.mark.parametrize("name", NAMES)
    def test_is_taken_as_typed_in_each_job_of_a_sweep(self, in_process, tmp_path, name):
        needed = ("data=folder", "seed=1,2", f"tracking.uri={sqlite(tmp_path)}")
        done = in_process(*needed, f"data.path={tmp_path}/{name}", "--multirun")
        assert done.stderr.count("\n") == 1
        assert f"{tmp_path}/{name}: cannot be read" in done.stderr

    @pytest.mark.parametrize("value", ["/ü,b", "photos(1)", "[ü", "'it's'", "/a,b", "[ü]", '"ü,b', "a,b\\"])
    def test_form_that_a_message_offers_works(self, mistake, in_process, tmp_path, value):
        needed = ("data=folder", f"tracking.uri={sqlite(tmp_path)}")
        line = mistake(*needed, f"data.path={value}")
        offered = line.removeprefix(f"data.path={value}: ")
        words = shlex.split(offered.replace(" for a text", " text"))
        form = words[words.index("text") - 1]
        assert f"{value}: cannot be read" in in_process(*needed, form).stderr

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
