"""From float to int8: ranges, rounding, training with it, and what it costs (needs PyTorch)."""
