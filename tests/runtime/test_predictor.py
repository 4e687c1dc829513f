import numpy as np
import pytest
from PIL import Image

from mobileyolact.errors import ImageError, OptionError
from mobileyolact.runtime.predictor import Predictor


class Recorded:
    """A backend that sees a person wherever the input is bright."""

    def __init__(self, contract, raw):
        self.contract, self.raw, self.closed = contract, raw, False

    def run(self, tensor):
        self.raw.scores[0, 11, 0] = 3 if tensor[0, 0, 8, 24] > 100 else -3
        return self.raw

    def describe(self):
        return "recorded"

    def close(self):
        self.closed = True


@pytest.fixture
def backend(make_contract, silent):
    contract = make_contract(box_coding="ltrb")
    raw = silent(contract)
    raw.boxes[0, 11] = 1
    raw.prototypes[:] = 1
    raw.coefficients[:] = 1
    return Recorded(contract, raw)


BRIGHT = np.full((64, 128, 3), 255, dtype=np.uint8)


def test_predicts_on_every_kind_of_source(backend, tmp_path):
    path = tmp_path / "bright.png"
    Image.fromarray(BRIGHT).save(path)
    predictor = Predictor(backend)
    assert predictor.contract is backend.contract
    for source in (BRIGHT, path, str(path), path.read_bytes(), Image.fromarray(BRIGHT)):
        found = predictor(source)
        assert found.boxes.tolist() == [[32, 0, 64, 32]]
        assert found.areas.tolist() == [32 * 32]
    assert len(predictor(BRIGHT // 4)) == 0
    with pytest.raises(ImageError):
        predictor("nowhere.png")


def test_overrides_replace_the_models_defaults(backend):
    assert len(Predictor(backend, score_threshold=0.96)(BRIGHT)) == 0
    assert Predictor(backend, mask_threshold=0.99)(BRIGHT).areas.tolist() == [0]
    with pytest.raises(OptionError, match="nearest one is 'mask_threshold'"):
        Predictor(backend, mask_treshold=0.5)
    assert backend.closed


def test_timed_gives_the_same_instances_and_the_time_of_every_step(backend):
    found, timings = Predictor(backend).timed(BRIGHT)
    assert found.to_json() == Predictor(backend)(BRIGHT).to_json()
    assert timings._fields == ("decode_ms", "preprocess_ms", "network_ms", "postprocess_ms")
    assert all(time > 0 for time in timings)


def test_the_predictor_closes_its_backend(backend):
    with Predictor(backend) as predictor:
        predictor(BRIGHT)
        assert not backend.closed
    assert backend.closed


def test_an_opened_backend_brings_its_own_engine(backend):
    for options in ({"backend": "ncnn"}, {"threads": 2}):
        with pytest.raises(OptionError, match="already"):
            Predictor(backend, **options)


def test_unknown_models_and_backends(tmp_path):
    with pytest.raises(OptionError, match="coco"):
        Predictor("cocoa")
    with pytest.raises(OptionError, match="onnx"):
        Predictor(tmp_path / "model.pt")
    with pytest.raises(OptionError, match=r"\.ncnn\.param"):
        Predictor(tmp_path / "model.onnx", backend="ncnn")


@pytest.mark.parametrize(("size", "factor"), [((1032, 640), 8), ((1027, 637), 8), ((200, 100), 2)])
def test_results_of_a_large_jpeg_are_in_its_own_pixels(backend, tmp_path, size, factor):
    width, height = size
    path = tmp_path / "bright.jpg"
    Image.new("RGB", size, "white").save(path)
    predictor = Predictor(backend)
    for found in (predictor(path), predictor.timed(path)[0]):
        assert (found.height, found.width) == (height, width)
        # The input of 64 x 32 shows whole blocks, so that its right end may lie beyond the picture.
        across, down = -(-width // factor) * factor / 64, -(-height // factor) * factor / 32
        expected = [16 * across, 0, 32 * across, 16 * down]
        assert found.boxes[0] == pytest.approx(expected, rel=1e-5)
        assert found.dense().shape == (1, height, width)
        assert found.areas[0] == pytest.approx(16 * across * 16 * down, rel=0.03)
