"""Shared fixtures. Array shapes in signatures are checked at run time here, and only here."""

import os
import subprocess
import sys
from pathlib import Path

import command
import pytest
from jaxtyping import install_import_hook

TESTS = Path(__file__).parent
SHARED_DATA = TESTS.parents[1] / "shared" / "data"
PLUGIN = TESTS / "sample_plugin"

# One thread a process: tests run side by side, and threads that wait for each other's cores crawl.
os.environ["OMP_NUM_THREADS"] = "1"

# On the path before the registry loads, as if it had been installed.
sys.path.insert(0, str(PLUGIN))

with install_import_hook("vidoor", "beartype.beartype"):
    import vidoor  # noqa: F401


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips beside the checkout; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real clips beside this checkout (shared/data is absent)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def vidoor_command():
    """Runs the real command in a process of its own, the sample plug-in installed."""

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(PLUGIN), "COLUMNS": "200"}
        return command.run([str(each) for each in arguments], environment, cwd)

    return run
