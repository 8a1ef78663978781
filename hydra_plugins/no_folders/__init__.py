"""Settings by which Hydra would write folders and files of its own are refused.

It creates them before the settings are checked, and overwrites what is there: `hydra.output_subdir=conf` would replace
`conf/config.yaml`. A run is recorded in MLflow alone.
"""

from __future__ import annotations

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from cifar.runtime.errors import ExitCodes, InputError

UNUSED = "is not supported, since a run is recorded in MLflow alone; tracking.uri says where"


class NoFolders(Callback):
    """Ends the process before Hydra creates a file or a folder."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with ExitCodes():  # Hydra turns exceptions of a callback into warnings, but for `SystemExit`
            hydra: Any = OmegaConf.to_container(config.hydra, resolve=False)
            _check(hydra)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self.on_run_start(config)
        with ExitCodes():
            if config.hydra.runtime.choices["hydra/sweeper"] == "basic":
                raise InputError(
                    "hydra/sweeper=basic: writes into hydra.sweep.dir before the jobs are checked; "
                    "should be grid, optuna or race"
                )


def _check(hydra: dict[str, Any]) -> None:
    if hydra["run"]["dir"] != ".":
        raise InputError(f"hydra.run.dir={hydra['run']['dir']}: {UNUSED}")
    if hydra["output_subdir"] is not None:
        raise InputError(f"hydra.output_subdir={hydra['output_subdir']}: {UNUSED}")
    if any("filename" in handler for handler in (hydra["job_logging"].get("handlers") or {}).values()):
        raise InputError("hydra.job_logging: a log file is not supported; redirect the output instead")
