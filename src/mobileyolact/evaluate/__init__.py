"""How good is a model? COCO average precision of anything that predicts."""
