"""From settings to data, task, model, optimizer and callbacks."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar.augmentation import Augmentation
from cifar.config.settings import Settings
from cifar.data import exclusion, folds
from cifar.data.photos import cache
from cifar.distributed import devices
from cifar.distributed.shard import Shard
from cifar.images.photos import Preparation
from cifar.interfaces import Dataset, Task
from cifar.nn import graph
from cifar.runtime import machine
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras, tf
from cifar.training import checks, pipeline, sampling
from cifar.training.phases import Phase
from cifar.training.sampling import Order

if TYPE_CHECKING:
    import tensorflow

EVALUATION_BATCH = 128  # larger ones are no faster on a CPU, and take more memory than training does
STATISTICS_IMAGES = 1024  # with more, the validation loss differs by about 0.01


def load(settings: Settings, all_targets: bool = False) -> Dataset:
    """The data set of the settings; `data`, `seed` and `task` alone decide it.

    Masks that the task does not need may be missing unless `all_targets` are asked for.
    """
    data = settings.data
    task = typing.get_type_hints(type(settings.task).builder)["return"]
    wanted = None if all_targets else getattr(task, "targets", None)
    with cache.limited_to(data.cache_gb):
        dataset = data.build(seed=settings.split_seed, wanted=wanted)
    if data.folds is not None and data.fold is not None:
        dataset = folds.cut(dataset, data.folds, data.fold, settings.split_seed)
    if data.exclude is None:
        return dataset
    return exclusion.without(dataset, data.exclude, getattr(data, "limit", None) is not None)


@dataclass(frozen=True)
class Experiment:
    """The parts of a run. Data and task are there from the start; what needs Keras is built when asked for."""

    settings: Settings
    dataset: Dataset
    task: Task

    @classmethod
    def prepare(cls, settings: Settings, dataset: Dataset | None = None) -> Experiment:
        """Check all settings, load the data unless given, set the task; raises `InputError`; needs no TensorFlow."""
        checks.check_settings(settings)
        dataset = dataset or load(settings)
        task = settings.task.build(dataset=dataset, classifier=settings.model.classifier)
        experiment = cls(settings, dataset, task)
        checks.check_experiment(experiment)
        return experiment

    @classmethod
    def of_run(cls, settings: Settings, fingerprint: str) -> Experiment:
        """`prepare` for a recorded run; raises `InputError` too where its data is not what it was."""
        experiment = cls.prepare(settings)
        if experiment.dataset.fingerprint != fingerprint:
            raise InputError(
                f"data: the images are not those of the run, whose fingerprint is {fingerprint[:12]}…, "
                f"not {experiment.dataset.fingerprint[:12]}…; data.path=DIR names where those are now"
            )
        return experiment

    def with_epochs(self, epochs: int) -> Experiment:
        """The experiment with another number of epochs; raises `InputError` where the schedule does not fit it."""
        changed = replace(self, settings=self.settings.model_copy(update={"epochs": epochs}))
        checks.check_schedules(changed)
        return changed

    @property
    def preparation(self) -> Preparation:
        """How a photo of any size becomes an image for the model: as those of the data set did, if it is of photos."""
        resize = self.dataset.resize or ("letterbox" if self.task.is_dense else "crop")
        reader = getattr(self.settings.data, "reader", None)
        return Preparation(self.dataset.image_shape, resize, drafts=reader != 1)

    @property
    def phases(self) -> list[Phase]:
        """The parts of the training, in their order."""
        finetune = self.settings.finetune
        first = Phase(self.settings.epochs, self.settings.optimizer.lr)
        return (
            [first, Phase(finetune.epochs, finetune.lr, True, finetune.unfreeze_from)] if finetune.epochs else [first]
        )

    @property
    def steps_per_epoch(self) -> int:
        return pipeline.steps_per_epoch(self.order.count, self.settings.batch_size)

    @functools.cached_property
    def order(self) -> Order:
        """Which images each epoch shows, and in which order."""
        return sampling.order(self.dataset.train, self.settings.data.sampling, self.settings.seed)

    @property
    def micro_batch_size(self) -> int:
        """Images that are computed at a time; with `accumulate_steps=1` those of a batch."""
        return self.settings.batch_size // self.settings.accumulate_steps

    @functools.cached_property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics to follow in training, next to the loss."""
        return self.task.metrics()

    @functools.cached_property
    def shard(self) -> Shard:
        """The part of each batch that this process reads."""
        return devices.shard(self.settings.distribute)

    def training_batches(self, epoch: int, step: int, epochs: int) -> tensorflow.data.Dataset:
        """The training batches from (`epoch`, `step`) on, both from 0, to the end of epoch `epochs`, from 1."""
        return pipeline.training_batches(
            self.dataset.train,
            self.task,
            self.augmentation(),
            order=self.order,
            seed=self.settings.seed,
            batch_size=self.settings.batch_size,
            epochs=epochs,
            first_epoch=epoch,
            first_step=step,
            shard=self.shard,
        )

    def statistics_batches(self) -> tensorflow.data.Dataset:
        """The batches of training images for the statistics of batch normalization, the same in each process."""
        batches = pipeline.training_batches(
            self.dataset.train,
            self.task,
            self.augmentation(),
            order=self.order,
            seed=self.settings.seed,
            batch_size=self.micro_batch_size,
            epochs=1,
        )
        return batches.take(pipeline.steps_per_epoch(STATISTICS_IMAGES, self.micro_batch_size))

    def validation_batches(self) -> tensorflow.data.Dataset:
        """The batches of one validation."""
        return pipeline.evaluation_batches(self.dataset.val, self.task, self._validation_batch_size, self.shard)

    @property
    def _validation_batch_size(self) -> int:
        return self.shard.filled(EVALUATION_BATCH, EVALUATION_BATCH)

    def model(self, start: Callable[[str], Path] | None = None, **changed: Any) -> keras.Model:
        """The task's head on the backbone, with the initial weights that the seed gives."""
        return self.task.model(self.backbone(start, **changed))

    def backbone(self, start: Callable[[str], Path] | None = None, **changed: Any) -> keras.Model:
        """The backbone, from an image to named feature maps, with the initial weights that the seed gives.

        `start` finds the weights of the run that the model begins with, by its id; without it, neither those nor other
        weights of an earlier training are loaded. `changed` are settings of the model to be otherwise.
        """
        if self.settings.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(self.settings.seed)
        keras.config.set_dtype_policy(_policy(self.settings))
        return self._backbone(start, **changed)

    def blank_model(self) -> keras.Model:
        """The model with weights of no meaning, to load others into.

        Keras's dtype policy, seed and determinism stay what they are in this process.
        """
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(_policy(self.settings))
        try:
            return self.task.model(self._backbone())
        finally:
            keras.config.set_dtype_policy(before)

    def _backbone(self, start: Callable[[str], Path] | None = None, **changed: Any) -> keras.Model:
        settings = self.settings.model.changed(**changed) if changed else self.settings.model
        return settings.build(
            start=start,
            image_shape=self.dataset.image_shape,
            train_images=self.dataset.train.images,
        )

    def compiled_model(self, start: Callable[[str], Path] | None = None) -> keras.Model:
        """The model, ready for the first phase of its training; raises `InputError` where it could not enter all."""
        with devices.scope(self.settings.distribute):
            model = self.model(start)
            for phase in self.phases:
                phase.first_layer(model)  # refuses a name that is no layer
            model = self._trainable(model)
            self.compile(model, self.phases[0])
        return model

    def compile(self, model: keras.Model, phase: Phase) -> None:
        """Make `model` ready for `phase`: with the task's loss and metrics, and the optimizer with its schedule."""
        if phase.unfreeze:
            # The builder keeps some layers frozen where it does not freeze all.
            options: dict[str, Any] = {"freeze": "none"} if hasattr(self.settings.model, "freeze") else {}
            phase.unfreeze_layers(model, like=self.model(**options))
        mirrored = self.settings.distribute == "mirrored"
        # XLA makes TensorFlow's convolutions on a CPU 5 to 8 times slower, and compiles neither what replicas exchange
        # nor slices of a size that is not fixed.
        suited = not mirrored and self.settings.accumulate_steps == 1
        jit = self.settings.backend == "jax" or (bool(tf.config.list_physical_devices("GPU")) and suited)
        for metric in self.metrics:  # Keras resets them only once the first batch has been seen
            metric.reset_state()
        model.compile(self._optimizer(model, phase), self.task.loss(), metrics=self.metrics, jit_compile=jit)

    def augmentation(self) -> Augmentation:
        """The transforms of the settings, in their order, and how they fill what they leave open."""
        transforms = {name: choice.build() for name, choice in self.settings.augmentation.items()}
        return Augmentation(transforms, self.settings.fill_mode)

    def callbacks(self, folder: Path) -> list[keras.callbacks.Callback]:
        """The callbacks of the settings; what they write goes to `folder`."""
        return [choice.build(folder=folder, experiment=self) for choice in self.settings.callbacks.values()]

    def _trainable(self, model: keras.Model) -> keras.Model:
        """`model`, or one of its layers that several devices train, or that is trained by micro-batches."""
        if self.settings.accumulate_steps > 1:
            from cifar.training.accumulation import AccumulatingModel

            return AccumulatingModel(model, self.micro_batch_size)
        if self.shard.devices == 1:
            return model
        from cifar.distributed.model import DistributedModel

        train = self.order.count, self.settings.batch_size
        return DistributedModel(model, self.shard, train, (len(self.dataset.val), self._validation_batch_size))

    def _optimizer(self, model: keras.Model, phase: Phase) -> keras.Optimizer:
        settings = self.settings.optimizer
        if phase.lr != settings.lr:
            settings = settings.changed(lr=phase.lr)
        optimizer = settings.build(schedule=self.schedule(phase), head=graph.last_layers(model))
        spared = [variable for variable in model.trainable_variables if len(variable.shape) < 2]
        optimizer.exclude_from_weight_decay(spared)
        return self.settings.weight_averaging.build(optimizer=optimizer)

    def schedule(self, phase: Phase) -> Callable[[float], Any]:
        """The schedule of a phase, from the peak of the learning rate to Keras's; raises `InputError`."""
        return self.settings.schedule.build(steps_per_epoch=self.steps_per_epoch, epochs=phase.epochs)


def _policy(settings: Settings) -> str:
    """Keras's policy of a precision; `auto` is what this hardware is fast at."""
    if settings.precision != "auto":
        return settings.precision
    capability = devices.compute_capability(settings.backend)
    if capability is None:  # JAX does not use the instructions of a CPU for bfloat16
        fast = settings.backend == "tensorflow" and machine.has_fast_bfloat16()
        return "mixed_bfloat16" if fast else "float32"
    scaled = settings.distribute != "mirrored"  # see `devices.check`
    return "mixed_bfloat16" if capability >= 8 else "mixed_float16" if capability >= 7 and scaled else "float32"
