"""From a picture to instances with masks, in numpy and OpenCV, without PyTorch."""
