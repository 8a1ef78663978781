"""Hydra finds the configurations of extensions next to those of `conf/`."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from cifar.config import search_path


class Extensions(SearchPathPlugin):
    """Adds the folders to Hydra's search path, behind its own."""

    def manipulate_search_path(self, search_path_of_hydra: ConfigSearchPath) -> None:
        for folder in search_path.folders()[1:]:
            search_path_of_hydra.append("cifar.extensions", f"file://{folder}")
