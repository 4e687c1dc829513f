from collections.abc import Callable

import numpy as np
import pytest

from mobileyolact.contract import ModelContract
from mobileyolact.runtime.backends.base import RawOutputs


@pytest.fixture(scope="session")
def silent() -> Callable[[ModelContract], RawOutputs]:
    """Outputs in which nothing is detected, of the contract's shapes, to write into."""

    def make(contract: ModelContract) -> RawOutputs:
        scores, *others = (np.zeros(info.shape, dtype=np.float32) for info in contract.outputs)
        return RawOutputs(scores - np.float32(10), *others)

    return make
