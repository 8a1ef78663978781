"""A PyTorch script: eager, channels last, the images augmented as tensors, a batch at a time."""

import math

import torch
from shared import BATCH, EVALUATION_BATCH, arguments, read, turn
from torch import nn
from torch.nn import functional

options = arguments()
train, val = (
    (torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))  # NCHW, which lies in memory as NHWC
    for images, labels in read(options.data, options.limit)
)


def block(channels: int, filters: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(filters, 1e-3, 0.01),
        nn.MaxPool2d(2), nn.Dropout(0.25),
    ]  # fmt: skip


def augment(x: torch.Tensor) -> torch.Tensor:
    """Rotation by ±15°, shift by ±10 %, flip: one affine map and one resampling of each image."""
    angle = math.radians(15) * (2 * torch.rand(len(x)) - 1)
    flip = torch.where(torch.rand(len(x)) < 0.5, -1.0, 1.0)
    shift = 0.2 * (2 * torch.rand(len(x), 2) - 1)  # of the half width, which is 1 here
    rows = (flip * angle.cos(), -angle.sin(), shift[:, 0], flip * angle.sin(), angle.cos(), shift[:, 1])
    grid = functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), x.shape, align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16)


model = nn.Sequential(
    *block(3, 32), *block(32, 64), *block(64, 128), nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(inplace=True),
    nn.Dropout(0.5), nn.Linear(128, 10),
).to(memory_format=torch.channels_last)  # fmt: skip
optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

for epoch in range(options.epochs):
    turn()
    total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    model.train()
    for index in torch.randperm(len(train[0])).split(BATCH):
        x, labels = augment(train[0][index].float() / 255), train[1][index]
        optimizer.zero_grad()
        with autocast():
            logits = model(x)
            loss = functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(index)
        correct += (logits.argmax(1) == labels).sum()
    line = f"epoch {epoch + 1}: loss {total / len(train[0]):.4f}, accuracy {correct / len(train[0]):.4f}"

    total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    model.eval()
    with torch.inference_mode(), autocast():
        for images, labels in zip(*(part.split(EVALUATION_BATCH) for part in val), strict=True):
            logits = model(images.float() / 255)
            total += functional.cross_entropy(logits, labels) * len(images)
            correct += (logits.argmax(1) == labels).sum()
    print(f"{line}, val loss {total / len(val[0]):.4f}, val accuracy {correct / len(val[0]):.4f}", flush=True)
turn()
