"""How many threads there are, and which OpenMP runtime runs them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tensorc_runtime import TensorcError, available_threads, openmp, threads


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORC_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_the_affinity_mask_bounds_the_threads() -> None:
    assert 1 <= available_threads() <= len(os.sched_getaffinity(0))
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import tensorc_runtime; print(tensorc_runtime.available_threads())"
    )
    root = str(Path(__file__).parents[2] / "runtime")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": root},
    )
    assert done.stdout == "1\n"


def test_the_environment_decides_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert available_threads() == 5
    monkeypatch.setenv("TENSORC_NUM_THREADS", "3")
    assert available_threads() == 3
    monkeypatch.setenv("TENSORC_NUM_THREADS", "many")
    with pytest.raises(TensorcError, match=r"^TENSORC_NUM_THREADS='many': must be an integer"):
        available_threads()
    monkeypatch.delenv("TENSORC_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    assert available_threads() >= 1


def quotas(tmp_path: Path, own: str, files: dict[str, str]) -> list[float]:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return threads._quotas(tmp_path / "own", tmp_path / "cgroup")


def test_the_quota_of_every_group_above_counts(tmp_path: Path) -> None:
    files = {"cpu.max": "max 100000", "a/cpu.max": "350000 100000", "a/b/cpu.max": "max 100000"}
    assert quotas(tmp_path, "0::/a/b\n", files) == [3.5]
    assert threads._limit(8, [3.5]) == 3
    assert threads._limit(8, [0.5]) == 1
    assert threads._limit(2, [3.5]) == 2


def test_quotas_of_version_1_count(tmp_path: Path) -> None:
    files = {
        "cpu/g/cpu.cfs_quota_us": "200000\n",
        "cpu/g/cpu.cfs_period_us": "100000\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
    }
    assert quotas(tmp_path, "4:cpu,cpuacct:/g\n3:memory:/h\n", files) == [2.0]


def test_files_of_another_form_are_no_limit(tmp_path: Path) -> None:
    files = {"cpu.max": "", "a/cpu.max": "1000 0", "b/cpu.max": "many 100000"}
    assert quotas(tmp_path, "0::/a\n0::/b\nnonsense\n", files) == []


def test_no_group_is_no_limit(tmp_path: Path) -> None:
    assert threads._quotas(tmp_path / "none", tmp_path / "none") == []


def test_a_process_without_openmp_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openmp, "_has_openmp", lambda _: False)
    openmp.load_openmp.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "tensorc"):
            assert openmp.load_openmp() is None
            assert openmp.load_openmp() is None
    finally:
        openmp.load_openmp.cache_clear()
    assert len(caplog.records) == 1
    assert caplog.text.count("no OpenMP runtime found") == 1


def test_the_first_runtime_that_loads_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str | None] = []

    def has(library: str | None) -> bool:
        tried.append(library)
        return library == "libomp.so.5"

    monkeypatch.setattr(openmp, "_has_openmp", has)
    monkeypatch.setattr(openmp, "_mapped", lambda: ["/somewhere/libgomp-1.so"])
    openmp.load_openmp.cache_clear()
    try:
        assert openmp.load_openmp() == "libomp.so.5"
    finally:
        openmp.load_openmp.cache_clear()
    assert tried == [None, "/somewhere/libgomp-1.so", "libgomp.so.1", "libomp.so.5"]


def test_what_is_found_has_the_symbols() -> None:
    if openmp.load_openmp() is None:
        pytest.skip("there is no OpenMP runtime")
    assert openmp._has_openmp(None)
    assert not openmp._has_openmp("libdoesnotexist.so")
