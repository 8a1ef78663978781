"""The recipe of `experiment=speedrun94` as its author's script airbench94_muon has it (Jordan 2024, arXiv 2404.00498).

Channels last, images augmented as tensors an epoch at a time; eager unless --compile is given, as the author does.

    python pytorch_airbench.py --data IMAGES.npz [--bfloat16] [--device cuda] [--batch 2000] [--compile]
"""

import time

import torch
from shared import read, report_memory, torch_parser, turn
from torch import nn
from torch.nn import functional

EPOCHS = 8
options = torch_parser(batch=2000).parse_args()
BIAS_LR, HEAD_LR, KERNEL_LR, DECAY = 0.053, 0.67, 0.24, 2e-6 * options.batch

train, val = (
    (torch.from_numpy(images).to(options.device).permute(0, 3, 1, 2), torch.from_numpy(labels).to(options.device))
    for images, labels in read(options.data, options.limit)
)
dtype = torch.bfloat16 if options.bfloat16 else torch.float32
mean, std = (
    torch.tensor(values, device=options.device).view(1, 3, 1, 1)
    for values in ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
)
steps_per_epoch = -(-len(train[0]) // options.batch)


def normalized(images: torch.Tensor) -> torch.Tensor:
    return ((images.float() / 255 - mean) / std).to(dtype).contiguous(memory_format=torch.channels_last)


class Norm(nn.BatchNorm2d):
    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def convolution(channels: int, filters: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, filters, 3, padding="same", bias=False)
    nn.init.dirac_(layer.weight.data[:channels])
    return layer


def group(channels: int, filters: int) -> list[nn.Module]:
    return [
        convolution(channels, filters), nn.MaxPool2d(2), Norm(filters), nn.GELU(), convolution(filters, filters),
        Norm(filters), nn.GELU(),
    ]  # fmt: skip


def whitening(images: torch.Tensor) -> nn.Conv2d:
    layer = nn.Conv2d(3, 24, 2)
    patches = images.float().unfold(2, 2, 1).unfold(3, 2, 1).transpose(1, 3).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = vectors.T.reshape(-1, 3, 2, 2) / torch.sqrt(values.view(-1, 1, 1, 1) + 5e-4)
    layer.weight.data = torch.cat((filters, -filters))
    layer.weight.requires_grad = False
    nn.init.zeros_(layer.bias)
    return layer


class Scale(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 256


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    x = matrix.bfloat16() / (matrix.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(3):
        square = x @ x.T
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr: float):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        for parameters in self.param_groups:
            for kernel in parameters["params"]:
                momentum = self.state[kernel].setdefault("momentum", torch.zeros_like(kernel.grad))
                momentum.mul_(0.6).add_(kernel.grad)
                update = kernel.grad.add(momentum, alpha=0.6)
                kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
                kernel.add_(orthogonal(update.reshape(len(kernel), -1)).view(kernel.shape), alpha=-parameters["lr"])


images = normalized(train[0])
first = whitening(images[:5000])
head = nn.Linear(256, 10, bias=False)
head.weight.data /= head.weight.data.std()
model = nn.Sequential(
    first, nn.GELU(), *group(24, 64), *group(64, 256), *group(256, 256), nn.MaxPool2d(3), nn.Flatten(), head, Scale(),
).to(options.device, dtype, memory_format=torch.channels_last)  # fmt: skip
for module in model:
    if isinstance(module, Norm):
        module.float()
if options.compile:
    model.compile()
    orthogonal = torch.compile(orthogonal, dynamic=False)
kernels = [p for p in model.parameters() if p.ndim == 4 and p.requires_grad]
biases = [p for p in model.parameters() if p.ndim == 1 and p.requires_grad]
optimizers = [
    torch.optim.SGD(
        [{"params": biases, "lr": BIAS_LR, "weight_decay": DECAY / BIAS_LR},
         {"params": [head.weight], "lr": HEAD_LR, "weight_decay": DECAY / HEAD_LR}],
        momentum=0.85, nesterov=True, fused=True,
    ),
    Muon(kernels, KERNEL_LR),
]  # fmt: skip
peaks = [(part, part["lr"]) for optimizer in optimizers for part in optimizer.param_groups]

mirrored = torch.rand(len(images), device=options.device) < 0.5
padded = functional.pad(torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images), (2,) * 4, "reflect")


def augmented(epoch: int) -> torch.Tensor:
    """Shift each image by up to 2 pixels, and flip it in every other epoch."""
    moves = torch.randint(0, 5, (len(padded), 2), device=options.device)
    moved = torch.empty_like(images)
    for y in range(5):
        for x in range(5):
            here = (moves[:, 0] == y) & (moves[:, 1] == x)
            moved[here] = padded[here, :, y : y + 32, x : x + 32]
    return moved.flip(-1) if epoch % 2 else moved


for epoch in range(options.epochs):
    turn()
    began = time.perf_counter()
    model.train()
    x, total = augmented(epoch), 0.0
    for number, index in enumerate(torch.randperm(len(x), device=options.device).split(options.batch)):
        progress = (epoch % EPOCHS + number / steps_per_epoch) / EPOCHS
        for part, peak in peaks:
            part["lr"] = peak * (1 - progress)
        loss = functional.cross_entropy(model(x[index]).float(), train[1][index], label_smoothing=0.2, reduction="sum")
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        total += loss.detach()
    line = f"epoch {epoch + 1}: loss {total / len(x):.4f}"  # it waits for the device
    line += f", {len(x) / (time.perf_counter() - began):,.0f} images/s"
    model.eval()
    with torch.inference_mode():
        outputs = torch.cat([model(normalized(part)) for part in val[0].split(options.batch)])
    accuracy = (outputs.argmax(1) == val[1]).float().mean()
    print(f"{line}, val accuracy {accuracy:.4f}", flush=True)
turn()
report_memory(options.device)
