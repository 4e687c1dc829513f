"""Store MobileNetV2's ImageNet weights, features 0 to 17, as int8 with a scale a channel.

    python research/make_imagenet_asset.py MOBILENETV2.safetensors OUT.safetensors

The input (torchvision's names, batch norm re-created) came from an int8 file with one scale per
output channel, stored as float16. The scale is found again from the largest weight, which has
code 127; what is stored gives the float16 weights again to their rounding, or the script fails.
"""

import argparse
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 codes and float32 scales (O,) whose product rounds to the float16 ``weight``."""
    flat = weight.double().flatten(1)
    scales = flat.abs().amax(1).clamp(min=1e-12) / 127
    codes = (flat / scales[:, None]).round()
    # Least squares removes what float16's rounding of the largest weight left in the scale.
    scales = (codes * flat).sum(1) / codes.square().sum(1).clamp(min=1)
    return codes.reshape(weight.shape).to(torch.int8), scales.float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    tensors: dict[str, Tensor] = {}
    for name, value in load_file(options.source).items():
        layer = re.match(r"features\.(\d+)\.", name)
        if not layer or int(layer[1]) > 17 or name.endswith("num_batches_tracked"):
            continue
        if value.dim() == 4:
            codes, scales = quantize(value)
            again = codes * scales.view(-1, 1, 1, 1)
            if not torch.allclose(again, value.float(), rtol=2**-10, atol=1e-7):
                raise SystemExit(f"{name} is not int8 with one scale a channel")
            tensors[name], tensors[f"{name}.scale"] = codes, scales
        else:
            tensors[name] = value.float()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.out)


if __name__ == "__main__":
    main()
