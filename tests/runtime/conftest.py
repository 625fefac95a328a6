"""The C example, compiled once for all tests of the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runtime.c_example import BLEND, example_library, function

if TYPE_CHECKING:
    from pathlib import Path

    from tensorc_runtime.function import Function


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_library(tmp_path_factory.mktemp("example"))


@pytest.fixture
def blend(library: Path) -> Function:
    return function(library, BLEND)
