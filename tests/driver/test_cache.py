"""The kernel cache: what it finds, and every way in which its folder can let it down."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from driver.kernels import X, scale, scale_program
from tensorc.driver import cache, compile
from tensorc.driver.artifact import Artifact, from_bytes, packed_texts, to_bytes
from tensorc.driver.obtain import loaded
from tensorc.target import Target

if TYPE_CHECKING:
    from tensorc.driver.function import CompiledFunction


def again(factor: float = 2.0, **options: Any) -> CompiledFunction:
    """Compile in a process that has nothing in memory, and check that it works."""
    loaded.clear()
    f: CompiledFunction = compile(scale(factor), **options)
    np.testing.assert_array_equal(f(X), np.float32(factor) * X)
    return f


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tck"))


def was_found(f: CompiledFunction) -> bool:
    return "LLVM" not in f.timing


def example(size: int = 10) -> Artifact:
    return Artifact(
        (b"\1" * (size // 2), b"\2" * (size - size // 2)),
        ("a", "b"),
        {"LLVM": 0.5},
        packed_texts({"llvm": "text"}),
    )


def test_the_second_compilation_finds_the_first(cache_dir: Path) -> None:
    first = again()
    assert not was_found(first)
    assert len(entries(cache_dir)) == 1
    second = again()
    assert was_found(second)
    for stage in ("te", "program", "trace", "loops", "lowered", "memory", "llvm", "asm"):
        assert second.inspect(stage) == first.inspect(stage)
    assert second.manifest == first.manifest


def test_one_process_compiles_a_program_once() -> None:
    assert not was_found(compile(scale()))
    third = compile(scale())
    assert list(third.timing) == ["build"]
    np.testing.assert_array_equal(third(X), 2 * X)


def test_another_program_target_or_thread_count_is_another_entry(cache_dir: Path) -> None:
    again()
    assert not was_found(again(3.0))
    assert not was_found(again(threads=7))
    assert not was_found(again(name="other"))
    loaded.clear()
    assert not was_found(compile(scale(), target=Target(cpu="x86-64", triple="x86_64-linux-gnu")))
    loaded.clear()
    assert not was_found(compile(scale_program(name="B")))  # As it stands, not scheduled.
    assert len(entries(cache_dir)) == 6


def test_the_compiler_itself_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = cache.kernel_key("auto", "text", Target(), 3)
    assert key == cache.kernel_key("auto", "text", Target(), 3)
    monkeypatch.setattr(cache, "compiler_fingerprint", lambda: "another")
    assert key != cache.kernel_key("auto", "text", Target(), 3)


def test_the_precision_of_products_is_part_of_the_key() -> None:
    exact, rounding = (Target("cuda", precision=p).resolved() for p in ("float32", "tf32"))
    assert cache.kernel_key("auto", "text", exact, 0) != cache.kernel_key(
        "auto", "text", rounding, 0
    )


def test_the_key_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from driver.kernels import scale_program\nfrom tensorc.driver import cache\n"
        "from tensorc.ir.printer import show\nfrom tensorc.target import Target\n"
        "print(cache.kernel_key('auto', show(scale_program()), Target().resolved(), 3))"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join(map(str, (root, root / "runtime", root / "tests")))
    keys = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": path, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1


def test_a_damaged_entry_is_compiled_again_and_replaced(cache_dir: Path) -> None:
    again()
    (entry,) = entries(cache_dir)
    data = entry.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    for broken in (b"", data[:10], data[:-1], flipped, b"X" * len(data), data + b"\0"):
        entry.write_bytes(broken)
        assert not was_found(again())
        assert entry.read_bytes() != broken
        assert was_found(again())


def test_a_folder_that_cannot_be_written_or_read_is_done_without(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = cache_dir / "file"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("TENSORC_CACHE_DIR", str(blocked))
    assert not was_found(again())
    monkeypatch.setenv("TENSORC_CACHE_DIR", "/proc/no/such/folder")
    assert not was_found(again())


def test_a_full_disk_leaves_nothing_behind(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        again()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", full)
        again()
    assert list(cache_dir.iterdir()) == []
    again()
    assert len(entries(cache_dir)) == 1


def test_a_killed_writer_leaves_no_entry_and_its_rest_is_cleaned_up(cache_dir: Path) -> None:
    old, new = cache_dir / ".new-old", cache_dir / ".new-new"
    for path in (old, new):
        path.write_bytes(b"half")
    past = time.time() - 2 * 3600
    os.utime(old, (past, past))
    again()
    assert not old.exists()
    assert new.exists()  # Its writer may be at work.
    assert was_found(again())


def test_the_entries_used_longest_ago_go_first(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(cache.KERNELS.magic) + 32 + len(to_bytes(example(1000)))
    monkeypatch.setenv("TENSORC_CACHE_BYTES", str(3 * size))
    for i, key in enumerate("abc"):
        cache.store(cache_dir, key, example(1000))
        os.utime(cache_dir / f"{key}.tck", (i + 1, i + 1))
    assert cache.load(cache_dir, "a") == example(1000)  # Now a is the one used last.
    cache.store(cache_dir, "d", example(1000))
    assert [p.stem for p in entries(cache_dir)] == ["a", "c", "d"]


def test_processes_share_the_folder(cache_dir: Path) -> None:
    code = (
        "import numpy as np\nfrom driver.kernels import X, scale\n"
        "from tensorc.driver import compile\n"
        "for i in range(4):\n"
        "    np.testing.assert_array_equal(compile(scale(float(i)))(X), np.float32(i) * X)\n"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join(map(str, (root, root / "runtime", root / "tests")))
    env = {"PYTHONPATH": path, "TENSORC_CACHE_DIR": str(cache_dir)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(list(cache_dir.iterdir())) == 4
    assert was_found(again(3.0))


def test_the_folder_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cache.KERNELS.folder() == Path(os.environ["TENSORC_CACHE_DIR"])
    monkeypatch.delenv("TENSORC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.KERNELS.folder() == tmp_path / "tensorc" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.KERNELS.folder() == tmp_path / ".cache" / "tensorc" / "kernels"
    monkeypatch.setenv("TENSORC_CACHE", "0")
    assert cache.KERNELS.folder() is None


def test_the_cache_can_be_left_out(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert not was_found(compile(scale(), cache=False))
    monkeypatch.setenv("TENSORC_CACHE", "0")
    assert not was_found(again())
    assert list(cache_dir.iterdir()) == []


def test_only_the_user_can_read_a_new_folder(cache_dir: Path) -> None:
    cache.store(cache_dir / "new", "a", example())
    assert (cache_dir / "new").stat().st_mode & 0o077 == 0


def test_an_artifact_survives_bytes() -> None:
    assert from_bytes(to_bytes(example())) == example()
    assert example().texts == {"llvm": "text"}
    data = to_bytes(example())
    for broken in (b"", data[:-1], b"\0" * 24, b"\2" + b"\0" * 23 + b"[]"):
        with pytest.raises(ValueError, match=r"parts|requires|JSON|Expecting|head"):
            from_bytes(broken)
