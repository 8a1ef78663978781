"""Names of the common corruptions of images, and the number of their severities."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
]  # fmt: skip
"""As the files of CIFAR-10-C are called."""
KINDS: tuple[Kind, ...] = get_args(Kind)
GROUPS = {"noise": KINDS[:3], "blur": KINDS[3:7], "weather": KINDS[7:11], "digital": KINDS[11:]}
SEVERITIES = 5
