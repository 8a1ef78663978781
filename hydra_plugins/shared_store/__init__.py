"""Hydra deep-copies its store of configs each time it composes or lists a group, a hundred times for `--help`.

No copy is ever written to, so that one store serves all.
"""

from hydra.core.config_store import ConfigStore

ConfigStore.__deepcopy__ = lambda store, memo: store
