from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and weights that lie beside the repository where it is developed."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the data and weights in {SHARED.name}/ beside the repository")
    return SHARED
