"""Loading exported functions, and each way in which the files can be wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from runtime.c_example import BLEND, COUNT, HERE, SOURCE, compile_c, write_exported
from tensorc_runtime import Function, LoadError, load
from tensorc_runtime.machine import LINUX_FLAGS, cpu_flags, missing_features, why_not_here
from tensorc_runtime.manifest import TargetInfo
from tensorc_runtime.tensor_file import load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Callable

X = np.array([1, 2, 3], np.float32)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(LoadError) as caught:
        call()
    return str(caught.value)


def test_the_only_function_comes_back_itself(library: Path, tmp_path: Path) -> None:
    write_exported(tmp_path, library, BLEND)
    (tmp_path / "other.json").write_text("{}")
    f = load(tmp_path)
    assert isinstance(f, Function)
    np.testing.assert_array_equal(f(2.0, X, 1)[0], 2 * X + 2)


def test_several_functions_come_back_by_name(library: Path, tmp_path: Path) -> None:
    write_exported(tmp_path, library, BLEND)
    write_exported(tmp_path, library, COUNT)
    both = load(tmp_path)
    assert not isinstance(both, Function)
    np.testing.assert_array_equal(both.blend(2.0, X, 1)[0], 2 * X + 2)
    assert load(tmp_path, "count").name == "count"


def test_a_missing_function_says_which_there_are(library: Path, tmp_path: Path) -> None:
    assert refusal(lambda: load(tmp_path / "no")) == f"{tmp_path / 'no'}: no such directory"
    assert refusal(lambda: load(tmp_path)) == (
        f"{tmp_path}: no exported function here: there is no manifest NAME.json"
    )
    write_exported(tmp_path, library, BLEND)
    assert refusal(lambda: load(tmp_path, "bland")) == (
        f"{tmp_path}: no exported function 'bland'; there is blend"
    )


def test_a_damaged_library_is_refused_before_it_is_opened(library: Path, tmp_path: Path) -> None:
    write_exported(tmp_path, library, BLEND)
    file = tmp_path / "libblend.so"
    data = file.read_bytes()
    file.write_bytes(data[:1000])
    assert refusal(lambda: load(tmp_path)) == (
        f"{file}: is not the file that blend.json describes: it has 1000 bytes, not {len(data)}"
    )
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "it differs" in refusal(lambda: load(tmp_path))
    file.unlink()
    assert refusal(lambda: load(tmp_path)) == (
        f"{file}: no such file; with the object there: cc -shared -o libblend.so blend.o"
    )


def test_a_damaged_manifest_is_refused(library: Path, tmp_path: Path) -> None:
    path = write_exported(tmp_path, library, BLEND)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    assert refusal(lambda: load(tmp_path)).startswith(f"{path}: not JSON")
    path.write_text("")
    assert refusal(lambda: load(tmp_path)).startswith(f"{path}: not JSON")


def test_a_library_without_the_symbols_is_refused(library: Path, tmp_path: Path) -> None:
    write_exported(tmp_path, library, replace(BLEND, name="blind"))
    assert "undefined symbol: blind_run" in refusal(lambda: load(tmp_path))
    path = write_exported(tmp_path, library, BLEND)
    manifest = json.loads(path.read_text()) | {"shared_library": None}
    path.write_text(json.dumps(manifest))
    (tmp_path / "libblend.so").write_bytes(b"no library")
    assert str(tmp_path / "libblend.so") in refusal(lambda: load(tmp_path, "blend"))


def test_a_library_linked_by_hand_is_taken_as_it_is(library: Path, tmp_path: Path) -> None:
    path = write_exported(tmp_path, library, BLEND)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shared_library": None}))
    np.testing.assert_array_equal(load(tmp_path, "blend")(2.0, X, 1)[0], 2 * X + 2)


def test_threads_are_those_it_was_compiled_for_as_far_as_they_are_there(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_exported(tmp_path, library, BLEND)
    for there, used in (("1", 1), ("2", 2), ("8", 3)):
        monkeypatch.setenv("TENSORC_NUM_THREADS", there)
        assert load(tmp_path, "blend")(2.0, X, 1)[1] == used
    assert load(tmp_path, "blend", threads=5)(2.0, X, 1)[1] == 5
    assert refusal(lambda: load(tmp_path, threads=0)) == "load: threads must be 1 or more, got 0"


def test_code_for_another_machine_is_refused(library: Path, tmp_path: Path) -> None:
    target = TargetInfo("sparc64-unknown-linux-gnu", "ultrasparc")
    path = write_exported(tmp_path, library, replace(BLEND, target=target))
    assert refusal(lambda: load(tmp_path)).startswith(
        f"{path}: blend cannot run here: made for sparc64-unknown-linux-gnu, this is a "
    )


def test_features_that_the_processor_lacks_are_named() -> None:
    flags = frozenset({"avx", "avx2", "sse4_2"})
    assert missing_features(("avx2", "sse4.2", "prefetchw"), flags) == []
    assert missing_features(("avx2", "avx512f", "avx512vnni"), flags) == ["avx512f", "avx512vnni"]
    assert missing_features(("avx512f",), frozenset()) == []
    absent = next((f for f, flag in LINUX_FLAGS.items() if flag not in cpu_flags()), None)
    if absent is None or not cpu_flags() & set(LINUX_FLAGS.values()):
        pytest.skip("this processor has every feature, or does not tell")
    reason = why_not_here(replace(HERE, cpu="znver9", requires=(absent,)))
    assert reason is not None
    assert reason.startswith(f"made for znver9, and this processor lacks {absent}; compile it for")


def test_saved_state_is_attached_anew_at_each_load(library: Path, tmp_path: Path) -> None:
    path = write_exported(tmp_path, library, COUNT)
    save_state(tmp_path / "count.state", {"total": np.array([5.0]), "count": np.array(2)})
    state = tmp_path / "count.state"
    info = {"name": "count.state", "bytes": state.stat().st_size, "sha256": _sha(state)}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": info}))
    for _ in range(2):
        f = load(tmp_path, "count")
        assert f(X) == 3
        assert f.state["total"][0] == 11
    state.write_bytes(state.read_bytes()[:-64])
    assert "is not the file that count.json describes" in refusal(lambda: load(tmp_path))


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_library_that_was_replaced_is_loaded_anew(library: Path, tmp_path: Path) -> None:
    write_exported(tmp_path, library, BLEND)
    first = load(tmp_path, "blend")
    changed = compile_c(
        SOURCE.replace("scaled[i] + x[k]", "scaled[i] - x[k]"),
        tmp_path / "changed.so",
        *("-shared", "-fPIC", "-O1"),
    )
    shutil.copy(changed, tmp_path / "copy.so")
    (tmp_path / "libblend.so").unlink()
    write_exported(tmp_path, changed, BLEND)
    second = load(tmp_path, "blend")
    np.testing.assert_array_equal(first(2.0, X, 1)[0], 2 * X + 2)
    np.testing.assert_array_equal(second(2.0, X, 1)[0], 2 * X - 2)


def test_a_process_that_loads_imports_numpy_and_nothing_of_the_compiler(
    library: Path, tmp_path: Path
) -> None:
    write_exported(tmp_path, library, BLEND)
    code = (
        "import sys, numpy, tensorc_runtime\n"
        f"f = tensorc_runtime.load({str(tmp_path)!r})\n"
        "print(f(2.0, numpy.ones(4, 'f'), 1)[0].tolist())\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'tensorc', 'llvmlite', 'islpy', 'ml_dtypes', 'sympy'}))\n"
    )
    root = str(Path(__file__).parents[2] / "runtime")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": root, "PATH": ""},
    )
    assert done.stdout.splitlines() == ["[3.0, 3.0, 3.0, 3.0]", "[]"], done.stderr


def test_state_files_give_back_every_dtype(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b.c": np.array(3, np.int64),
        "empty": np.zeros((0, 4), np.float16),
        "flags": np.array([True, False]),
    }
    save_state(tmp_path / "s", arrays)
    back = load_state(tmp_path / "s")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype
        assert back[name].flags.writeable


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert refusal(lambda: load_state(path)) == f"{path}: No such file or directory"
    save_state(path, {"a": np.zeros(100)})
    data = path.read_bytes()
    for broken in (b"", b"x" * 200, data[:100], data[:-64], b"\0" + data[1:]):
        path.write_bytes(broken)
        assert refusal(lambda: load_state(path)).startswith(f"{path}: not a whole tensor file")
