"""What a training runs on: Keras's backend, the devices that share each batch, the processes that train together.

A batch is always the global one. TensorFlow's mirrored strategy (one machine) and Keras's data parallelism on JAX (any
number of processes) split it over the devices and combine what these make of it, so that the number of devices changes
nothing but the last bits.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from cifar.config.settings import Backend, Distribute, Settings
from cifar.distributed.shard import Shard
from cifar.interfaces import Dataset
from cifar.runtime import extras, lazy
from cifar.runtime.errors import InputError, Interrupted, TrainingError, warn
from cifar.runtime.lazy import Lazy, keras, np, tf
from cifar.runtime.processes import start_unforked
from cifar.runtime.quiet import silenced

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tensorflow

jax, multihost = Lazy("jax"), Lazy("jax.experimental.multihost_utils")

UNSUITED = {
    ("tensorflow", "data_parallel"): "Keras spreads a training over processes on JAX alone: type backend=jax",
    ("jax", "mirrored"): "the mirrored strategy is TensorFlow's: type distribute=data_parallel",
}
INDEX, COUNT, ADDRESS = (f"KERAS_DISTRIBUTION_{name}" for name in ("PROCESS_ID", "NUM_PROCESSES", "JOB_ADDRESSES"))

PATIENCE = 20
"""Seconds after which a process reports that it waits for others; JAX aborts it after 300."""


class Processes(NamedTuple):
    """Which of how many processes this one is, from 0, that train together."""

    process_index: int = 0
    process_count: int = 1


def check(settings: Settings) -> None:
    """Raises `InputError` for settings, an environment or an installation that cannot work; loads nothing heavy."""
    backend, distribute = settings.backend, settings.distribute
    if (backend, distribute) in UNSUITED:
        raise InputError(f"distribute={distribute}: {UNSUITED[backend, distribute]}")
    if (inherited := os.environ.get("KERAS_BACKEND", backend)) != backend:
        raise InputError(f"backend={backend}: the environment has KERAS_BACKEND={inherited}; unset it")
    if backend == "jax":
        extras.require("jax", "backend=jax", "jax")
    if distribute == "mirrored" and getattr(settings.optimizer, "clip_norm", None):
        raise InputError(
            "optimizer.clip_norm: with distribute=mirrored, Keras clips the gradient of each device, not "
            "their sum; backend=jax distribute=data_parallel clips the sum"
        )
    if distribute == "mirrored" and settings.precision == "mixed_float16":
        raise InputError(
            "precision=mixed_float16: with distribute=mirrored, Keras looks for overflow on the first "
            "device alone; mixed_bfloat16 needs not look"
        )
    processes(settings)


def processes(settings: Settings) -> Processes:
    """This process among those of `srun` or of Keras's environment variables; raises `InputError`."""
    if settings.distribute != "data_parallel":
        return Processes()
    given = {name: os.environ[name] for name in (INDEX, COUNT, ADDRESS) if name in os.environ}
    if given:
        if missing := {INDEX, COUNT, ADDRESS} - given.keys():
            raise InputError(f"{next(iter(given))}: needs {', '.join(sorted(missing))} too")
        index, count = given[INDEX], given[COUNT]
    else:
        index, count = os.environ.get("SLURM_PROCID", "0"), os.environ.get("SLURM_NTASKS", "1")
        if count != "1" and "SLURM_STEP_NODELIST" not in os.environ:
            raise InputError(
                f"distribute=data_parallel: SLURM has given {count} tasks, of which this process is none; "
                "start it by `srun`"
            )
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise InputError(f"distribute=data_parallel: process {index} of {count}: should be counted from 0")
    return Processes(int(index), int(count))


def start(settings: Settings, dataset: Dataset, images: int) -> None:
    """Load the backend and join the other processes, which must have the same settings and data.

    An epoch has so many `images`. Raises `InputError` where that fails. All processes but the first are silent from
    here on.
    """
    if settings.backend == "jax" and settings.deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    if (platforms := os.environ.get("JAX_PLATFORMS")) and "cpu" not in platforms.split(","):
        os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"  # where FLOPs are counted
    lazy.load_tensorflow(settings.backend)
    if (loaded := keras.backend.backend()) != settings.backend:
        start_unforked()
        raise InputError(f"backend={settings.backend}: this process has loaded Keras on {loaded}")
    if (expected := processes(settings)).process_count > 1:
        _join(expected, settings, dataset)
    if settings.batch_size % (devices := device_count(settings.distribute)):
        raise InputError(f"batch_size={settings.batch_size}: should be a multiple of {devices}, the number of devices")
    partial = images % settings.batch_size
    if settings.distribute == "mirrored" and 0 < partial < devices:
        raise InputError(
            f"batch_size={settings.batch_size}: the last batch of {images:,} images has "
            f"{partial}, fewer than the {devices} devices"
        )


def _join(expected: Processes, settings: Settings, dataset: Dataset) -> None:
    keras.utils.set_random_seed(settings.seed)  # without one, `initialize` draws and exchanges one on the CPU
    waiting = threading.Timer(PATIENCE, warn, [f"waiting for {expected.process_count} processes to come together"])
    waiting.start()
    keras.distribution.initialize()
    waiting.cancel()
    if (
        found := jax.process_count()
    ) != expected.process_count or jax.device_count() != found * jax.local_device_count():
        raise InputError(
            f"distribute=data_parallel: {found} processes with {jax.device_count()} devices, should be "
            f"{expected.process_count} with {jax.local_device_count()} each"
        )
    digest = hashlib.sha256(f"{settings.model_dump_json()}{dataset.fingerprint}".encode()).digest()
    own = np.frombuffer(digest, np.uint8)
    with silenced(1):
        differ = (multihost.process_allgather(own) != own).any()
    if differ:
        raise InputError("distribute=data_parallel: the processes differ in their settings or their data")
    if expected.process_index:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextlib.contextmanager
def abort_on_failure() -> Iterator[None]:
    """Inside the `with`, a process that fails ends at once, and so do the others; JAX would have it wait for them."""
    try:
        yield
    except BaseException as error:
        if keras.backend.backend() == "jax" and jax.distributed.is_initialized():
            atexit.register(_end, 128 + error.signum if isinstance(error, Interrupted) else 1)
            if any(library in str(error) for library in ("Gloo", "NCCL")):
                raise TrainingError(f"another process of this training is gone: {error}") from error
        raise


def _end(code: int) -> None:
    sys.stdout.flush()
    os._exit(code)


def shutdown() -> None:
    """Let the other processes go, which all do this at once: from here on, each works alone."""
    if keras.backend.backend() == "jax":
        jax.distributed.shutdown()


def device_count(distribute: Distribute) -> int:
    """How many devices share a batch."""
    match distribute:
        case "mirrored":
            return _strategy().num_replicas_in_sync
        case "data_parallel":
            return jax.device_count()
    return 1


def compute_capability(backend: Backend) -> float | None:
    """NVIDIA's number for what the first GPU can do, `None` without a GPU."""
    if backend == "jax":
        device = jax.local_devices()[0]
        return float(device.compute_capability) if device.platform == "gpu" else None
    gpus = tf.config.list_physical_devices("GPU")
    major, minor = tf.config.experimental.get_device_details(gpus[0])["compute_capability"] if gpus else (0, 0)
    return major + minor / 10 if gpus else None


def shard(distribute: Distribute) -> Shard:
    """What this process reads of each batch."""
    if distribute == "data_parallel":
        return Shard(jax.process_index(), jax.process_count(), jax.device_count())
    return Shard(devices=device_count(distribute))


def scope(distribute: Distribute) -> contextlib.AbstractContextManager:
    """Inside the `with`, what is built and trained is on all devices."""
    match distribute:
        case "mirrored":
            return _strategy().scope()
        case "data_parallel":
            return keras.distribution.DataParallel(auto_shard_dataset=False).scope()
    return contextlib.nullcontext()


@functools.cache
def _strategy() -> tensorflow.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def is_distributed() -> bool:
    """True if this process trains together with others."""
    return keras.backend.backend() == "jax" and jax.process_count() > 1


def all_reduce_max(number: int) -> int:
    """The greatest `number` of all processes, which all ask at once."""
    return int(multihost.process_allgather(np.int32(number)).max()) if is_distributed() else number


def broadcast_from_rank0(content: bytes) -> bytes:
    """The `content` that the first process has; all ask at once."""
    own = np.frombuffer(b"" if jax.process_index() else content, np.uint8)
    return multihost.broadcast_one_to_all(np.pad(own, (0, all_reduce_max(len(own)) - len(own)))).tobytes()
