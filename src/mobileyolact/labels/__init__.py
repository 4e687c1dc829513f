"""Labels: one dataset type, readers of label formats, and a check before training."""
