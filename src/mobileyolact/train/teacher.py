"""The model that another one learns from, and what it says of a batch."""

import dataclasses

import torch
from torch import Tensor

from mobileyolact import zoo
from mobileyolact.contract import ClassInfo, ModelContract
from mobileyolact.errors import OptionError
from mobileyolact.labels.dataset import match_name
from mobileyolact.model.network import MobileYolact, Outputs
from mobileyolact.model.presets import Preset
from mobileyolact.model.weights import load_checkpoint

# What has to be equal for the outputs of one network to be targets of another's.
_ALIKE = ("strides", "reg_max", "anchor_ratios", "neck_channels")


@dataclasses.dataclass
class Teacher:
    """A trained network; ``columns`` are its classes that are taught, in the student's order."""

    network: MobileYolact
    contract: ModelContract
    columns: list[int]

    @classmethod
    def load(cls, name: str) -> "Teacher":
        """The teacher of all its classes.

        Args:
            name: ``coco`` or a checkpoint's path.

        Raises:
            ModelError: the checkpoint cannot be read.
            OptionError: it is a network with anchors, which cannot teach.
        """
        network, contract = load_checkpoint(zoo.resolve(name, "safetensors"))
        return cls(network, contract, list(range(len(contract.classes))))

    def of(self, classes: tuple[ClassInfo, ...], preset: Preset) -> "Teacher":
        """The same teacher for a student of ``preset`` that learns ``classes``.

        Raises:
            OptionError: the teacher lacks a class, or the student's outputs are of another kind.
        """
        ours, theirs = (dataclasses.asdict(p) for p in (preset, self.network.preset))
        if preset.anchor_ratios or any(ours[name] != theirs[name] for name in _ALIKE):
            raise OptionError(
                f"preset {preset.name} cannot learn from a teacher of preset "
                f"{self.contract.name}, since its outputs are of another kind; choose a student "
                "n-* or s-*, and a teacher of these"
            )
        found = [match_name(info.name, self.contract.classes) for info in classes]
        missing = [info.name for info, row in zip(classes, found, strict=True) if row is None]
        if missing:
            raise OptionError(
                f"the teacher {self.contract.name} does not know the class '{missing[0]}'; train "
                "without --teacher, or teach with a model that knows all classes of the labels"
            )
        return dataclasses.replace(self, columns=[row for row in found if row is not None])

    def outputs(self, images: Tensor, preset: Preset) -> Outputs:
        """Raw outputs on ``images`` (B, 3, H, W) normalised as ``preset`` says.

        Cells are those of this input, whatever size the teacher was trained for: at a smaller one
        it finds less of what is small.
        """
        network = self.network.to(images.device)
        theirs = network.preset
        if (theirs.mean, theirs.std) != (preset.mean, preset.std):
            pixels = images * _channel(preset.std, images) + _channel(preset.mean, images)
            if theirs.colour_order != preset.colour_order:
                pixels = pixels.flip(1)
            images = (pixels - _channel(theirs.mean, images)) / _channel(theirs.std, images)
        with torch.no_grad():
            outputs: Outputs = network(images.contiguous(memory_format=torch.channels_last))
        if self.columns == list(range(len(self.contract.classes))):
            return outputs
        return outputs._replace(scores=outputs.scores[..., self.columns])


def _channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]
