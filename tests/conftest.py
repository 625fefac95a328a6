"""Settings that every test shares."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

# Compiling takes as long as it takes, and an example found yesterday belongs in a test of its own.
settings.register_profile(
    "local", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
# Kernels that tests compile stay out of the user's cache; workers share one folder.
os.environ.setdefault("TENSORC_CACHE_DIR", tempfile.mkdtemp(prefix="tensorc-cache-"))
# The compiler raises the limit with its first use; hypothesis warns where that is inside of a test.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 5000))
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`, which tests read as `config.option.update_golden`."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        default=False,
        help="rewrite the texts in tests/golden with what the compiler says now",
    )
