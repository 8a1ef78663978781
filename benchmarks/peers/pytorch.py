"""A PyTorch script: channels last, the images augmented as tensors, a batch at a time; eager unless --compile is given.

python pytorch.py --data IMAGES.npz [--network resnet18] [--bfloat16] [--device cuda] [--batch 128] [--compile]
"""

import math
import time

import torch
from shared import BATCH, EVALUATION_BATCH, read, report_memory, torch_parser, turn
from torch import nn
from torch.nn import functional

parser = torch_parser(BATCH)
parser.add_argument("--network", choices=("cnn3", "resnet18"), default="cnn3")
options = parser.parse_args()
train, val = (  # NCHW, which lies in memory as NHWC
    (torch.from_numpy(images).to(options.device).permute(0, 3, 1, 2), torch.from_numpy(labels).to(options.device))
    for images, labels in read(options.data, options.limit)
)


def block(channels: int, filters: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(filters, 1e-3, 0.01),
        nn.MaxPool2d(2), nn.Dropout(0.25),
    ]  # fmt: skip


def cnn3() -> nn.Module:
    return nn.Sequential(
        *block(3, 32), *block(32, 64), *block(64, 128), nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(inplace=True),
        nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip


def convolution(channels: int, filters: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, filters, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(filters, 1e-3, 0.01),
    ]


class Residual(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        own = [*convolution(channels, filters, 3, stride), nn.ReLU(inplace=True), *convolution(filters, filters)]
        self.own, is_same = nn.Sequential(*own), channels == filters and stride == 1
        self.shortcut = nn.Sequential(*([] if is_same else convolution(channels, filters, 1, stride)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.own(x) + self.shortcut(x), inplace=True)


def resnet18() -> nn.Module:
    """ResNet-18 with a 3×3 convolution instead of the 7×7 convolution and the pooling."""
    shapes = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2),
              (512, 512, 1)]  # fmt: skip
    return nn.Sequential(
        *convolution(3, 64), nn.ReLU(inplace=True), *(Residual(*shape) for shape in shapes), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def augment(x: torch.Tensor) -> torch.Tensor:
    """Rotate by ±15°, shift by ±10 %, flip: one affine map and one resampling per image."""

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(len(x), *shape, device=x.device)

    angle = math.radians(15) * (2 * random() - 1)
    flip = torch.where(random() < 0.5, -1.0, 1.0)
    shift = 0.2 * (2 * random(2) - 1)  # of the half width, which is 1 here
    rows = (flip * angle.cos(), -angle.sin(), shift[:, 0], flip * angle.sin(), angle.cos(), shift[:, 1])
    grid = functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), x.shape, align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def autocast() -> torch.autocast:
    return torch.autocast(options.device, torch.bfloat16, enabled=options.bfloat16)


def zero(dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros((), dtype=dtype, device=options.device)


model = {"cnn3": cnn3, "resnet18": resnet18}[options.network]().to(options.device, memory_format=torch.channels_last)
if options.compile:
    model.compile()
optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

for epoch in range(options.epochs):
    turn()
    began = time.perf_counter()
    total, correct = zero(torch.float32), zero(torch.int64)
    model.train()
    for index in torch.randperm(len(train[0]), device=options.device).split(options.batch):
        x, labels = augment(train[0][index].float() / 255), train[1][index]
        optimizer.zero_grad()
        with autocast():
            logits = model(x)
            loss = functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(index)
        correct += (logits.argmax(1) == labels).sum()
    line = f"epoch {epoch + 1}: loss {total / len(train[0]):.4f}, accuracy {correct / len(train[0]):.4f}"  # it waits
    line += f", {len(train[0]) / (time.perf_counter() - began):,.0f} images/s"

    total, correct = zero(torch.float32), zero(torch.int64)
    model.eval()
    with torch.inference_mode(), autocast():
        for images, labels in zip(*(part.split(EVALUATION_BATCH) for part in val), strict=True):
            logits = model(images.float() / 255)
            total += functional.cross_entropy(logits, labels) * len(images)
            correct += (logits.argmax(1) == labels).sum()
    print(f"{line}, val loss {total / len(val[0]):.4f}, val accuracy {correct / len(val[0]):.4f}", flush=True)
turn()
report_memory(options.device)
