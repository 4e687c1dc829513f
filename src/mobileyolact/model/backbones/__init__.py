"""Backbones by name.

A backbone is an ``nn.Module`` with ``out_channels``, the channels of its features at
strides 4, 8, 16 and 32, and a ``forward`` that maps images (B, 3, H, W) to these four
features. To add one, write a file here and decorate the class with
``@register_backbone(name)``; the parametrised tests pick it up.
"""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

BACKBONES: dict[str, type[nn.Module]] = {}

BackboneClass = TypeVar("BackboneClass", bound=type[nn.Module])


def register_backbone(name: str) -> Callable[[BackboneClass], BackboneClass]:
    """Class decorator that makes a backbone known under ``name``."""

    def register(cls: BackboneClass) -> BackboneClass:
        BACKBONES[name] = cls
        return cls

    return register


from mobileyolact.model.backbones import mobilenetv2, shufflenetv2  # noqa: E402, F401
