import dataclasses
import json

import pytest

from mobileyolact.errors import OptionError
from mobileyolact.train.config import TrainConfig, read_option, scaled_ema_decay


@pytest.mark.parametrize(
    ("images", "iterations", "batch_size"),
    [
        (1, 500, 8),
        (30, 500, 8),
        (31, 900, 8),
        (600, 1500, 8),
        (4000, 4000, 16),
        (40_000, 40_000, 16),
    ],
)
def test_defaults_follow_from_the_number_of_images(
    images: int, iterations: int, batch_size: int
) -> None:
    config = TrainConfig.for_images(images)
    assert (config.iterations, config.batch_size) == (iterations, batch_size)
    assert config.rate_started == pytest.approx(0.1 * config.rate_new)
    assert config.frozen_batch_norm == (images <= 10_000)
    assert config.zoom == ((0.35, 1.7) if images <= 600 else (0.6, 1.7))
    assert config.warmup_iterations < config.iterations
    assert config.checkpoint_every <= config.validate_every <= config.iterations


def test_overrides_scale_what_depends_on_the_length() -> None:
    long, short = TrainConfig.for_images(20), TrainConfig.for_images(20, iterations=100)
    assert short.iterations == 100
    assert short.warmup_iterations == 10
    assert short.ema_decay < long.ema_decay == scaled_ema_decay(500)
    assert TrainConfig.for_images(20, iterations=100, ema_decay=0.5).ema_decay == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 0),
        ("batch_size", 0),
        ("seed", -1),
        ("rate_new", float("nan")),
        ("weight_decay", -0.1),
        ("freeze", "neck"),
        ("zoom", (1.5, 0.5)),
        ("aspect", 0.5),
        ("flip", 1.5),
        ("ema_decay", 1.0),
        ("precision", "float16"),
        ("gradient_clip", 0.0),
        ("multi_scale", 0.6),
        ("teacher_mask_weight", -1.0),
    ],
)
def test_a_senseless_value_is_named(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=name):
        TrainConfig.for_images(20, **{name: value})


def test_json_round_trip() -> None:
    config = TrainConfig.for_images(50, zoom=(0.5, 2.0), freeze="detector", seed=7)
    assert TrainConfig.from_json(config.to_json()) == config


def test_every_field_survives_json_with_its_type() -> None:
    config = TrainConfig.for_images(50)
    read = TrainConfig.from_json(config.to_json())
    for field in dataclasses.fields(config):
        assert type(getattr(read, field.name)) is type(getattr(config, field.name))


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="'iteration'; the nearest one is 'iterations'"):
        TrainConfig.for_images(20, iteration=5)
    with pytest.raises(OptionError, match="the nearest one is 'warmup_iterations'"):
        TrainConfig.from_json(json.dumps({"iterations": 5, "warmup": 3}))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"iterations": "many"}'])
def test_damaged_json_is_one_sentence(text: str) -> None:
    with pytest.raises(OptionError, match="the options in run"):
        TrainConfig.from_json(text, "the options in run")


def test_options_are_read_from_text() -> None:
    read = dict(
        read_option(text)
        for text in ("zoom=0.5,2", "copy-paste=0.3", "workers=4", "frozen_batch_norm=true")
    )
    assert read == {
        "zoom": (0.5, 2.0),
        "copy_paste": 0.3,
        "workers": 4,
        "frozen_batch_norm": True,
    }
    assert read_option("precision=float32") == ("precision", "float32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zoom", "write NAME=VALUE"),
        ("zoom=1", "two numbers"),
        ("workers=few", "a whole number"),
        ("copy_past=1", "copy_paste"),
        ("frozen_batch_norm=1", "true or false"),
    ],
)
def test_wrong_option_texts_say_what_to_write(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_option(text)
