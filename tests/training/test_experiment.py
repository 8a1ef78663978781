"""From settings to parts: what is built, what is refused, and that the seed decides the initial weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifar.config.registry import AUGMENTATIONS, CALLBACKS, OPTIMIZERS
from cifar.runtime.errors import InputError
from cifar.runtime.paths import WEIGHTS
from cifar.tasks.classification import Classification
from cifar.tracking.running import Unrecorded
from cifar.training import checks, pipeline, trainer
from cifar.training.experiment import Experiment
from cifar.training.loop import Loop
from helpers.runs import TINY


@pytest.fixture
def prepare(compose):
    """prepare(*overrides): a tiny experiment; the global dtype policy is put back afterwards."""
    policy = keras.config.dtype_policy()
    yield lambda *overrides: Experiment.prepare(compose(*TINY, *overrides))
    keras.config.set_dtype_policy(policy)


def weights(model) -> list[np.ndarray]:
    return [weight.numpy() for weight in model.weights]


def equal(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.usefixtures("eager")
class TestModel:
    def test_seed_decides_the_initial_weights(self, prepare):
        first = prepare("seed=1").model()
        assert equal(first, prepare("seed=1").model())
        assert not equal(first, prepare("seed=2").model())

    def test_dropout_of_the_head_changes_no_initial_weight(self, prepare):
        assert equal(prepare("model.classifier.dropout=0.1").model(), prepare("model.classifier.dropout=0.6").model())

    @pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
    def test_precision_is_that_of_the_hidden_layers_only(self, prepare, precision):
        model = prepare(f"precision={precision}").model()
        compute = {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
        assert compute == {precision.removeprefix("mixed_")}
        assert model.dtype_policy.variable_dtype == "float32"
        assert model(np.zeros((1, 8, 8, 1), np.uint8)).dtype == "float32"

    def test_shape_and_classes_come_from_the_data(self, prepare):
        prepared = prepare()
        model = prepared.model()
        assert model.input_shape == (None, *prepared.dataset.image_shape)
        assert model.input.dtype == "uint8"
        assert model.output_shape == (None, len(prepared.dataset.class_names))

    @pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
    def test_compiled_model_trains_and_measures(self, prepare, optimizer):
        prepared = prepare(
            f"optimizer={optimizer}", "optimizer.lr=1e-2", "model.dropout=0", "model.classifier.dropout=0"
        )
        model = prepared.compiled_model()
        train = prepared.dataset.train
        targets = prepared.task.encode(train.targets)
        losses = [model.train_on_batch(train.images, targets, return_dict=True)["loss"] for _ in range(8)]
        assert losses[-1] < losses[0]
        assert set(model.evaluate(train.images, targets, verbose=0, return_dict=True)) == {"loss", "accuracy"}

    @pytest.mark.parametrize("optimizer", sorted({*OPTIMIZERS.names()} - {"muon"}))  # whose kernels have a fixed norm
    def test_weights_decay_but_those_of_norms_and_biases(self, prepare, optimizer):
        overrides = (f"optimizer={optimizer}", "optimizer.weight_decay=0.5", "schedule=constant")
        variables = (model := prepare(*overrides).compiled_model()).trainable_variables
        for variable in variables:
            variable.assign(keras.ops.ones_like(variable))
        model.optimizer.build(variables)
        model.optimizer.apply([keras.ops.zeros_like(variable) for variable in variables])
        decayed = {variable.name: bool((variable.numpy() < 1).all()) for variable in variables}
        assert decayed == {"kernel": True, "bias": False, "gamma": False, "beta": False}


class TestParts:
    def test_steps_cover_every_image(self, prepare):
        prepared = prepare("batch_size=32")
        assert len(prepared.dataset.train) == 90
        assert prepared.steps_per_epoch == 3

    def test_augmentation_keeps_the_order_of_the_list(self, prepare):
        assert list(prepare("augmentation=[shift,flip,rotation]").augmentation().transforms) == [
            "shift",
            "flip",
            "rotation",
        ]

    @pytest.mark.parametrize("name", AUGMENTATIONS.names())
    def test_every_augmentation_builds(self, prepare, name):
        assert list(prepare(f"augmentation=[{name}]").augmentation().transforms) == [name]

    @pytest.mark.parametrize("name", CALLBACKS.names())
    def test_every_callback_builds(self, prepare, tmp_path, name):
        overrides = ["schedule=lr_range", "epochs=20"] if name == "lr_range" else ["schedule=constant"]
        (callback,) = prepare(f"callbacks=[{name}]", *overrides).callbacks(tmp_path)
        assert isinstance(callback, keras.callbacks.Callback)

    def test_seed_cuts_the_validation_split(self, prepare):
        first, same, other = (prepare(f"seed={seed}").dataset for seed in (1, 1, 2))
        assert first.fingerprint == same.fingerprint != other.fingerprint
        assert np.array_equal(first.test.images, other.test.images)


class TestCheck:
    """What no single builder can refuse."""

    @pytest.mark.parametrize("schedule", ["cosine", "onecycle", "multistep", "exponential"])
    def test_reduce_lr_needs_the_constant_schedule(self, compose, schedule):
        with pytest.raises(InputError, match=rf"^callbacks\.reduce_lr: needs schedule=constant, not .*{schedule}$"):
            checks.check_settings(compose("callbacks=[reduce_lr]", f"schedule={schedule}"))

    @pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy", "train/loss", "train/accuracy"])
    def test_monitors_that_are_logged_are_taken(self, prepare, monitor):
        prepare(f"callbacks.early_stopping.monitor={monitor}", f"callbacks.checkpoint.monitor={monitor}")

    def test_key_names_the_entry_of_a_mapping(self, compose):
        with pytest.raises(InputError, match=r"^callbacks\.early_stopping\.patience=0: should be greater than 0"):
            checks.check_settings(compose("callbacks.early_stopping.patience=0"))

    def test_too_many_blocks_for_the_image(self, prepare):
        with pytest.raises(InputError, match=r"^model\.filters=\[4, 4, 4, 4\]: .* 8×8$"):
            prepare("model.filters=[4,4,4,4]").model()

    @pytest.mark.parametrize(
        ("override", "why"),
        [
            ("augmentation=[flip,cutmix]", "augmentation.cutmix: {}, so that images cannot be mixed"),
            ("evaluate.tta=flip", "evaluate.tta=flip: {}, so that views cannot be averaged"),
        ],
    )
    def test_what_makes_no_sense_for_a_task_that_speaks_of_places(self, prepare, monkeypatch, override, why):
        prepare(override)
        monkeypatch.setattr(Classification, "is_dense", True)
        prepare("augmentation=[flip,cutout]")
        with pytest.raises(InputError) as refused:
            prepare(override)
        assert str(refused.value) == why.format("task=classification has targets with positions in the image")

    def test_a_task_needs_its_targets(self, prepare):
        with pytest.raises(InputError, match=r"^data=digits: its images have no boxes, .* they have label$"):
            prepare().dataset.require_targets("label", "boxes")

    def test_loss_of_the_test_is_the_one_that_was_trained_with_over_all_images(self, prepare):
        prepared = prepare("task.label_smoothing=0.3", "data.limit=400")
        model, test = prepared.model(), prepared.dataset.test
        assert len(test) % trainer.EVALUATION_BATCH
        targets = 0.7 * np.eye(10)[test.targets["label"]] + 0.03
        expected = -(targets * np.log(model.predict(test.images, verbose=0))).sum(axis=1).mean()
        assert trainer.test(prepared, model).metrics["loss"] == pytest.approx(expected, rel=1e-5)


class TestCallbacks:
    """The callbacks' own doing, on losses that are told to them."""

    def built(self, compose, tmp_path, name, *settings):
        overrides = [f"callbacks=[{name}]", *(f"callbacks.{name}.{setting}" for setting in settings)]
        (callback,) = Experiment.prepare(compose(*TINY, "schedule=constant", *overrides)).callbacks(tmp_path)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        model.compile(keras.optimizers.SGD(0.5), "mse")
        callback.set_model(model)
        callback.set_params({"epochs": 9, "steps": 1})
        callback.on_train_begin()
        return callback, model

    def test_checkpoint_keeps_the_best_epoch(self, compose, tmp_path):
        callback, model = self.built(compose, tmp_path, "checkpoint", "monitor=val/loss")
        for epoch, loss in enumerate([3.0, 1.0, 2.0]):
            model.set_weights([np.full((1, 1), epoch)])
            callback.on_epoch_begin(epoch)
            callback.on_epoch_end(epoch, {"loss": 0.0, "val_loss": loss})
        model.load_weights(tmp_path / "model.weights.h5")
        assert model.get_weights()[0] == 1
        assert [path.name for path in tmp_path.iterdir()] == ["model.weights.h5"]

    def test_what_a_sigkill_left_of_a_checkpoint_does_not_replace_it(self, compose, tmp_path):
        (tmp_path / "model.weights.h5").write_text("the best")
        (tmp_path / "partial.model.weights.h5").write_text("half of the ne")
        callback, _ = self.built(compose, tmp_path, "checkpoint", "monitor=val/loss")
        callback.best = 1.0  # restored with the state
        callback.on_epoch_begin(3)
        callback.on_epoch_end(3, {"loss": 0.0, "val_loss": 2.0})
        assert (tmp_path / "model.weights.h5").read_text() == "the best"

    def test_early_stopping_waits_and_restores(self, compose, tmp_path):
        callback, model = self.built(compose, tmp_path, "early_stopping", "patience=2", "monitor=val/accuracy")
        stopped = []
        for epoch, accuracy in enumerate([0.1, 0.9, 0.5, 0.6]):
            model.set_weights([np.full((1, 1), epoch)])
            callback.on_epoch_end(epoch, {"val_accuracy": accuracy})
            stopped.append(model.stop_training)
        callback.on_train_end()
        assert stopped == [False, False, False, True]
        assert model.get_weights()[0] == 1
        assert callback.stop_reason == (
            "early stopping after epoch 4: no better val/accuracy in 2 epochs; best: epoch 2"
        )

    def test_early_stopping_waits_from_the_peak_of_the_learning_rate_on(self, compose, tmp_path):
        callback, model = self.built(compose, tmp_path, "early_stopping", "patience=2", "monitor=val/loss")
        stopped = []
        for epoch, rate in enumerate([0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1]):
            model.optimizer.learning_rate = rate
            callback.on_epoch_end(epoch, {"val_loss": 1.0 + epoch})
            stopped.append(model.stop_training)
        assert stopped.index(True) == 5 and callback.best_epoch == 0

    def test_reduce_lr_multiplies_the_rate(self, compose, tmp_path):
        callback, model = self.built(compose, tmp_path, "reduce_lr", "patience=1", "factor=0.5")
        rates = []
        for epoch, loss in enumerate([1.0, 2.0, 3.0]):
            callback.on_epoch_end(epoch, {"val_loss": loss})
            rates.append(float(model.optimizer.learning_rate.numpy()))
        assert rates == [0.5, 0.25, 0.125]

    def test_csv_logger_writes_a_line_an_epoch(self, compose, tmp_path):
        callback, _ = self.built(compose, tmp_path, "csv_logger")
        for epoch in range(3):
            callback.on_epoch_end(epoch, {"loss": 1.0, "val_loss": 2.0})
        callback.on_train_end()
        assert len((tmp_path / "history.csv").read_text().splitlines()) == 4

    def test_tensorboard_writes_scalars(self, compose, tmp_path):
        callback, _ = self.built(compose, tmp_path, "tensorboard")
        callback.on_epoch_end(4, {"loss": 1.5, "val_loss": 2.5})
        found = {}
        for path in sorted((tmp_path / "tensorboard").rglob("events.*")):
            _, *records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
            for event in map(tf.compat.v1.Event.FromString, records):
                (value,) = event.summary.value
                assert (event.step, value.metadata.plugin_data.plugin_name) == (5, "scalars")
                found[path.parent.name, value.tag] = float(tf.make_ndarray(value.tensor))
        assert found == {("train", "loss"): 1.5, ("val", "loss"): 2.5, ("train", "lr"): 0.5}


def test_a_step_is_traced_once(prepare, tmp_path, monkeypatch):
    prepared, traced = prepare("epochs=1", "callbacks=none"), []
    model = prepared.compiled_model()
    step = model.train_step
    monkeypatch.setattr(model, "train_step", lambda data: (traced.append(data), step(data))[1])
    Loop(prepared, model, Unrecorded(tmp_path)).train()
    assert len(traced) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
class TestKeptWeights:
    """The weights that are kept and tested are those of the epoch to which `best/` belongs."""

    BOTH = "callbacks=[checkpoint,early_stopping]"
    BY_ACCURACY = ("callbacks.checkpoint.monitor=val/accuracy", "callbacks.early_stopping.monitor=val/accuracy")
    FINETUNE = ("epochs=3", "finetune.epochs=3", "finetune.lr=0.2")

    @pytest.fixture
    def fitted(self, prepare, tmp_path):
        """fitted(*overrides): loss and accuracy by epoch, `best/` metrics, and those of the model and of its file."""

        def fit(*overrides):
            prepared = prepare("epochs=6", "schedule=constant", "optimizer.lr=0.1", *overrides)
            run, logged, history = Unrecorded(tmp_path), {}, {}

            def log_metrics(metrics, step=0):
                logged.update(metrics)
                if step:
                    history[step] = (metrics["val/loss"], metrics["val/accuracy"])

            run.log_metrics = log_metrics
            trained = trainer.fit(prepared, prepared.compiled_model(), run)
            loaded = trainer.with_weights(prepared, tmp_path / WEIGHTS)
            best = {name: value for name, value in logged.items() if name.startswith("best/")}
            return history, best, self.evaluated(prepared, trained), self.evaluated(prepared, loaded)

        return fit

    def evaluated(self, prepared, model) -> dict[str, float]:
        model.compile(loss=prepared.task.loss(), metrics=prepared.task.metrics())
        batches = pipeline.evaluation_batches(prepared.dataset.val, prepared.task, trainer.EVALUATION_BATCH)
        return {f"best/{name}": value for name, value in model.evaluate(batches, verbose=0, return_dict=True).items()}

    def best_by(self, history, metric: str, first: int = 1) -> int:
        epochs = [epoch for epoch in history if epoch >= first]
        loss, accuracy = (lambda epoch: history[epoch][0]), (lambda epoch: -history[epoch][1])
        return min(epochs, key=loss if metric == "loss" else accuracy)

    def check(self, found, epoch: int) -> None:
        _, best, trained, loaded = found
        assert best.pop("best/epoch") == epoch
        assert trained == pytest.approx(best, rel=1e-6)
        assert loaded == trained

    @pytest.mark.parametrize(
        "averages", ["weight_averaging=none", "weight_averaging=ema", "weight_averaging=lookahead"]
    )
    def test_without_callbacks_those_of_the_last_epoch(self, fitted, averages):
        found = fitted("callbacks=none", averages, "optimizer.lr=0.3")
        if averages == "weight_averaging=none":
            assert self.best_by(found[0], "loss") < 6  # or this would show nothing
        self.check(found, 6)

    @pytest.mark.parametrize(("metric", "overrides"), [
        ("loss", ["callbacks=[checkpoint]"]),
        ("loss", ["callbacks=[early_stopping]"]),
        ("loss", ["callbacks=[early_stopping]", "weight_averaging=ema"]),
        ("loss", [BOTH, "weight_averaging=lookahead"]),
        ("accuracy", [BOTH, *BY_ACCURACY]),
        ("loss", [BOTH, BY_ACCURACY[1]]),
        ("loss", ["callbacks=[checkpoint]", *FINETUNE]),
    ])  # fmt: skip
    def test_those_of_the_best_epoch_by_the_monitor(self, fitted, metric, overrides):
        found = fitted(*overrides)
        self.check(found, self.best_by(found[0], metric))

    def test_those_that_early_stopping_restores(self, fitted):
        found = fitted("callbacks=[early_stopping]", "callbacks.early_stopping.patience=2",
                       "callbacks.early_stopping.min_delta=100")  # fmt: skip
        assert len(found[0]) == 3
        self.check(found, 1)

    def test_those_that_early_stopping_restores_in_the_second_phase(self, fitted):
        found = fitted("callbacks=[early_stopping]", *self.FINETUNE)
        self.check(found, self.best_by(found[0], "loss", first=4))

    @pytest.mark.parametrize("callbacks", ["none", "[checkpoint]", "[early_stopping]"])
    def test_of_a_resumed_run(self, fitted, callbacks, monkeypatch):
        save = Loop.save

        def interrupt(loop):
            save(loop)
            if loop.epoch == 4:
                raise KeyboardInterrupt

        monkeypatch.setattr(Loop, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fitted(f"callbacks={callbacks}")
        monkeypatch.setattr(Loop, "save", save)
        found = fitted(f"callbacks={callbacks}")
        self.check(found, 6 if callbacks == "none" else self.best_by(found[0], "loss"))
