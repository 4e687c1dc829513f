"""Turn NanoDet-Plus's published weights into the file that the `coco` model was trained from.

    python research/make_start.py WEIGHTS STATISTICS LABELS OUT

WEIGHTS has the convolutions of nanodet-plus-m_416 with batch norm folded, STATISTICS the mean
and variance of each convolution's output, both as safetensors (see
`mobileyolact.model.imports`), LABELS is any COCO file that lists the 80 categories. OUT holds
the detector alone: `mobileyolact train --init OUT` starts the mask branch from random weights.
With `--whole`, OUT is a complete checkpoint with an untrained mask branch, whose boxes can be
evaluated.
"""

import argparse
from pathlib import Path

from safetensors.torch import save_file

from mobileyolact.contract import CONTRACT_KEY
from mobileyolact.labels.formats import read_labels
from mobileyolact.model.imports import load_nanodet
from mobileyolact.model.network import build_contract, build_network
from mobileyolact.model.presets import get_preset
from mobileyolact.model.weights import read_tensors

MASK_BRANCH = ("prototypes.", ".mask_tower.", ".coefficients.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("weights", "statistics", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()

    preset = get_preset("n-416")
    classes = read_labels(options.labels).classes
    network = build_network(preset, len(classes))
    load_nanodet(network, read_tensors(options.weights)[0], read_tensors(options.statistics)[0])
    tensors = {
        name: value.contiguous()
        for name, value in network.state_dict().items()
        if options.whole or not any(part in name for part in MASK_BRANCH)
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.out, {CONTRACT_KEY: build_contract(preset, classes).to_json()})


if __name__ == "__main__":
    main()
