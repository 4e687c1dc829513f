from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileyolact.benchmark.picture import as_jpeg, load_picture
from mobileyolact.errors import ImageError
from mobileyolact.runtime.image import open_image


@pytest.mark.parametrize("size", [(640, 360), (33, 7), (1, 1)])
def test_the_built_in_picture(size: tuple[int, int]) -> None:
    image = load_picture(None, size)
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, load_picture(None, size))


def test_its_jpeg_is_as_large_as_that_of_a_photograph() -> None:
    image = load_picture(None, (640, 480))
    jpeg = as_jpeg(image)
    assert 0.2 < len(jpeg) / (640 * 480) < 0.35
    difference = open_image(jpeg).astype(float) - image
    assert np.abs(difference).mean() < 6, "colours keep their order"


def test_a_picture_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 20), (10, 20, 30)).save(path)
    assert load_picture(path, None).shape == (20, 40, 3)
    resized = load_picture(path, (8, 12))
    assert resized.shape == (12, 8, 3)
    assert (resized == (10, 20, 30)).all()
    with pytest.raises(ImageError, match="there is no picture"):
        load_picture(tmp_path / "none.png", None)
    with pytest.raises(ImageError, match="more than the limit"):
        load_picture(path, (20000, 20000))
