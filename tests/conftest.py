"""Shared fixtures. Array shapes in signatures are checked at run time here, and only here."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

with install_import_hook("vidoor", "beartype.beartype"):
    import vidoor  # noqa: F401

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips beside the checkout; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real clips beside this checkout ({SHARED_DATA.name}/ is absent)")
    return SHARED_DATA
