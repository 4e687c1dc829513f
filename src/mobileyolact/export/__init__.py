"""From a checkpoint to files that run without this package, each checked against its source."""
