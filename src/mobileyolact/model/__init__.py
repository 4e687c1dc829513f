"""The network: backbones, neck, head, prototypes, presets and weights (needs PyTorch)."""
