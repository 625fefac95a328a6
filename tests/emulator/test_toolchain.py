"""The C++ compiler and the cache of what it built."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tensorc.emulator import EmulatedModule, LaunchOptions, toolchain
from tensorc.emulator.toolchain import LIBRARIES
from tensorc.errors import ArgumentError, CompileError

ROOT = Path(__file__).resolve().parents[2]
PTX = (
    ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry nothing_at_all()\n{\nret;\n}\n"
)


def test_a_missing_compiler_is_named_with_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CompileError) as caught:
        toolchain.find_compiler("", "/nowhere")
    assert str(caught.value) == (
        "the CUDA emulator translates kernels to C++, and there is no C++ compiler: none of g++, "
        "clang++, c++ is on the PATH and CXX is not set; install one (on Debian: apt install g++), "
        "or the one that comes as a wheel: pip install ziglang"
    )
    with pytest.raises(CompileError, match="CXX='nonesuch -x' is not a program on the PATH"):
        toolchain.find_compiler("nonesuch -x", os.environ["PATH"])


def test_the_wheel_of_zig_serves_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    found = toolchain.find_compiler(" ", "/nowhere/else")
    assert found == (sys.executable, "-m", "ziglang", "c++")


def test_what_is_no_compiler_is_refused() -> None:
    with pytest.raises(CompileError, match="false is not a C\\+\\+ compiler"):
        toolchain.compiler_identity(("false",))
    with pytest.raises(CompileError, match="/nonesuch does not run"):
        toolchain.compiler_identity(("/nonesuch",))


def test_a_module_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORC_CACHE_DIR", str(tmp_path))
    EmulatedModule(PTX)
    (entry,) = (tmp_path / "emulator").iterdir()
    monkeypatch.setattr(toolchain, "_compile", lambda *_: pytest.fail("it compiled again"))
    EmulatedModule(PTX)
    monkeypatch.undo()
    monkeypatch.setenv("TENSORC_CACHE_DIR", str(tmp_path))
    whole = entry.read_bytes()
    for damage in (whole[:-1], whole[:50], b"", whole[:60] + b"!" + whole[61:]):
        entry.write_bytes(damage)
        EmulatedModule(PTX)
        assert len(entry.read_bytes()) == len(whole)
    assert [path.name for path in (tmp_path / "emulator").iterdir()] == [entry.name]


def test_the_cache_can_be_off_or_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORC_CACHE", "0")
    assert LIBRARIES.folder() is None
    EmulatedModule(PTX)
    monkeypatch.delenv("TENSORC_CACHE")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TENSORC_CACHE_DIR", str(tmp_path / "file"))
    EmulatedModule(PTX)


def test_the_oldest_entries_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORC_CACHE_BYTES", "2500")
    old = time.time() - 7200
    (tmp_path / ".new-dead").write_bytes(b"")
    os.utime(tmp_path / ".new-dead", (old, old))
    for i, name in enumerate(("a", "b", "c")):
        LIBRARIES.save(tmp_path, name, bytes(1000))
        os.utime(tmp_path / f"{name}.tce", (old + i, old + i))
    assert LIBRARIES.load(tmp_path, "b") == bytes(1000)  # Noted as a use.
    LIBRARIES.save(tmp_path, "d", bytes(1000))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tce", "d.tce"]


PORTABLE = """
import sys
sys.path[:0] = ["tests", ".", "runtime"]
from tensorc.emulator import LaunchOptions, toolchain
toolchain._RUNTIME_FLAGS = ("-O1", "-DTCEMU_UCONTEXT")
from emulator.cases import CASES
for name in ("softmax", "sum_squares"):
    for order in ("forward", "random"):
        result, error = CASES[name].run(LaunchOptions(order=order))
        assert result.ok and error <= CASES[name].tolerance, result.describe()
print("fine")
"""


def test_fibers_work_without_assembly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PORTABLE], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout == "fine\n", done.stderr


def test_options_of_a_launch_are_checked() -> None:
    with pytest.raises(ArgumentError) as caught:
        LaunchOptions(order="sideways")
    assert str(caught.value) == "order must be one of forward, reverse, random, got 'sideways'"
    with pytest.raises(ArgumentError, match="seconds and steps must be 0 or more, got -1 and 0"):
        LaunchOptions(seconds=-1)
