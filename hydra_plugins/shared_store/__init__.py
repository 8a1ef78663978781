"""Hydra deep-copies its store of configs each time it composes or lists a group, a hundred times for `--help`.

No copy is ever written to, so that a copy is the one store itself.
"""

import copyreg

from hydra.core.config_store import ConfigStore

copyreg.pickle(ConfigStore, lambda store: (ConfigStore.instance, ()))
