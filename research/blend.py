"""Move the detector of a checkpoint a part of the way to another checkpoint's.

    python research/blend.py CHECKPOINT OTHER SHARE OUTPUT

Everything but the mask branch becomes (1 - SHARE) times CHECKPOINT's weight plus SHARE times
OTHER's: between a fine-tuned network and its start, accuracy is often better than at both ends
(Wortsman et al., arXiv:2109.01903).
"""

import argparse
from pathlib import Path

from mobileyolact.model.weights import load_checkpoint, save_checkpoint
from mobileyolact.train.parameters import in_mask_branch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("share", type=float)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    network, contract = load_checkpoint(options.checkpoint)
    other = load_checkpoint(options.other)[0].state_dict()
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not in_mask_branch(name):
            value.lerp_(other[name], options.share)
    save_checkpoint(options.output, network, contract)


if __name__ == "__main__":
    main()
