"""Detections judged by COCO's own code, pycocotools, and what people want to see beside its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifar.interfaces import Split
from cifar.runtime.lazy import np
from cifar.runtime.quiet import silenced

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

STATISTICS = {"map": 0, "map50": 1, "map75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "ar100": 8}
"""Where `COCOeval.stats` has mean average precision: over IoU 0.5 to 0.95, at 0.5, at 0.75, and of objects of less than
32², of less than 96² and of more pixels; and average recall with at most 100 detections an image."""
MATCHED = 0.5
"""The IoU from which on a detection is one of an object."""


def results(predictions: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Detections in COCO's results form; an image's id is its number, class k is category k + 1.

    Rounded as they are written, so that the figures of the file are those of the run.
    """
    boxes, scores, classes = (predictions[name] for name in ("boxes", "scores", "classes"))
    sized = np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)
    return [
        {
            "image_id": int(image),
            "category_id": int(classes[image, place]) + 1,
            "bbox": [round(float(value), 3) for value in sized[image, place]],
            "score": round(float(scores[image, place]), 6),
        }
        for image, place in np.argwhere(classes >= 0)
    ]


def truth(split: Split, class_names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The objects of a split as COCO's annotations, in the same ids."""
    height, width = split.images.shape[1:3]
    boxes, classes, crowd = (split.targets[name] for name in ("boxes", "classes", "crowd"))
    annotations = []
    # An annotation of the id 0 would count as none.
    for number, (image, place) in enumerate(np.argwhere(classes >= 0), 1):
        left, top, right, bottom = boxes[image, place].tolist()
        annotations.append(
            {
                "id": number,
                "image_id": int(image),
                "category_id": int(classes[image, place]) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": int(crowd[image, place]),
            }
        )
    return {
        "images": [{"id": image, "height": height, "width": width} for image in range(len(split))],
        "categories": [{"id": k, "name": name} for k, name in enumerate(class_names, 1)],
        "annotations": annotations,
    }


@dataclass(frozen=True)
class Scores:
    """What `COCOeval` says of detections; of what is not there, such as large objects, it says -1."""

    evaluation: COCOeval

    @property
    def metrics(self) -> dict[str, float]:
        """By the names of `STATISTICS`, without what is not there."""
        stats = self.evaluation.stats
        return {name: float(stats[place]) for name, place in STATISTICS.items() if stats[place] >= 0}

    @property
    def precision(self) -> np.ndarray:
        """At IoU 0.5, (101, classes): the precision at the recalls 0, 0.01 … 1, -1 for a class without objects."""
        return self.evaluation.eval["precision"][0, :, :, 0, -1]

    def of_classes(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """A row for each class, with its objects; nothing where it has none."""
        precision, recall = self.evaluation.eval["precision"][..., 0, -1], self.evaluation.eval["recall"][..., 0, -1]
        annotations = self.evaluation.cocoGt.dataset["annotations"]
        counts = np.bincount([one["category_id"] - 1 for one in annotations if not one["iscrowd"]],
                             minlength=len(class_names))  # fmt: skip
        columns = {"ap": precision, "ap50": precision[0], "ap75": precision[5], "ar100": recall}
        rows = []
        for k, name in enumerate(class_names):
            scores = {column: round(float(values[..., k].mean()), 6) if counts[k] else ""
                      for column, values in columns.items()}  # fmt: skip
            rows.append({"class": name, "objects": int(counts[k]), **scores})
        return rows


def judge(found: Sequence[Mapping[str, Any]], there: Mapping[str, Any]) -> Scores:
    """The `found` results held against what is `there`."""
    from pycocotools.cocoeval import COCOeval

    detections = [{**one, "id": number, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3]}
                  for number, one in enumerate(found, 1)]  # fmt: skip
    with silenced(1):
        evaluation = COCOeval(_indexed(there), _indexed({**there, "annotations": detections}), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Scores(evaluation)


def _indexed(dataset: Mapping[str, Any]) -> Any:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {**dataset, "annotations": [dict(one) for one in dataset["annotations"]]}
    coco.createIndex()
    return coco


def overlaps(found: np.ndarray, true: np.ndarray, crowd: bool) -> np.ndarray:
    """float64 (found, true): intersection over union, or over what is found where the true ones are a crowd."""
    from pycocotools import mask

    if not len(found) or not len(true):
        return np.zeros((len(found), len(true)))
    sized = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], axis=1).astype(np.float64) for x in (found, true)]
    return mask.iou(*sized, [crowd] * len(true))


@dataclass(frozen=True)
class Matches:
    """What detections of a split are of.

    `matrix` is int (classes + 1, classes + 1), rows true, columns predicted, background last; `quality` (n,) is the
    panoptic quality of each image (Kirillov et al. 2019, arXiv:1801.00868): the IoU of right detections, summed, over
    the mean of how many objects and detections there are; 1 where there are none.
    """

    matrix: np.ndarray
    quality: np.ndarray


def matched(answers: Mapping[str, np.ndarray], split: Split, classes: int) -> Matches:
    """Each detection, surest first, takes the object that it overlaps most, if by half or more.

    Of whatever class; one that only overlaps a crowd does not count.
    """
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    quality = np.ones(len(split))
    for image in range(len(split)):
        labels, crowd = split.targets["classes"][image], split.targets["crowd"][image]
        true = labels[there := (labels >= 0) & ~crowd]
        found, boxes = (answers[name][image, answers["classes"][image] >= 0] for name in ("classes", "boxes"))
        overlap = overlaps(boxes, split.targets["boxes"][image, there], False)
        on_crowd: np.ndarray = overlaps(boxes, split.targets["boxes"][image, (labels >= 0) & crowd], True)
        in_crowd: np.ndarray = np.any(on_crowd >= MATCHED, axis=1)
        right, free, counted = 0.0, np.ones(len(true), bool), 0
        for place, number in enumerate(found):
            open_overlap = np.where(free, overlap[place], 0)
            best = int(open_overlap.argmax()) if len(true) else -1
            if best >= 0 and open_overlap[best] >= MATCHED:
                free[best] = False
                matrix[true[best], number] += 1
                right += open_overlap[best] * (true[best] == number)
            elif in_crowd[place]:
                continue
            else:
                matrix[classes, number] += 1
            counted += 1
        np.add.at(matrix, (true[free], classes), 1)
        if len(true) + counted:
            quality[image] = 2 * right / (len(true) + counted)
    return Matches(matrix, quality)
