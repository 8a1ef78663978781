"""Exports, read by other programs in separate processes, and refused exports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import keras
import mlflow
import numpy as np
import pytest

from cifar import tracking
from cifar.export import formats, metadata, saved_model, tflite
from cifar.export.source import Source, Written
from cifar.images.io import encode_png
from cifar.nn import layers
from cifar.runtime import extras
from cifar.runtime.errors import InputError, TrainingError
from cifar.tracking import queries
from cifar.training import trainer
from cifar.training.experiment import Experiment
from helpers.processes import Completed, error_line, run_python, run_warm
from helpers.runs import TINY, record, sqlite

BOUNDARY = 0.5
"""How far int8 may move a probability: far for an image on the boundary of two classes, hardly at all for most."""


FORMATS = [name for name in formats.FORMATS if name != "openvino" or find_spec("openvino")]
LOSSY = {"tflite-fp16": 5e-3, "tflite-int8": BOUNDARY}
"""How much the formats that lose precision by design may differ."""


@dataclass(frozen=True)
class Exported:
    """An export that a process has made, and what the run's model says of the test images in this one."""

    process: Completed
    folder: Path
    card: dict
    images: np.ndarray
    probabilities: np.ndarray

    def read_by(self, script: str, run: Callable[..., Completed] = run_python) -> Completed:
        """What `script` says in a process without this project; `images.npy` and the export are in its folder."""
        np.save(self.folder / "images.npy", self.images)
        return run("-c", script, cwd=self.folder)


@pytest.fixture(scope="module")
def exported(quickstart, tmp_path_factory) -> Exported:
    """The quickstart's run in all formats."""
    folder = tmp_path_factory.mktemp("export")
    process = run_warm("-m", "cifar", "--tracking-uri", quickstart.uri, "export", quickstart.id[:8], folder, "--format",
                       ",".join(FORMATS))  # fmt: skip
    assert (process.code, process.stderr) == (0, ""), process
    experiment, model = trainer.restore(*tracking.stored_run(quickstart.uri, quickstart.id))
    images = experiment.dataset.test.images
    return Exported(process, folder / "1", json.loads((folder / "1" / "model.json").read_text()), images,
                    model.predict(images, verbose=0))  # fmt: skip


def differences(exported: Exported, done: Completed) -> float:
    """How far the probabilities that a process has saved are from those of the run's model, at most."""
    assert done.code == 0, done.stderr
    return float(np.abs(np.load(exported.folder / "answers.npy") - exported.probabilities).max())


@pytest.mark.slow
class TestEachFormatAlone:
    def test_saved_model_by_tensorflow(self, exported):
        (exported.folder / "image.png").write_bytes(encode_png(exported.images[0]))
        done = exported.read_by(
            """
import sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(".")
outputs = model.signatures["serving_default"](image=tf.constant(np.load("images.npy")))
np.save("answers.npy", outputs["probabilities"])
assert set(outputs) == {"probabilities"}
print(*(name.decode() for name in model.signatures["class_names"]()["class_names"].numpy()))
of_bytes = model.signatures["serving_bytes"](image_bytes=tf.constant([open("image.png", "rb").read()] * 2))
np.testing.assert_allclose(of_bytes["probabilities"], outputs["probabilities"].numpy()[[0, 0]], atol=1e-6)
assert "cifar" not in sys.modules
""",
            run_warm,
        )
        assert differences(exported, done) < 1e-6
        assert done.stdout.split() == list("0123456789")

    def test_onnx_by_its_runtime(self, exported):
        done = exported.read_by("""
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(given,), (answered,) = session.get_inputs(), session.get_outputs()
assert (given.name, given.shape, given.type) == ("image", ["batch", 8, 8, 1], "tensor(uint8)")
assert (answered.name, answered.shape) == ("probabilities", ["batch", 10])
np.save("answers.npy", session.run(None, {"image": np.load("images.npy")})[0])
assert not {"cifar", "tensorflow", "keras", "onnx"} & sys.modules.keys()
""")
        assert differences(exported, done) < 1e-5

    def test_all_that_it_reads_by_openvino(self, exported):
        """A second runtime: of the SavedModel, the ONNX file, the TFLite files and its own."""
        pytest.importorskip("openvino", reason="openvino is not installed")
        done = exported.read_by("""
import sys
import numpy as np
import openvino
images = np.load("images.npy")
for name in (".", "model.onnx", "model.tflite", "model_fp16.tflite", "model.xml"):
    model = openvino.compile_model(name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    size = 1 if "tflite" in name else 64
    np.save(f"{name.strip('.') or 'saved_model'}.npy", np.concatenate(
        [next(iter(model(images[first : first + size]).values())) for first in range(0, len(images), size)]))
assert not {"cifar", "tensorflow", "keras", "onnx"} & sys.modules.keys()
""")
        assert done.code == 0, done.stderr
        for name in ("saved_model", "model.onnx", "model.tflite", "model_fp16.tflite", "model.xml"):
            found = np.load(exported.folder / f"{name}.npy")
            assert np.abs(found - exported.probabilities).max() < (5e-3 if "fp16" in name else 1e-4), name

    @pytest.mark.parametrize(
        ("name", "tolerance"), [("model.tflite", 1e-5), ("model_fp16.tflite", 5e-3), ("model_int8.tflite", BOUNDARY)]
    )
    def test_tflite_by_its_interpreter(self, exported, name, tolerance):
        done = exported.read_by(f"""
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
answer = Interpreter("{name}").get_signature_runner("serving_default")
np.save("answers.npy", [answer(image=image[None])["probabilities"][0] for image in np.load("images.npy")])
assert not {{"cifar", "tensorflow", "keras"}} & sys.modules.keys()
""")
        assert differences(exported, done) < tolerance
        answers = np.load(exported.folder / "answers.npy")
        assert (answers.argmax(axis=1) == exported.probabilities.argmax(axis=1)).mean() > 0.97
        assert np.abs(answers - exported.probabilities).mean() < 0.01

    def test_keras_file_in_safe_mode(self, exported):
        model = keras.saving.load_model(exported.folder / "model.keras", safe_mode=True)
        np.testing.assert_allclose(model.predict(exported.images, verbose=0), exported.probabilities, atol=1e-6)
        assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}

    def test_integers_alone_between_the_ends(self, exported):
        kinds = [operation["op_name"] for operation in
                 tflite.Interpreter(str(exported.folder / "model_int8.tflite"))._get_ops_details()]  # fmt: skip
        inner = kinds[kinds.index("QUANTIZE") + 1 : kinds.index("DEQUANTIZE")]
        assert "CONV_2D" in inner and not {"CAST", "QUANTIZE", "DEQUANTIZE"} & {*inner}


class TestCard:
    def test_describes_the_run_and_its_model(self, exported, quickstart):
        card, run = exported.card, mlflow.MlflowClient(quickstart.uri).get_run(quickstart.id)
        assert (card["run"]["id"], card["run"]["model"], card["run"]["data"]) == (quickstart.id, "cnn3", "digits")
        assert card["class_names"] == list("0123456789")
        assert card["input"] == {
            "name": "image", "shape": [None, 8, 8, 1], "dtype": "uint8", "range": [0, 255],
            "axes": ["image", "row", "column", "channel"],
            "photos": "resized to cover the image, and cropped at their center",
        }  # fmt: skip
        assert card["outputs"] == {
            "probabilities": {"shape": [None, 10], "dtype": "float32", "axes": ["image", "class"],
                              "class": list("0123456789"), "unit": "probability; 1 for all classes of an image"}
        }  # fmt: skip
        assert card["metrics"] == run.data.metrics
        assert card["versions"]["keras"] == keras.__version__
        assert card["weights_sha256"] == run.data.tags["weights_sha256"]

    def test_sha256_of_each_file(self, exported):
        files = {str(path.relative_to(exported.folder)): path.read_bytes() for path in exported.folder.rglob("*")
                 if path.is_file() and path.suffix not in (".npy", ".png") and path.name != "model.json"}  # fmt: skip
        assert exported.card["files"] == {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }

    def test_what_each_format_costs(self, exported):
        card, shown = exported.card, exported.process.stdout.splitlines()
        assert list(card["formats"]) == [
            name for base in FORMATS for name in ([base, *LOSSY] if base == "tflite" else [base])
        ]
        for line, stated in zip(shown[1:-1], card["formats"].values(), strict=True):
            change = stated["test"]["accuracy"] - card["test"]["accuracy"]
            assert line.split()[0] == stated["file"]
            assert f"accuracy {stated['test']['accuracy']:.4f} ({change:+.4f})".replace("-", "−") in line
        for name, tolerance in LOSSY.items():
            assert 1e-5 < card["formats"].pop(name)["greatest_difference"] < tolerance
        assert all(stated["greatest_difference"] < 1e-5 for stated in card["formats"].values())
        assert card["test"]["accuracy"] == pytest.approx(card["metrics"]["test/accuracy"], abs=1e-6)
        assert shown[-1] == f"{exported.folder} contains cnn3, with model.json"


@pytest.fixture
def source(compose):
    """source(*overrides): an untrained model, whose weights are random enough for its answers to differ."""

    def build(*overrides: str) -> Source:
        experiment = Experiment.prepare(compose("data=digits", "data.limit=60", *overrides))
        model, random = layers.portable(experiment.model()), np.random.default_rng(0)
        for weight in model.weights:
            changed = weight.numpy() + random.normal(0, 0.05, weight.shape)
            weight.assign(changed if experiment.task.is_dense and len(weight.shape) > 1 else np.abs(changed))
        tags = {"weights_sha256": ""}
        run = SimpleNamespace(id="0" * 32, name="", experiment="", metrics={}, tags=tags)
        return Source(run, experiment, layers.portable(model))

    return build


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [
    ("model=resnet20", "model.depth=8"), ("model=airbench", "model.widths=[4,4]"),
    ("model=cct", "model.depth=1", "model.embed_dim=16", "model.num_heads=2"),
], ids=lambda overrides: overrides[0])  # fmt: skip
def test_models_keep_their_answers(source, tmp_path, overrides):
    built = source(*overrides)
    reference, *written = formats.write(built, ["savedmodel", "onnx", "tflite"], tmp_path)
    assert [model.format for model in written] == ["savedmodel", "onnx", "tflite", *LOSSY]
    assert all(model.difference < 1e-5 for model in written if model.format not in LOSSY)
    assert reference.difference == 0 and np.ptp(built.model.predict(built.experiment.dataset.test.images)) > 0.01


@pytest.mark.slow
def test_detections_are_decoded_by_the_file(source, tmp_path):
    built = source("task=detection", "data=scenes", "data@data.source=digits", "data.size=32", "data.num_train=16",
                   "data.num_val=4", "data.num_test=4", "model.filters=[8,16]", "task.fpn_channels=8",
                   "task.head_depth=1")  # fmt: skip
    images, task = built.experiment.dataset.test.images, built.experiment.task
    expected = task.predictions(built.model.predict(images, verbose=0))
    found = built.named.predict(images, verbose=0)
    assert {name: (value.shape, value.dtype) for name, value in found.items()} == {
        "detections": ((4, 100, 6), np.float32), "count": ((4,), np.int32)
    }  # fmt: skip
    assert found["count"].min() > 1
    for name, values in task.of_exported(found).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-4)
    _, *written = formats.write(built, [name for name in FORMATS if name not in ("savedmodel", "keras")], tmp_path)
    assert all(model.difference < 1e-5 for model in written if model.format not in LOSSY)
    described = metadata.content(built, written[0], [], tmp_path)["outputs"]["detections"]
    assert described["column"] == ["left", "top", "right", "bottom", "score", "class"]
    assert len(described["unit"]) == 6


def test_model_that_a_format_cannot_hold(source, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyError("no such\noperation")

    monkeypatch.setattr(saved_model, "write", fail)
    line = r"^--format savedmodel: this model cannot be converted \(KeyError: [^\n]+\)$"
    with pytest.raises(TrainingError, match=line):
        list(formats.write(source(*TINY[2:4]), ["savedmodel"], tmp_path))


def test_outputs_that_differ_too_much(source, tmp_path, monkeypatch):
    built = source(*TINY[2:4])
    wrong = {"probabilities": np.full((len(built.experiment.dataset.test), 10), np.nan)}
    monkeypatch.setattr(saved_model, "write", lambda *_: [Written("savedmodel", [], lambda _: wrong, tolerance=1)])
    with pytest.raises(TrainingError, match=r"^--format savedmodel: outputs differ from Keras's"):
        list(formats.write(built, ["savedmodel"], tmp_path))


@pytest.mark.slow
def test_run_in_bfloat16_with_views(in_process, command, tmp_path):
    """The model is exported in float32, and looks at an image once; not with weights that have changed since."""
    uri = sqlite(tmp_path)
    overrides = ("model=airbench", "model.widths=[4,4]", "precision=mixed_bfloat16", "evaluate.tta=flip")
    done = in_process(*TINY[:2], *TINY[4:], *overrides, f"tracking.uri={uri}")
    assert done.code == 0, done
    run_id = done.stdout.split()[1].rstrip(":")
    done = command(uri, "export", run_id, tmp_path / "models", "--format", "keras")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.endswith("; without the test-time augmentation of evaluate.tta=flip\n")
    card = json.loads((tmp_path / "models" / "1" / "model.json").read_text())
    assert (card["tta"], card["outputs"]["probabilities"]["dtype"]) == ("flip", "float32")
    model = keras.saving.load_model(tmp_path / "models" / "1" / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert set(card["formats"]) == {"keras"}

    stored = mlflow.MlflowClient(uri).get_run(run_id).info.artifact_uri.removeprefix("file://")
    with Path(stored, "model.weights.h5").open("ab") as weights:
        weights.write(b"x")
    line = error_line(command(uri, "export", run_id, tmp_path / "others"))
    assert line.startswith(f"run {run_id}: the SHA-256 of its model.weights.h5 is ")
    assert not (tmp_path / "others").exists()


class TestRefusals:
    @pytest.fixture
    def export(self, command, quickstart, monkeypatch):
        """export(*arguments): `python -m cifar export ARGUMENTS…`, which must be refused before TensorFlow loads."""
        loaded = "not refused before TensorFlow loads"
        monkeypatch.setattr("cifar.export.command.load_tensorflow", lambda: pytest.fail(loaded))
        return lambda *arguments, uri=quickstart.uri: command(uri, "export", *arguments)

    def test_unknown_run(self, export, tmp_path):
        assert error_line(export("0" * 32, tmp_path / "new")).startswith(f"run {'0' * 32}: ")
        assert not (tmp_path / "new").exists()

    def test_run_that_is_not_finished(self, export, tmp_path):
        uri = sqlite(tmp_path)
        tracking.connect(uri)
        run_id = record(uri, "some", "data.limit=60")
        mlflow.MlflowClient(uri).set_terminated(run_id, "FAILED")
        assert error_line(export(run_id, tmp_path / "new", uri=uri)) == f"run {run_id}: the run is FAILED, not finished"

    def test_run_without_weights(self, export, tmp_path):
        uri = sqlite(tmp_path)
        run_id = record(uri, "some", "data.limit=60")
        line = error_line(export(run_id, tmp_path / "new", uri=uri))
        assert line == f"run {run_id}: it is FINISHED and has no model.weights.h5"

    def test_unknown_format(self, export, quickstart, tmp_path):
        line = error_line(export(quickstart.id, tmp_path, "--format", "keras,onx"))
        assert (
            line
            == "--format onx: unknown format; did you mean 'onnx'? known: keras, onnx, openvino, savedmodel, tflite"
        )

    def test_package_that_is_not_installed(self, export, quickstart, tmp_path, monkeypatch):
        monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "tf2onnx" else name)
        line = error_line(export(quickstart.id, tmp_path, "--format", "onnx"))
        assert line == (
            '--format onnx: tf2onnx is not installed; `pip install --editable ".[export]"` installs what it needs'
        )

    def test_folder_that_cannot_be_written(self, export, quickstart, tmp_path):
        (tmp_path / "file").touch()
        line = error_line(export(quickstart.id, tmp_path / "file" / "models"))
        assert line.startswith(f"{tmp_path}/file/models: cannot be written; accepted: ")
        (tmp_path / "thesis.txt").touch()
        before = sorted(tmp_path.iterdir())
        assert error_line(export(quickstart.id, tmp_path)).startswith(f"{tmp_path}: contains other files, such as ")
        assert sorted(tmp_path.iterdir()) == before

    def test_model_that_is_not_rebuilt_as_it_was(self, quickstart):
        run, settings, weights = tracking.finished_run(quickstart.uri, quickstart.id)
        from cifar.export import source

        other = queries.StoredRun(**{**vars(run), "tags": {**run.tags, "weights_sha256": "0"}})
        with pytest.raises(InputError, match=r"differs from the recorded one$"):
            source.restore(other, settings, weights)
