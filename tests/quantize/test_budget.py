"""The worst layers stay float, and no more of them than asked."""

from collections.abc import Sequence

import pytest

torch = pytest.importorskip("torch")

from mobileyolact.errors import OptionError
from mobileyolact.quantize.budget import within_loss
from mobileyolact.quantize.effects import LayerEffect

EFFECTS = [LayerEffect(name, (0.0,), (8 - i) / 36) for i, name in enumerate("abcdefgh")]


def falling(tried: list[int]) -> object:
    def loss(kept: Sequence[str]) -> float:
        assert list(kept) == list("abcdefgh"[: len(kept)])
        tried.append(len(kept))
        return 0.04 / (1 + len(kept))

    return loss


@pytest.mark.parametrize(
    ("max_loss", "kept", "counts"),
    [(0.05, "", [0]), (0.02, "a", [0, 1]), (0.01, "abcd", [0, 1, 2, 4])],
)
def test_as_many_of_the_worst_as_needed(max_loss: float, kept: str, counts: list[int]) -> None:
    tried: list[int] = []
    assert within_loss(EFFECTS, max_loss, falling(tried)) == list(kept)  # type: ignore[arg-type]
    assert tried == counts


def test_a_loss_that_no_half_keeps_is_an_error() -> None:
    with pytest.raises(OptionError, match=r"more than 0\.001 even with half .* --qat"):
        within_loss(EFFECTS, 0.001, falling([]))  # type: ignore[arg-type]
