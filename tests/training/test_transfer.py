"""Models that begin with the weights of another training, and trainings of two phases."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from urllib.error import URLError

import keras
import mlflow
import numpy as np
import pytest
from omegaconf import DictConfig

from cifar import tracking
from cifar.config.compose import read, resolve
from cifar.config.registry import MODELS
from cifar.models.pretrained import networks
from cifar.nn import layers
from cifar.runtime.errors import InputError
from cifar.runtime.paths import ROOT
from cifar.tracking.run import Run
from cifar.tracking.running import Unrecorded
from cifar.training import trainer
from cifar.training.experiment import Experiment
from cifar.training.loop import Loop
from helpers.processes import error_line
from helpers.runs import TINY, composed, record, sqlite

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype="uint8")


def pretrained(start=str, **changes) -> keras.Model:
    settings = {"name": "pretrained", "network": "MobileNet", "weights": "none", "size": 32, "freeze": "none"}
    return MODELS.build(settings | changes, image_shape=(8, 8, 1), start=start)


def last_map(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images)["P5"])


class TestPretrained:
    """Networks of `keras.applications`."""

    @pytest.fixture(scope="class")
    def network(self):
        """MobileNet as Keras has it, with moving averages that are not those of the beginning."""
        network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
        noise = np.random.default_rng(0)
        for weight in network.weights:
            weight.assign(weight * 3 + noise.uniform(0, 0.1, weight.shape))
        return network

    @pytest.fixture
    def file(self, network, tmp_path):
        """file(name): the network's weights in a file of that name."""

        def saved(name: str) -> Path:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            network.save_weights(path) if name.endswith(".weights.h5") else network.save(path)
            return path

        return saved

    def expected(self, network) -> np.ndarray:
        x = keras.ops.repeat(keras.ops.image.resize(IMAGES.astype("float32"), (32, 32)), 3, axis=-1)
        return keras.ops.convert_to_numpy(network(keras.applications.mobilenet.preprocess_input(x)))

    def test_names_are_those_that_keras_has(self):
        assert {"VGG16", "ResNet50", "MobileNetV2", "EfficientNetB0"} <= networks().keys()
        for name, module in networks().items():
            assert callable(getattr(keras.applications, name))
            assert callable(getattr(keras.applications, module).preprocess_input)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["own.weights.h5", "whole.h5"])
    @pytest.mark.filterwarnings("ignore:You are saving your model")
    def test_weights_of_a_file_with_the_networks_own_preprocessing(self, network, file, tmp_path, name):
        model = pretrained(weights=str(file(name)))
        np.testing.assert_allclose(last_map(model, IMAGES), self.expected(network), rtol=1e-4, atol=1e-6)
        copy = layers.portable(keras.Model(model.input, model.output["P5"]))
        copy.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(again(IMAGES), last_map(model, IMAGES), rtol=1e-5)

    @pytest.mark.filterwarnings("ignore:You are saving your model")
    def test_weights_of_imagenet_are_taken_from_the_file_that_the_mistake_names(
        self, network, file, tmp_path, monkeypatch
    ):
        def offline(*arguments):
            raise URLError("no network")

        monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", offline)
        monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        with pytest.raises(InputError, match=r"^model\.weights=imagenet: https://\S+ cannot be downloaded") as told:
            pretrained(weights="imagenet")
        place = Path(str(told.value).rpartition(" at ")[2])
        assert place.is_relative_to(tmp_path)
        file(str(place.relative_to(tmp_path)))
        np.testing.assert_allclose(
            last_map(pretrained(weights="imagenet"), IMAGES), self.expected(network), rtol=1e-4, atol=1e-6
        )

    def test_weights_are_not_looked_for_where_others_follow(self):
        assert pretrained(start=None, weights="/nowhere.h5").count_params() == pretrained().count_params()

    @pytest.mark.parametrize(
        ("content", "reason"), [(b"no HDF5", "cannot be read"), (None, "cannot be read"), ("VGG16", "cannot be read")],
        ids=["damaged", "missing", "of another network"],
    )  # fmt: skip
    def test_weights_that_do_not_fit(self, tmp_path, content, reason):
        path = tmp_path / "file.weights.h5"
        if content == "VGG16":
            keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(path)
        elif content:
            path.write_bytes(content)
        with pytest.raises(InputError, match=rf"^{path}: {reason} [^\n]*accepted: weights of MobileNet without"):
            pretrained(weights=str(path))

    def test_efficientnet_normalizes_by_the_statistics_of_imagenet(self):
        model = pretrained(network="EfficientNetB0")
        normalized = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
        x = keras.ops.image.resize(IMAGES.astype("float32"), (32, 32)) / 255
        expected = (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        np.testing.assert_allclose(keras.Model(model.input, normalized.output)(IMAGES), expected, atol=1e-5)
        assert [feature.shape[1] for feature in model.output.values()] == [16, 8, 4, 2, 1]

    @pytest.mark.parametrize(("freeze", "frozen"), [("none", 0), ("all", None), (5, 5)])
    def test_frozen_layers_do_not_learn_and_normalize_as_in_inference(self, freeze, frozen):
        model = pretrained(freeze=freeze)
        count = len(model.layers) if frozen is None else frozen
        assert [layer.trainable for layer in model.layers] == [n >= count for n in range(len(model.layers))]
        moved = not np.allclose(model(IMAGES, training=True)["P5"], model(IMAGES, training=False)["P5"], atol=1e-6)
        assert moved == (freeze != "all")

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"size": 16}, "model.size: images of 16×16: MobileNet takes 32×32 pixels or more; set model.size"),
            ({"freeze": 1000}, "model.freeze=1000: mobilenet has "),
        ],
        ids=str,
    )
    def test_what_the_network_cannot_do(self, changes, expected):
        with pytest.raises(InputError) as told:
            pretrained(**changes)
        assert str(told.value).startswith(expected)

    @pytest.mark.parametrize(
        ("override", "expected"),
        [
            ("network=VGG-16", "should be a network of keras.applications; did you mean 'VGG16'? known: ConvNeXt"),
            ("weights=imagnet", "should be imagenet, none, or the path of an .h5 file"),
            ("freeze=-1", "should be all, none, or a number of layers"),
            ("freeze=some", "should be all, none, or a number of layers"),
        ],
    )
    def test_mistake(self, mistake, override, expected):
        assert mistake("data=digits", "model=pretrained", f"model.{override}").startswith(
            f"model.{override}: {expected}"
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return sqlite(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def main(store):
    """main(*overrides): `run.py` on composed settings in this process, and the run that it made."""
    run = runpy.run_path(str(ROOT / "run.py"))["main"]

    def recorded(*overrides: str) -> mlflow.entities.Run:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "log_model", lambda *arguments: None)  # most of the time that a run this small takes
            run(stated(store, *overrides))
        client = mlflow.MlflowClient(store)
        return client.search_runs([client.get_experiment_by_name("digits").experiment_id], max_results=1)[0]

    return recorded


def stated(uri: str, *overrides: str) -> DictConfig:
    return composed(f"tracking.uri={uri}", "data=digits", "data.limit=100", "augmentation=none", "batch_size=30",
                    "epochs=1", *overrides)  # fmt: skip


def artifact(run: mlflow.entities.Run, name: str) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://")) / name


@pytest.mark.slow
class TestFromRun:
    """Models that begin as a finished run's backbone."""

    @pytest.fixture(scope="class")
    def first(self, main):
        return main("model.filters=[4,8]", "model.classifier.units=[8]")

    def build(self, run, **changes) -> keras.Model:
        made_of = {"name": "cnn3", "filters": [4, 8], "kernel_size": 3, "dropout": 0.25}
        settings = {"name": "from_run", "run": run.info.run_id, "model": made_of, "freeze": "all"}
        return MODELS.build(settings | changes, image_shape=(16, 16, 1), train_images=IMAGES, start=tracking.weights_of)

    def test_backbone_has_the_weights_of_the_run_for_images_of_another_size(self, first, store):
        settings, weights, _ = tracking.stored_run(store, first.info.run_id)
        whole = Experiment.prepare(settings).model()
        whole.load_weights(weights)
        backbone = self.build(first)
        own = backbone.get_weights()
        assert len(own) == 12
        for array, other in zip(own, whole.get_weights(), strict=False):
            np.testing.assert_array_equal(array, other)
        assert not backbone.trainable_weights

    @pytest.fixture(scope="class")
    def second(self, first, main):
        """In two phases, from the first one's backbone, with a head of its own."""
        return main("model=from_run", f"model.run={first.info.run_id[:8]}", "finetune.epochs=2", "finetune.lr=0.01",
                    "schedule=constant", "model.classifier={pooling: average, units: [16], dropout: 0}")  # fmt: skip

    def test_run_is_recorded_with_what_its_model_is_made_of(self, first, second, store):
        assert second.info.status == "FINISHED"
        expected = {"model.run": first.info.run_id, "model.model.name": "cnn3", "model.classifier.units": "[16]"}
        assert expected.items() <= second.data.params.items()
        third = resolve(stated(store, "model=from_run", f"model.run={second.info.run_id}"))
        model = tracking.with_model_of_run(third).model
        assert model.model.name == "cnn3"
        assert model.classifier.units == [16]

    def test_metrics_go_on_in_the_second_phase_whose_rate_is_its_own(self, second, store):
        history = mlflow.MlflowClient(store).get_metric_history(second.info.run_id, "lr")
        assert [point.step for point in history] == [1, 2, 3]
        assert [point.value for point in history] == pytest.approx([6e-3, 0.01, 0.01])

    def test_run_that_was_ended_before_it_had_a_state_begins_as_it_did(self, second, tmp_path):
        experiment = Experiment.prepare(read(artifact(second, "config.yaml").read_text()))
        run = Unrecorded(tmp_path)
        run.log_metrics = lambda metrics, step=0: None
        trained = trainer.fit(experiment, experiment.compiled_model(), run, resumed=True)
        assert trainer.weights_sha256(trained) == second.data.tags["weights_sha256"]

    def test_run_needs_the_first_one_no_more(self, first, second, command, store):
        folder = artifact(first, "")
        shutil.move(folder, folder.with_name("away"))
        done = command(store, "evaluate", second.info.run_id)
        shutil.move(folder.with_name("away"), folder)
        assert (done.code, done.stderr) == (0, "")
        assert f"test/accuracy {second.data.metrics['test/accuracy']:.4f}\n" in done.stdout

    def test_weights_that_are_not_those_of_the_run(self, first):
        path = artifact(first, "model.weights.h5")
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match=r"^run \w+: the SHA-256 of its model\.weights\.h5 is \w+, recorded "):
            self.build(first)
        path.write_bytes(content)

    def test_weights_that_do_not_fit(self, first):
        made_of = {"name": "cnn3", "filters": [4, 9], "kernel_size": 3, "dropout": 0.25}
        with pytest.raises(InputError, match=r"^model\.run=\w+: model\.weights\.h5: cannot be read [^\n]* 16×16×1$"):
            self.build(first, model=made_of)

    def test_run_that_is_not_there_or_not_finished(self, in_process, tmp_path):
        uri = sqlite(tmp_path)
        tracking.connect(uri)
        line = error_line(in_process("model=from_run", "model.run=0123456789abcdef", f"tracking.uri={uri}"))
        assert line.startswith("run 0123456789abcdef: ")
        run = record(uri, "cnn3")
        mlflow.MlflowClient(uri).set_terminated(run, "KILLED")
        line = error_line(in_process("model=from_run", f"model.run={run}", f"tracking.uri={uri}"))
        assert line == f"model.run={run}: the run is KILLED, not finished"


class Stopped(Exception):  # noqa: N818
    """The process is gone."""


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
class TestPhases:
    """Two phases in one run."""

    OVERRIDES = ("epochs=9", "schedule=constant", "callbacks=[checkpoint,early_stopping]", "state.minutes=1e-9",
                 "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=100",
                 "finetune.epochs=2", "finetune.lr=0.01")  # fmt: skip

    @pytest.fixture(scope="class")
    def experiment(self):
        """Its first phase ends after two of nine epochs."""
        return Experiment.prepare(resolve(composed(*TINY, *self.OVERRIDES)))

    def fit(self, experiment, folder) -> str:
        run = Unrecorded(folder)
        run.log_metrics = lambda metrics, step=0: None
        return trainer.weights_sha256(trainer.fit(experiment, experiment.compiled_model(), run))

    @pytest.fixture(scope="class")
    def undisturbed(self, experiment, tmp_path_factory):
        return self.fit(experiment, tmp_path_factory.mktemp("undisturbed"))

    @pytest.mark.parametrize("saves", [4, 6, 8], ids=["first phase", "border", "second phase"])
    def test_resumed_run_equals_an_undisturbed_one(self, experiment, undisturbed, tmp_path, monkeypatch, saves):
        save, count = Loop.save, 0

        def stopping(loop):
            nonlocal count
            save(loop)
            count += 1
            if count == saves:
                raise Stopped

        monkeypatch.setattr(Loop, "save", stopping)
        with pytest.raises(Stopped):
            self.fit(experiment, tmp_path)
        monkeypatch.setattr(Loop, "save", save)
        assert self.fit(experiment, tmp_path) == undisturbed

    def test_metrics_of_a_phase_begin_at_zero(self):
        experiment = Experiment.prepare(resolve(composed(*TINY, "finetune.epochs=1")))
        model, data = experiment.compiled_model(), experiment.dataset
        model.evaluate(data.val.images, np.eye(10)[data.val.targets["label"]], verbose=0)
        assert experiment.metrics[0].count.numpy() > 0
        experiment.compile(model, experiment.phases[1])
        assert experiment.metrics[0].count.numpy() == 0

    def test_layers_before_the_named_one_do_not_learn(self):
        experiment = Experiment.prepare(resolve(composed(*TINY, "finetune.epochs=1")))
        model = experiment.compiled_model()
        named = next(layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense))
        phase = experiment.phases[1].__class__(1, 1e-4, True, named)
        experiment.compile(model, phase)
        place = [layer.name for layer in model.layers].index(named)
        assert [layer.trainable for layer in model.layers] == [n >= place for n in range(len(model.layers))]
        assert len(model.trainable_weights) == 4

    def test_what_the_model_never_lets_learn_stays_so(self, tmp_path):
        made_of = "{name: airbench, widths: [4], whitening_size: 2, whitening_padding: same, norm_momentum: 0.6}"
        overrides = ("model=from_run", "model.run=abcd", f"model.model={made_of}", "finetune.epochs=1",
                     "model.classifier={pooling: max, units: [], dropout: 0}")  # fmt: skip
        experiment = Experiment.prepare(resolve(stated(sqlite(tmp_path), *overrides)))
        model = experiment.compiled_model()
        assert len(model.trainable_weights) == 2
        experiment.compile(model, experiment.phases[1])
        assert len(model.trainable_weights) == 2 + 1 + 2 * 2
        assert not model.get_layer("whitening").kernel.trainable

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ("probabilitis", "no layer of the model; did you mean 'probabilities'? dry_run=true lists them"),
            ("xyz", "no layer of the model; dry_run=true lists them"),
        ],
    )
    def test_layer_that_is_not_there(self, given, told):
        experiment = Experiment.prepare(
            resolve(composed(*TINY, "finetune.epochs=1", f"finetune.unfreeze_from={given}"))
        )
        with pytest.raises(InputError) as error:
            experiment.compiled_model()
        assert str(error.value) == f"finetune.unfreeze_from={given}: {told}"

    def test_mistakes(self, mistake):
        assert mistake("finetune.epochs=-1").startswith("finetune.epochs=-1: should be greater than or equal to 0")
        assert mistake("finetune.lr=0").startswith("finetune.lr=0: should be greater than 0")
        assert "did you mean 'unfreeze_from'" in mistake("finetune.unfreeze_form=x")


@pytest.mark.slow
class TestDryRun:
    """`dry_run=true`: what a training would cost."""

    def test_tells_and_leaves_nothing(self, in_process, tmp_path, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")
        done = in_process(*TINY, "dry_run=true", "finetune.epochs=2", f"tracking.uri={sqlite(tmp_path)}")
        assert (done.code, done.stderr) == (0, "")
        assert not list(tmp_path.iterdir())
        first, second, _, *table = done.stdout.splitlines()
        assert first == "cnn3 with 666 parameters" and second.startswith("digits: ")
        in_all = next(line for line in table if line.startswith("in all"))
        assert in_all.split()[2] == "666"
        assert [line.split()[0] for line in table if line.endswith((":00", ":01"))] == ["training", "from"]
        assert max(map(len, table)) <= 100

    def test_is_not_for_sweeps(self, mistake):
        line = mistake("--multirun", "data=digits", "dry_run=true", "seed=1,2")
        assert line == "dry_run=true: is for a single run, not for a sweep"
