"""The same settings and seed in two fresh processes: the same batches and the same weights, to the bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cifar.runtime.paths import ROOT
from helpers.processes import run_warm
from helpers.runs import TINY

pytestmark = pytest.mark.slow

CHOICES = {group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml") if path.stem != "none")
           for group in ("optimizer", "weight_averaging", "augmentation")}  # fmt: skip
SCRIPT = f"""
import hashlib
from helpers.runs import composed
from cifar.config.compose import resolve
from cifar.optim import averaging
from cifar.training import pipeline, trainer
from cifar.training.experiment import Experiment

def experiment(*overrides):
    return Experiment.prepare(resolve(composed(*{TINY}, "model.filters=[4,8]", *overrides)))

def batches(experiment):
    return pipeline.training_batches(experiment.dataset.train, experiment.task, experiment.augmentation(), seed=1,
                                     batch_size=30, epochs=1)

for group, name in {[(group, name) for group in ("optimizer", "weight_averaging") for name in CHOICES[group]]}:
    run = experiment(f"{{group}}={{name}}")
    model = run.compiled_model()
    model.fit(batches(run), steps_per_epoch=2, verbose=0)
    averaging.swap(model)
    print("digest:", group, name, trainer.weights_sha256(model))
for name in {CHOICES["augmentation"]}:
    run, digest = experiment(f"augmentation={{name}}"), hashlib.sha256()
    for images, targets in batches(run):
        digest.update(images.numpy().tobytes() + targets.numpy().tobytes())
    print("digest:", "augmentation", name, digest.hexdigest())
"""


@pytest.fixture(scope="module")
def digests() -> list[dict[tuple[str, str], str]]:
    """The digests of each choice's results, in two processes."""
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: run_warm("-c", SCRIPT, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"), range(2)))
    assert [done.code for done in both] == [0, 0], both[0].stderr
    lines = [[line.split()[1:] for line in done.stdout.splitlines() if line.startswith("digest:")] for done in both]
    return [{(group, name): digest for group, name, digest in process} for process in lines]


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, names in CHOICES.items() for name in names])
def test_is_the_same_in_two_processes(digests, group, name):
    first, second = digests
    assert first[group, name] == second[group, name]


def test_choices_differ_from_each_other(digests):
    assert len(set(digests[0].values())) == sum(map(len, CHOICES.values()))
