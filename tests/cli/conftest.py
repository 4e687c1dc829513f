"""A model without weights: it finds one cat in every picture."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def one_cat(monkeypatch: pytest.MonkeyPatch, squares: Callable[..., Any]) -> None:
    """Makes ``predict`` find a cat in the middle of any picture, half as wide and high."""
    backend = squares((4 * 8 + 4, 1, 2.0))  # centre at x = y = 32 of 64, a score of 0.88
    monkeypatch.setattr("mobileyolact.cli.predict.open_backend_for", lambda *_: backend)
