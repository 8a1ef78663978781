"""`task.box_loss` of `task=detection`: functions of true and predicted boxes (…, 4) that return losses (…)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cifar.config.registry import LOSSES

BoxLoss = Callable[[Any, Any], Any]


@LOSSES["detection"].register
def ciou() -> BoxLoss:
    """Complete IoU: Zheng et al. 2020, arXiv:1911.08287."""
    from cifar.tasks.detection import losses

    return losses.ciou_loss


@LOSSES["detection"].register
def diou() -> BoxLoss:
    """Distance IoU: Zheng et al. 2020, arXiv:1911.08287."""
    from cifar.tasks.detection import losses

    return losses.diou_loss


@LOSSES["detection"].register
def giou() -> BoxLoss:
    """Generalized IoU: Rezatofighi et al. 2019, arXiv:1902.09630."""
    from cifar.tasks.detection import losses

    return losses.giou_loss


@LOSSES["detection"].register
def smooth_l1() -> BoxLoss:
    """Smooth L1 of the edges: Girshick 2015, arXiv:1504.08083."""
    from cifar.tasks.detection import losses

    return losses.smooth_l1_loss
