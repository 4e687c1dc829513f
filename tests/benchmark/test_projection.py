"""Estimates on made-up chips whose speed is known."""

import json

import pytest

from mobileyolact.benchmark.phones import Device, Table
from mobileyolact.benchmark.projection import Errors, Host, Projection, project

FAST, SLOW, SHORT = Table("fast", 4), Table("slow", 4), Table("short", 4)
DEVICES = (
    Device("Fast", 4, (FAST,)),
    Device("Between", 4, (FAST, SLOW)),
    Device("Short", 4, (SHORT,)),
)
FURTHER = {Table(f"further{i}", 4): 1.0 + i for i in range(4)}
SPEEDS = {FAST: 0.5, SLOW: 2.0, SHORT: 1.0, **FURTHER}
FAMILIES = {f"{family}{i}": family for family in "abcdef" for i in range(2)}
REFERENCES = {
    name: Host(ms=4.0 + 4 * (5 * i % 12), values=5.0 + 30 * (i % 2))
    for i, name in enumerate(FAMILIES)
}
# A weight of the grid.
WEIGHT = 0.2
MODELS = {"ours": Host(20.0, 30.0)}


def tables(special: dict[str, float] | None = None) -> dict[Table, dict[str, float]]:
    special = special or {}
    found = {
        table: {
            name: speed * (host.ms + WEIGHT * host.values) * special.get(name, 1.0)
            for name, host in REFERENCES.items()
        }
        for table, speed in SPEEDS.items()
    }
    found[SHORT] = {name: ms for name, ms in found[SHORT].items() if FAMILIES[name] in "ab"}
    return found


def projected(special: dict[str, float] | None = None) -> Projection:
    return project(MODELS, REFERENCES, FAMILIES, tables(special), DEVICES)


def test_speeds_and_the_weight_of_values_are_found() -> None:
    result = projected()
    fast, between, short = result.estimates["ours"]
    assert fast.ms == pytest.approx(0.5 * 26, rel=0.02)
    assert between.ms == pytest.approx(26, rel=0.02)
    assert short.ms == pytest.approx(26, rel=0.02)
    assert result.errors.count == 6 * 12 + 4
    assert result.errors.p90 < 0.02
    assert (between.interpolated, fast.interpolated) == (True, False)


def test_an_interpolated_band_covers_both_neighbours() -> None:
    fast, between, _ = projected().estimates["ours"]
    assert between.low_ms == fast.low_ms
    assert between.high_ms == pytest.approx(4 * fast.high_ms, rel=0.01)


def test_what_is_special_about_a_family_is_an_error_only_where_it_is_left_out() -> None:
    result = projected({"a0": 1.5, "a1": 1.5})
    assert result.errors.p90 > 0.2
    assert result.errors.median < 0.1
    assert result.errors.high == pytest.approx(1.5, rel=0.1)
    # The short table has two families: the full ones tell that a's slowness is not the chip's.
    alone = 26 * 1.5**0.5
    assert result.estimates["ours"][2].ms < 26 + 0.5 * (alone - 26)
    assert result.short.count == 4
    assert result.full.count == 72


def test_bands_are_the_errors() -> None:
    result = projected({"a0": 1.5, "c0": 0.8, "d1": 1.2})
    fast, _, short = result.estimates["ours"]
    assert fast.low_ms == pytest.approx(fast.ms * result.full.low, rel=0.001)
    assert fast.high_ms == pytest.approx(fast.ms * result.full.high, rel=0.001)
    assert short.high_ms == pytest.approx(short.ms * result.short.high, rel=0.001)
    assert fast.low_ms < fast.ms < fast.high_ms


def test_errors() -> None:
    errors = Errors.of([0.0, 0.0, 0.0, 0.0])
    assert errors == Errors(4, 0.0, 0.0, 1.0, 1.0)


def test_json() -> None:
    content = json.loads(json.dumps(projected().to_json()))
    assert set(content) == {"left_out", "host", "models"}
    assert set(content["left_out"]) == {"all", "full tables", "short tables"}
    assert content["host"]["ours"] == {"ms": 20.0, "values": 30.0}
    (model,) = content["models"]
    first = model["devices"][0]
    assert first["device"] == "Fast"
    assert first["fps"] == pytest.approx(1000 / first["ms"], abs=0.01)
    assert first["low_fps"] == pytest.approx(1000 / first["high_ms"], abs=0.01)
    assert first["low_fps"] <= first["fps"] <= first["high_fps"]
