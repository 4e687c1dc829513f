"""Backbones by name.

A backbone is a ``Backbone`` with ``out_channels``, the channels of its features at
strides 4, 8, 16 and 32, and a ``forward`` that maps images (B, 3, H, W) to these four
features. To add one, write a file here and decorate the class with
``@register_backbone(name)``; the parametrised tests pick it up.
"""

from collections.abc import Callable
from typing import ClassVar, TypeVar

from torch import nn


class Backbone(nn.Module):
    """Base of all backbones; see the module's text."""

    out_channels: ClassVar[tuple[int, int, int, int]]


BACKBONES: dict[str, type[Backbone]] = {}

BackboneClass = TypeVar("BackboneClass", bound=type[Backbone])


def register_backbone(name: str) -> Callable[[BackboneClass], BackboneClass]:
    """Class decorator that makes a backbone known under ``name``."""

    def register(cls: BackboneClass) -> BackboneClass:
        BACKBONES[name] = cls
        return cls

    return register


from mobileyolact.model.backbones import mobilenetv2, shufflenetv2  # noqa: E402, F401
