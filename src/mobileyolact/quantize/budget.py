"""Which layers to keep in float so that average precision loses no more than asked."""

from collections.abc import Callable, Sequence

from mobileyolact.errors import OptionError
from mobileyolact.quantize.effects import LayerEffect

# The loss of average precision with these layers left in float.
Loss = Callable[[Sequence[str]], float]


def within_loss(effects: Sequence[LayerEffect], max_loss: float, loss: Loss) -> list[str]:
    """The fewest of the worst layers to keep in float, of 0, 1, 2, 4, ..., that are enough.

    Args:
        effects: the worst layer first.
        max_loss: of average precision, 0..1.
        loss: measures it; called once for each number of layers that is tried.

    Raises:
        OptionError: even half of the layers in float lose more.
    """
    count = 0
    while count <= len(effects) // 2:
        kept = [effect.layer for effect in effects[:count]]
        if loss(kept) <= max_loss:
            return kept
        count = max(1, 2 * count)
    raise OptionError(
        f"average precision loses more than {max_loss:g} even with half of the layers in float; "
        "allow more with --max-loss, or train with the rounding: --qat --data LABELS"
    )
