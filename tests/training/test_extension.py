"""`resume=RUN epochs=N` of a finished run: it ends as a run of N epochs from the start, or the command is refused."""

from __future__ import annotations

import mlflow
import pytest

from cifar import tracking
from cifar.config.compose import resolve
from cifar.runtime import interrupts
from cifar.runtime.errors import InputError
from cifar.training import trainer
from cifar.training.experiment import Experiment
from helpers.runs import TINY, composed, record, sqlite

SETTINGS = (*TINY, "schedule=exponential", "optimizer=sgd", "augmentation=[shift]", "callbacks=[checkpoint,csv_logger]",
            "model.classifier.dropout=0.5", "weight_averaging=ema")  # fmt: skip


def train(settings, unfinished=None) -> str:
    """The id of the run that these settings make, or continue."""
    experiment = Experiment.prepare(settings)
    model = experiment.compiled_model()
    with interrupts.handled(), tracking.start(settings.tracking, unfinished) as run:
        trainer.describe(experiment, model, run)
        trainer.fit(experiment, model, run, resumed=unfinished is not None)
        return run.id


def extended(uri: str, run_id: str, *given: str):
    """What `resume` finds: the settings, and the run locked."""
    given = (f"resume={run_id}", *given)
    return tracking.find_resumable(composed(f"tracking.uri={uri}", *given), given)


@pytest.mark.slow
def test_extended_run_equals_one_of_as_many_epochs_from_the_start(tmp_path, eager):
    uri = sqlite(tmp_path)
    tracking.connect(uri)
    given = (*SETTINGS, f"tracking.uri={uri}")
    whole = train(resolve(composed(*given, "epochs=3")))
    short = train(resolve(composed(*given, "epochs=1")))
    assert train(*extended(uri, short, "epochs=3")) == short
    client = mlflow.MlflowClient(uri)
    first, second = client.get_run(whole), client.get_run(short)
    assert second.info.status == "FINISHED"
    assert second.data.tags["weights_sha256"] == first.data.tags["weights_sha256"]
    assert second.data.tags["resumed.epochs"] == "3"
    for name in ("train/loss", "val/loss", "val/accuracy"):
        histories = [[(one.step, one.value) for one in client.get_metric_history(run, name)] for run in (whole, short)]
        assert histories[0] == histories[1]
    assert second.data.metrics["best/loss"] == first.data.metrics["best/loss"]
    with pytest.raises(InputError, match=r"the run is finished; epochs=N with N above 3 extends it$"):
        extended(uri, short, "epochs=3")


@pytest.mark.parametrize(
    ("settings", "tag", "reason"),
    [
        (["schedule=cosine"], "", "cannot be extended: schedule=cosine depends on the number of epochs"),
        (["schedule=constant", "finetune.epochs=2"], "", "cannot be extended: finetune.epochs=2 were its last"),
        (["schedule=constant"], "no improvement", "more epochs would change nothing: no improvement"),
        (["schedule=constant"], "", "cannot be extended: its last checkpoint is not in /"),
    ],
)
def test_run_that_cannot_be_extended(tmp_path, settings, tag, reason):
    uri = sqlite(tmp_path)
    run = record(uri, "run", *settings)
    if tag:
        mlflow.MlflowClient(uri).set_tag(run, "stop_reason", tag)
    with pytest.raises(InputError, match=f"^resume={run}: the run is finished, and {reason}"):
        extended(uri, run, "epochs=40")
