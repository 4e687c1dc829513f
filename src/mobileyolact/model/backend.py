"""A checkpoint as a runtime backend, so that it is evaluated exactly like an artefact."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mobileyolact.contract import ModelContract
from mobileyolact.model.network import Outputs
from mobileyolact.model.weights import load_checkpoint
from mobileyolact.runtime.backends.base import RawOutputs


class TorchBackend:
    """Runs what gives ``Outputs`` in float32 on the CPU, or where it lies, in eval mode."""

    def __init__(self, network: nn.Module, contract: ModelContract) -> None:
        self.network = network.eval()
        self.contract = contract

    @classmethod
    def open(cls, path: Path) -> "TorchBackend":
        """The backend of a checkpoint file; errors as ``load_checkpoint``."""
        return cls(*load_checkpoint(path))

    def run(self, tensor: NDArray[np.float32]) -> RawOutputs:
        """Map a normalised image (1, 3, H, W) float32 to the raw outputs."""
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            image = torch.from_numpy(tensor).to(device, memory_format=torch.channels_last)
            outputs: Outputs = self.network(image)
        return RawOutputs(*(o.float().cpu().contiguous().numpy() for o in outputs.raw))

    def describe(self) -> str:
        return f"PyTorch {torch.__version__}"

    def close(self) -> None:
        """Nothing to release: memory goes with the network."""
