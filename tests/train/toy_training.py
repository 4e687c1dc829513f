"""A toy network and toy data for the training loop; as a script, one run in a folder."""

import dataclasses
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from mobileyolact.contract import ClassInfo, ModelContract, output_infos
from mobileyolact.train.config import TrainConfig
from mobileyolact.train.loop import train
from mobileyolact.train.processes import joined_processes

CONTRACT = ModelContract(
    name="n-320",
    input_size=(16, 16),
    classes=(ClassInfo(0, "thing", 1),),
    outputs=output_infos((16, 16), (8,), classes=1, box_values=32, prototypes=2),
    strides=(8,),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


@dataclasses.dataclass
class ToyBatch:
    images: Tensor
    targets: Tensor
    names: list[str]

    def to(self, device: torch.device) -> "ToyBatch":
        return ToyBatch(self.images.to(device), self.targets.to(device), self.names)


@dataclasses.dataclass
class ToyData:
    """``poison`` is an iteration whose loss is not finite; ``pause`` slows every batch."""

    size: int
    poison: int = -1
    pause: float = 0.0

    def batch(self, iteration: int, rank: int = 0, world: int = 1) -> ToyBatch:
        time.sleep(self.pause)
        generator = torch.Generator().manual_seed(1000 + iteration)
        images = torch.randn(self.size, 3, 16, 16, generator=generator)
        targets = images.mean((1, 2, 3))
        if iteration == self.poison:
            targets[-1] = torch.inf
        names = [f"picture-{iteration}-{i}.jpg" for i in range(self.size)]
        return ToyBatch(images[rank::world], targets[rank::world], names[rank::world])


class ToyNetwork(nn.Module):
    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8) if norm else nn.Identity(),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(8, 1, 1)
        self.prototypes = nn.Conv2d(8, 2, 3, padding=1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(images)
        return self.head(features).mean((1, 2, 3)), self.prototypes(features).mean((1, 2, 3))


def toy_losses(
    outputs: tuple[Tensor, Tensor], batch: ToyBatch, network: nn.Module, config: TrainConfig
) -> dict[str, Tensor]:
    first, second = outputs
    return {
        "class": (first - batch.targets).square().mean(),
        "mask_bce": (second - 2 * batch.targets).square().mean(),
    }


def toy_config(**values: object) -> TrainConfig:
    options: dict[str, object] = {
        "iterations": 12,
        "batch_size": 4,
        "warmup_iterations": 2,
        "ema_decay": 0.8,
        "checkpoint_every": 3,
        "validate_every": 4,
        **values,
    }
    return TrainConfig(**options)  # type: ignore[arg-type]


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, iterations, pause, workers = sys.argv[1:5]
    toy = ToyNetwork(norm="--no-norm" not in sys.argv)
    options = toy_config(iterations=int(iterations), workers=int(workers))
    with joined_processes():
        train(toy, ToyData(4, pause=float(pause)), toy_losses, options, CONTRACT, Path(folder))
