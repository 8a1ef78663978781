"""Evaluation of detections: COCO's metrics, computed by pycocotools, and a confusion matrix."""

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
"""Indices in `COCOeval.stats` of mean average precision over IoU 0.5 to 0.95, at 0.5, at 0.75, and of objects of less
than 32², of less than 96² and of more pixels; and of average recall with at most 100 detections per image."""
MATCHED = 0.5
"""Minimum IoU of a detection and the object that it is matched to."""


def results(predictions: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Convert detections to COCO's results format; an image's id is its position, class k is category k + 1.

    Values are rounded as in the written file, so that evaluating the file gives the recorded metrics.
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
    """Convert the objects of a split to COCO's annotations, with the same ids."""
    height, width = split.images.shape[1:3]
    boxes, classes, crowd = (split.targets[name] for name in ("boxes", "classes", "crowd"))
    annotations = []
    # pycocotools ignores annotations with the id 0.
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
    """Results of `COCOeval`, in which -1 stands for undefined values, such as those of large objects without any."""

    evaluation: COCOeval

    @property
    def metrics(self) -> dict[str, float]:
        """The defined metrics by the names of `STATISTICS`."""
        stats = self.evaluation.stats
        return {name: float(stats[place]) for name, place in STATISTICS.items() if stats[place] >= 0}

    @property
    def precision(self) -> np.ndarray:
        """Precision at IoU 0.5 and the recalls 0, 0.01 … 1: (101, classes), -1 for a class without objects."""
        return self.evaluation.eval["precision"][0, :, :, 0, -1]

    def by_class(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row per class with its number of objects; its metrics are empty if it has none."""
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


def evaluate(detections: Sequence[Mapping[str, Any]], annotations: Mapping[str, Any]) -> Scores:
    """Evaluate `detections` (see `results`) against `annotations` (see `truth`)."""
    from pycocotools.cocoeval import COCOeval

    detections = [{**one, "id": number, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3]}
                  for number, one in enumerate(detections, 1)]  # fmt: skip
    with silenced(1):
        evaluation = COCOeval(_indexed(annotations), _indexed({**annotations, "annotations": detections}), "bbox")
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


def pairwise_iou(predicted: np.ndarray, true: np.ndarray, crowd: bool) -> np.ndarray:
    """Return float64 (predicted, true): intersection over union, or over the predicted box if the true are crowds."""
    from pycocotools import mask

    if not len(predicted) or not len(true):
        return np.zeros((len(predicted), len(true)))
    sized = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], axis=1).astype(np.float64) for x in (predicted, true)]
    return mask.iou(*sized, [crowd] * len(true))


@dataclass(frozen=True)
class Matches:
    """Detections of a split matched to objects.

    `matrix` is int (classes + 1, classes + 1), rows true, columns predicted, background last. `quality` (n,) is the
    panoptic quality of each image (Kirillov et al. 2019, arXiv:1801.00868): the sum of the IoU of correct detections
    over the mean of the numbers of objects and detections; 1 if there are neither.
    """

    matrix: np.ndarray
    quality: np.ndarray


def match(predictions: Mapping[str, np.ndarray], split: Split, classes: int) -> Matches:
    """Match each detection, highest score first, to the unmatched object with the greatest IoU, if at least `MATCHED`.

    Classes are ignored in matching; detections that only overlap a crowd are ignored.
    """
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    quality = np.ones(len(split))
    for image in range(len(split)):
        labels, crowd = split.targets["classes"][image], split.targets["crowd"][image]
        true = labels[is_object := (labels >= 0) & ~crowd]
        is_valid = predictions["classes"][image] >= 0
        predicted, boxes = (predictions[name][image, is_valid] for name in ("classes", "boxes"))
        overlap = pairwise_iou(boxes, split.targets["boxes"][image, is_object], False)
        on_crowd: np.ndarray = pairwise_iou(boxes, split.targets["boxes"][image, (labels >= 0) & crowd], True)
        in_crowd: np.ndarray = np.any(on_crowd >= MATCHED, axis=1)
        right, free, counted = 0.0, np.ones(len(true), bool), 0
        for row, number in enumerate(predicted):
            free_overlap = np.where(free, overlap[row], 0)
            best = int(free_overlap.argmax()) if len(true) else -1
            if best >= 0 and free_overlap[best] >= MATCHED:
                free[best] = False
                matrix[true[best], number] += 1
                right += free_overlap[best] * (true[best] == number)
            elif in_crowd[row]:
                continue
            else:
                matrix[classes, number] += 1
            counted += 1
        np.add.at(matrix, (true[free], classes), 1)
        if len(true) + counted:
            quality[image] = 2 * right / (len(true) + counted)
    return Matches(matrix, quality)
