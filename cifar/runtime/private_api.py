"""What is changed in libraries or read of them by private names, since they offer no public way; each with its reason.

Checked with omegaconf 2.3.1 and mlflow 3.17.2. Nothing else in the package reads a private name of a library or
replaces a part of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any


def let_containers_replace_each_other() -> None:
    """Make OmegaConf replace a list by a mapping, and a mapping by a list, where a later file or override gives one.

    It merges containers of one kind and refuses those of two, with no option for it, so that a setting that takes
    either, such as `data.classes`, could not be changed from its default. `BaseContainer._map_merge` merges files,
    and Hydra applies overrides by `OmegaConf.update`.
    """
    from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf
    from omegaconf.basecontainer import BaseContainer

    if hasattr(OmegaConf.update, "replaces_containers"):
        return  # Hydra imports a plugin, which calls this, again whenever it looks for plugins
    containers = (dict, list, DictConfig, ListConfig)
    merge_mappings, update = BaseContainer._map_merge, OmegaConf.update

    def differ(one: object, other: object) -> bool:
        """True for a mapping and a list, in either order."""
        kinds = {isinstance(node, list | ListConfig) for node in (one, other) if isinstance(node, containers)}
        return len(kinds) == 2

    def replacing_merge(dest: DictConfig, src: DictConfig, *arguments: Any, **options: Any) -> None:
        if isinstance(dest._content, dict) and isinstance(src._content, dict):  # not `null`, `???` or a reference
            for key in [key for key in src._content if differ(dest._content.get(key), src._content[key])]:
                dest._content[key] = AnyNode(None, key=key, parent=dest)
        merge_mappings(dest, src, *arguments, **options)  # OmegaConf 2.4 has more of them

    def replacing_update(cfg, key, value=None, *, merge=True, force_add=False):
        replaced = isinstance(value, containers) and differ(OmegaConf.select(cfg, key, throw_on_missing=False), value)
        update(cfg, key, value, merge=merge and not replaced, force_add=force_add)

    replacing_update.replaces_containers = True
    BaseContainer._map_merge, OmegaConf.update = staticmethod(replacing_merge), staticmethod(replacing_update)


def hard_delete(store: Any, run_id: str, model_ids: Iterable[str]) -> None:
    """Remove the rows of a run that is deleted in MLflow, and of its models, from `store`, a `SqlAlchemyStore`.

    MLflow 3.17 has no public way but `mlflow gc`, which also removes every deleted experiment of the store, and reads
    artifact locations as they were recorded, before a store was moved or copied.
    """
    for model_id in model_ids:
        store._hard_delete_logged_model(model_id)
    store._hard_delete_run(run_id)


@contextlib.contextmanager
def without_package_search(requirements_utils: ModuleType) -> Iterator[None]:
    """In the `with`, MLflow compares the requirements of a model with what is installed by names of packages alone.

    Before that, MLflow 3.17 maps each module that is installed to its package. That reads the lists of all installed
    files, which is half of the time in which a small model is recorded, and no option leaves it out.
    `requirements_utils` is `mlflow.utils.requirements_utils`.
    """
    before = requirements_utils._MODULES_TO_PACKAGES
    requirements_utils._MODULES_TO_PACKAGES = {}
    try:
        yield
    finally:
        requirements_utils._MODULES_TO_PACKAGES = before
