"""Every test of the driver has a kernel cache of its own, and finds nothing in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tensorc.driver.obtain import loaded

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TENSORC_CACHE_DIR", str(folder))
    monkeypatch.delenv("TENSORC_CACHE", raising=False)
    loaded.clear()
    return folder
