"""From a checkpoint to files that run without PyTorch, each checked against its source."""
