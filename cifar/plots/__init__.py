"""Figures of runs: functions of arrays that return a `matplotlib.figure.Figure`.

Figures are built without pyplot: no window, no global state, and a figure is freed with its last reference. A figure's
title states its main result.
"""

from cifar.plots.comparison import class_accuracies, overlaid_curves, png, svg
from cifar.plots.corruptions import corruption_table
from cifar.plots.curves import learning_curves, lr_range
from cifar.plots.detection import found_and_true, precision_recall
from cifar.plots.evaluation import confusion_matrix, per_class_bars, reliability_change, reliability_diagram
from cifar.plots.images import augmented_sheet, confident_mistakes, image_sheet, wrong_labels
from cifar.plots.masks import mask_sheet
from cifar.plots.style import COLORS, DPI, WIDTH, finish, short

__all__ = [
    "COLORS",
    "DPI",
    "WIDTH",
    "augmented_sheet",
    "class_accuracies",
    "confident_mistakes",
    "confusion_matrix",
    "corruption_table",
    "finish",
    "found_and_true",
    "image_sheet",
    "learning_curves",
    "lr_range",
    "mask_sheet",
    "overlaid_curves",
    "per_class_bars",
    "png",
    "precision_recall",
    "reliability_change",
    "reliability_diagram",
    "short",
    "svg",
    "wrong_labels",
]
