"""What all engines have in common: exact sums of integers, and kernels that stay float."""

import numpy as np
import torch
from numpy.typing import NDArray

from mobileyolact.export.graph import Conv
from mobileyolact.export.quantized import QuantizedConv, QuantizedLayers
from mobileyolact.export.torch_layers import convolve


def accumulate(layer: Conv, conv: QuantizedConv, codes: NDArray[np.int8]) -> NDArray[np.float64]:
    """Sums of kernel code times input code: whole numbers (out, h, w), exact below 2**53.

    ``codes`` (in, h, w) is the input; padding counts as code 0.
    """
    x = torch.from_numpy(codes.astype(np.float64))[None]
    kernel = torch.from_numpy(conv.weight.astype(np.float64))
    sums: NDArray[np.float64] = convolve(layer, x, kernel, None)[0].numpy()
    return sums


def float_kernel(layer: Conv, quantized: QuantizedLayers) -> NDArray[np.float32]:
    """The kernel of a convolution that gives floats as the int8 files hold it, but ncnn's."""
    kernel = quantized.stored.get(layer.name)
    return layer.weight if kernel is None else kernel.values
