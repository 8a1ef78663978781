"""Old names of settings, choices and metrics, and what they are called now: the one table.

What a run has recorded is read by the new names. On a command line and in a YAML file, an old name is an error whose
message has the new one. The hashes by which runs and sweeps with equal settings are found are of the oldest names, so
that they stay what they were.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from cifar.runtime.errors import did_you_mean

Path = tuple[str, ...]
Value = TypeVar("Value")


class Setting(NamedTuple):
    """A setting, or a whole group, by its dotted keys; with `builder`, only among the settings of that builder.

    A row stands below those that rename its group or the name of its builder, and has their new names.
    """

    old: str
    new: str
    builder: str | None = None


class Choice(NamedTuple):
    """The name of a builder of a group."""

    group: str
    old: str
    new: str


class Added(NamedTuple):
    """A setting that the records of a builder, or of any, lack where it has the value that it replaced."""

    key: str
    builder: str | None
    value: Any

    def is_of(self, found: Mapping[Path, Any]) -> bool:
        """True if the settings `found` are of the builder."""
        name = _builder(found, tuple(self.key.split(".")))
        return name is not None and self.builder in (None, name)


class Metric(NamedTuple):
    """A metric, without its split, of the runs with this task, and with this `task.head` if it is given."""

    old: str
    new: str
    task: str
    head: str | None = None


CHOICES = (
    Choice("schedule", "triangular", "linear_warmup_decay"),
    Choice("schedule", "step", "multistep"),
)
SETTINGS = (
    Setting("averaging", "weight_averaging"),
    Setting("weight_averaging.steps", "weight_averaging.sync_period", "lookahead"),
    Setting("weight_averaging.rate", "weight_averaging.slow_step_size", "lookahead"),
    Setting("finetune.from_layer", "finetune.unfreeze_from"),
    Setting("data.broken", "data.on_invalid", "coco"),
    Setting("data.sets", "data.image_set", "voc"),
    Setting("data.train", "data.num_train", "scenes"),
    Setting("data.val", "data.num_val", "scenes"),
    Setting("data.test", "data.num_test", "scenes"),
    Setting("model.head", "model.classifier"),
    Setting("model.width", "model.embed_dim", "cct"),
    Setting("model.units", "model.mlp_dim", "cct"),
    Setting("model.heads", "model.num_heads", "cct"),
    Setting("model.model.width", "model.model.embed_dim", "cct"),
    Setting("model.model.units", "model.model.mlp_dim", "cct"),
    Setting("model.model.heads", "model.model.num_heads", "cct"),
    Setting("task.width", "task.fpn_channels", "detection"),
    Setting("task.depth", "task.head_depth", "detection"),
    Setting("task.nms_iou", "task.nms_iou_threshold", "detection"),
    Setting("task.min_score", "task.score_threshold", "detection"),
    Setting("augmentation.random_erasing.least_area", "augmentation.random_erasing.min_area"),
    Setting("augmentation.random_erasing.most_area", "augmentation.random_erasing.max_area"),
    Setting("augmentation.random_erasing.least_aspect", "augmentation.random_erasing.min_aspect"),
    Setting("optimizer.steps", "optimizer.ns_steps", "muon"),
    Setting("schedule.rise", "schedule.warmup_fraction"),
    Setting("schedule.decay", "schedule.decay_rate", "exponential"),
)
ADDED = (
    Added("data.limit", "scenes", None),
    Added("data.exclude", None, None),
    Added("data.val_seed", None, None),
    Added("data.folds", None, None),
    Added("data.fold", None, None),
    Added("data.sampling", None, "shuffle"),
    Added("data.resize", "folder", "crop"),
    Added("data.resize", "table", None),
    *(Added("data.resize", name, "letterbox") for name in ("coco", "masks", "pets", "voc", "yolo")),
    *(Added("data.cached_size", name, None) for name in ("coco", "folder", "masks", "pets", "table", "voc", "yolo")),
)
ADDED_TO_ROOT = {"extensions": None, "accumulate_steps": 1, "minutes": None, "profile": False}
"""Root settings that records lack, and the values that they replaced."""
METRICS = (
    Metric("calibration_error", "ece", "classification"),
    Metric("boundary_f", "boundary_f1", "segmentation"),
    Metric("recall", "ar100", "detection"),
    Metric("accuracy", "positive_accuracy", "detection", "fcos"),
)

ALIKE = 3
"""At most so many settings are named in place of an unknown one."""


def unknown_setting(key: str, known: Iterable[str], others: Iterable[str] = ()) -> str:
    """The message for the unknown setting `key`, dotted, next to which the settings `known` stand.

    Of the settings elsewhere, the `others`, those are named whose last part is that of `key`.
    """
    known = [*known]
    if new := new_name(key, known):
        return f"{key} is called {new} now"
    last = key.rpartition(".")[2]
    if alike := [repr(other) for other in others if other.rpartition(".")[2] == last][:ALIKE]:
        return f"unknown setting; did you mean {' or '.join(alike)}? known: {', '.join(sorted(known))}"
    return f"unknown setting; {did_you_mean(last, known)}"


def new_name(key: str, known: Collection[str]) -> str | None:
    """The new name of the setting `key`, dotted, if it or its last part is among the `known` settings."""
    for setting in SETTINGS:
        if key == setting.old or key.startswith(f"{setting.old}."):
            new = setting.new + key[len(setting.old) :]
            if new in known or new.rpartition(".")[2] in known:
                return new
    return None


def unknown_choice(group: str, name: object, known: Iterable[str], kind: str = "choice") -> str:
    """The message for the unknown choice `name` of a `group`, of which `known` are the choices."""
    for choice in CHOICES:
        if (choice.group, choice.old) == (group, name):
            return f"{name} is called {choice.new} now"
    return f"unknown {kind}; {did_you_mean(name, known)}"


def unknown_metric(name: str, known: Iterable[str]) -> str:
    """The end of a message about the unknown metric `name`, such as `val/loss`, where the metrics `known` exist."""
    known, (split, _, own) = [*known], name.partition("/")
    for metric in METRICS:
        if metric.old == own and f"{split}/{metric.new}" in known:
            return f"it is called {split}/{metric.new} now"
    return did_you_mean(name, known)


def new_group(group: str) -> str | None:
    """The new name of a group of settings; `None` where it has none."""
    return next((setting.new for setting in SETTINGS if setting.old == group), None)


def translated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded `settings`, plain and nested, by their new names, in their order."""
    found: dict[str, Any] = {}
    for (*above, last), value in _by_new_names(dict(_leaves(settings, ()))).items():
        node = found
        for part in above:
            node = node.setdefault(part, {})
        node[last] = value
    return found


def of_params(params: Mapping[str, str]) -> dict[str, str]:
    """Recorded parameters, under dotted keys, by their new names."""
    return {".".join(path): str(value) for path, value in _by_new_names(_split(params)).items()}


def oldest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under dotted keys by the oldest of their names, without those that came later and change nothing."""
    found = _split(settings)
    old_names = {metric.new: metric.old for metric in _metrics_of(found)}
    found = {path: _monitored(path, value, old_names) for path, value in found.items()}
    for added in ADDED:
        path = tuple(added.key.split("."))
        if added.is_of(found) and path in found and found[path] == added.value:
            del found[path]
    for key, value in ADDED_TO_ROOT.items():
        if (key,) in found and found[key,] == value:
            del found[key,]
    for setting in reversed(SETTINGS):
        found = _renamed(found, setting.new, setting.old, setting.builder)
    for choice in CHOICES:
        found = _chosen(found, choice.group, choice.new, choice.old)
    return {".".join(path): value for path, value in found.items()}


def oldest_key(key: str) -> str:
    """The oldest name of the setting `key`, dotted, whatever its builder."""
    path = tuple(key.split("."))
    for setting in reversed(SETTINGS):
        path = next(iter(_renamed({path: None}, setting.new, setting.old, None)))
    return ".".join(path)


def metrics(found: Mapping[str, Value], params: Mapping[str, str]) -> dict[str, Value]:
    """The metrics `found` of a run with the `params`, by their new names."""
    new_names = {metric.old: metric.new for metric in _metrics_of(_split(params))}
    named = {_metric_name(name, new_names): value for name, value in found.items()}
    return named | {name: value for name, value in found.items() if name in named}


def old_metric(name: str, params: Mapping[str, str]) -> str | None:
    """The name that a metric of a run with the `params` may be recorded under instead; `None` for most."""
    old = _metric_name(name, {metric.new: metric.old for metric in _metrics_of(_split(params))})
    return old if old != name else None


def old_filter(filter_string: str) -> tuple[str, list[str]]:
    """A filter string of MLflow's by the old names, and the new names in it: none for most."""
    renames = [("params", "", setting.new, setting.old) for setting in reversed(SETTINGS)]
    renames += [("metrics", r"\w+/", metric.new, metric.old) for metric in METRICS]
    names = []
    for choice in CHOICES:
        chosen = rf"(params\.[`\"]?{choice.group}\.name[`\"]?\s*\S+\s*['\"]){choice.new}(?=['\"])"
        if re.search(chosen, filter_string):
            names.append(f"{choice.group}.name")
            filter_string = re.sub(chosen, rf"\g<1>{choice.old}", filter_string)
    for kind, prefix, new, old in renames:
        named = rf"({kind}\.[`\"]?)({prefix}){re.escape(new)}(?!\w)"
        names += [match[2] + new for match in re.finditer(named, filter_string)]
        filter_string = re.sub(named, rf"\g<1>\g<2>{old}", filter_string)
    return filter_string, names


def in_filter(filter_string: str) -> list[tuple[str, str]]:
    """The old names in a filter string of MLflow's and the new ones; other settings or metrics may have an old name."""
    found = []
    for kind, key in re.findall(r"(params|metrics)\.[`\"]?([\w./]+)", filter_string):
        split, _, own = key.partition("/")
        if kind == "metrics":
            found += [(key, f"{split}/{metric.new}") for metric in METRICS if metric.old == own]
        else:
            found += [
                (key, setting.new + key[len(setting.old) :])
                for setting in SETTINGS
                if key == setting.old or key.startswith(f"{setting.old}.")
            ]
    return found


def _by_new_names(found: dict[Path, Any]) -> dict[Path, Any]:
    for choice in CHOICES:
        found = _chosen(found, choice.group, choice.old, choice.new)
    for setting in SETTINGS:
        found = _renamed(found, setting.old, setting.new, setting.builder)
    for added in ADDED:
        path = tuple(added.key.split("."))
        if added.is_of(found):
            found = {**found, path: found.get(path, added.value)}
    new_names = {metric.old: metric.new for metric in _metrics_of(found)}
    return {path: _monitored(path, value, new_names) for path, value in found.items()}


def _chosen(found: dict[Path, Any], group: str, before: str, after: str) -> dict[Path, Any]:
    names = [(group, key) for key in ("name", "builder") if found.get((group, key)) == before]
    return found | dict.fromkeys(names, after)


def _renamed(found: dict[Path, Any], before: str, after: str, builder: str | None) -> dict[Path, Any]:
    old, new = tuple(before.split(".")), tuple(after.split("."))
    if builder not in (None, _builder(found, old)):
        return found
    count = len(old)
    return {new + path[count:] if path[:count] == old else path: value for path, value in found.items()}


def _builder(found: Mapping[Path, Any], path: Path) -> Any:
    """The builder that the setting at `path` is of."""
    return found.get((*path[:-1], "builder")) or found.get((*path[:-1], "name"))


def _metrics_of(found: Mapping[Path, Any]) -> list[Metric]:
    """The rows of the metrics of a run with these settings."""
    task, head = found.get(("task", "name"), "classification"), found.get(("task", "head"))
    return [metric for metric in METRICS if metric.task == task and metric.head in (None, head)]


def _metric_name(name: str, names: Mapping[str, str]) -> str:
    split, _, own = name.partition("/")
    return f"{split}/{names[own]}" if own in names else name


def _monitored(path: Path, value: Any, names: Mapping[str, str]) -> Any:
    """The value of a setting, with another name of the metric that it is, if it is one."""
    if path[-1] != "monitor" and path != ("objective",):
        return value
    if isinstance(value, list):
        return [_monitored(path, one, names) for one in value]
    return _metric_name(value, names) if isinstance(value, str) else value


def _split(settings: Mapping[str, Any]) -> dict[Path, Any]:
    return {tuple(key.split(".")): value for key, value in settings.items()}


def _leaves(node: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for name, child in node.items():
        if isinstance(child, Mapping) and child:
            yield from _leaves(child, (*path, name))
        else:
            yield (*path, name), child
