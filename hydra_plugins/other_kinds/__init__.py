"""Hydra imports this before it composes: a mapping then replaces a list, and a list a mapping."""

from cifar.runtime.private_api import let_containers_replace_each_other

let_containers_replace_each_other()
