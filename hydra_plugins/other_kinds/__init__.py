"""A mapping replaces a list, and a list a mapping, where a later file or the command line gives one for the other.

OmegaConf merges containers of one kind and refuses those of two, with no option for it, so that a setting that takes
either, such as `data.classes`, could not be changed from its default. Its private `_map_merge` is what merges files.
"""

from typing import Any

from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer

CONTAINERS = (dict, list, DictConfig, ListConfig)

merge_mappings, update = BaseContainer._map_merge, OmegaConf.update


def _merge_mappings(dest: DictConfig, src: DictConfig, *arguments: Any, **options: Any) -> None:
    if isinstance(dest._content, dict) and isinstance(src._content, dict):  # neither is `null`, `???` or a reference
        for key in [key for key in src._content if _differ(dest._content.get(key), src._content[key])]:
            dest._content[key] = AnyNode(None, key=key, parent=dest)
    merge_mappings(dest, src, *arguments, **options)


def _update(cfg, key, value=None, *, merge=True, force_add=False):
    replaced = isinstance(value, CONTAINERS) and _differ(OmegaConf.select(cfg, key, throw_on_missing=False), value)
    update(cfg, key, value, merge=merge and not replaced, force_add=force_add)


def _differ(one: object, other: object) -> bool:
    """True for a mapping and a list, in either order."""
    kinds = {isinstance(node, list | ListConfig) for node in (one, other) if isinstance(node, CONTAINERS)}
    return len(kinds) == 2


# Hydra imports a plugin's module again whenever it looks for plugins.
if not hasattr(OmegaConf.update, "replaces_kinds"):
    _update.replaces_kinds = True
    BaseContainer._map_merge, OmegaConf.update = staticmethod(_merge_mappings), staticmethod(_update)
