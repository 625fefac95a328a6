"""The C side: the header compiles alone and beside dlpack.h, and the host runs a function."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from runtime.c_example import HOSTS, INCLUDE, compile_c, need_cc
from tensorc_runtime.signature import _CODE_NAMES
from tensorc_runtime.tensor_file import Record, read_tensors, write_tensors

if TYPE_CHECKING:
    from pathlib import Path

BATCHES = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_the_header_compiles_as_c_and_as_cpp(tmp_path: Path) -> None:
    source = '#include "tensorc.h"\n#include "tensorc.h"\nint main(void) { DLTensor t; (void)t; '
    source += "return tensorc_error_name(TENSORC_OK)[0] != 'o'; }\n"
    assert subprocess.run([compile_c(source, tmp_path / "c")], check=False).returncode == 0
    cpp = shutil.which("c++") or shutil.which("g++")
    if cpp is None:
        pytest.skip("there is no C++ compiler")
    (tmp_path / "c.cpp").write_text(source)
    flags = ["-std=c++17", "-Wall", "-Werror", f"-I{INCLUDE}"]
    subprocess.run([cpp, *flags, "-o", tmp_path / "cpp", tmp_path / "c.cpp"], check=True)


def test_dlpack_h_may_come_first_or_second(tmp_path: Path) -> None:
    dlpack = (
        "#ifndef DLPACK_DLPACK_H_\n#define DLPACK_DLPACK_H_\n#define DLPACK_MAJOR_VERSION 1\n"
        "#include <stdint.h>\ntypedef struct { void *data; } DLTensor;\n#endif\n"
    )
    (tmp_path / "dlpack.h").write_text(dlpack)
    for pair in (("dlpack.h", "tensorc.h"), ("tensorc.h", "dlpack.h")):
        lines = "".join(f'#include "{name}"\n' for name in pair)
        source = lines + "int main(void) { DLTensor t; t.data = 0; return t.data != 0; }\n"
        program = compile_c(source, tmp_path / "both", f"-I{tmp_path}")
        assert subprocess.run([program], check=False).returncode == 0


def test_header_and_python_agree_on_the_codes(tmp_path: Path) -> None:
    source = (
        '#include <stdio.h>\n#include "tensorc.h"\nint main(void) {\n'
        "  for (int i = 0; i <= TENSORC_DIM_TOO_SMALL; i++) puts(tensorc_error_name(i));\n"
        "  return 0;\n}\n"
    )
    done = subprocess.run(
        [compile_c(source, tmp_path / "names")], capture_output=True, text=True, check=True
    )
    assert tuple(done.stdout.splitlines()) == _CODE_NAMES


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = (HOSTS / "train_mlp.c").read_text()
    return compile_c(source, tmp_path_factory.mktemp("host") / "train_mlp", "-ldl")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def records() -> list[Record]:
    return [
        Record("x", BATCHES, stacked=True),
        Record("total", np.zeros(1), printed=True),
        Record("count", np.zeros((), np.int64)),
        Record("calls", np.zeros((), np.int64), printed=True),
    ]


def test_the_host_runs_every_step_and_keeps_the_state(
    host: Path, library: Path, tmp_path: Path
) -> None:
    write_tensors(tmp_path / "in", records(), steps=3)
    done = run(host, library, "count", tmp_path / "in", 1, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    totals = [float(f"{x:g}") for x in np.cumsum(BATCHES.sum(axis=1, dtype=float))]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [float.fromhex(a.removeprefix("total=")) for a, _ in lines] == totals
    assert [b for _, b in lines] == ["calls=1", "calls=2", "calls=3"]
    result = {r.name: r.array for r in read_tensors(tmp_path / "out")}
    assert result["total"][0] == totals[-1]
    assert result["count"] == 3
    np.testing.assert_array_equal(result["x"], BATCHES)


def test_the_host_refuses_what_it_cannot_run(host: Path, library: Path, tmp_path: Path) -> None:
    path = tmp_path / "in"
    write_tensors(path, records(), steps=3)
    data = path.read_bytes()
    assert run(host).returncode == 1
    assert "undefined symbol: nothing" in run(host, library, "nothing", path).stderr
    assert run(host, tmp_path / "no.so", "count", path).returncode == 1
    assert run(host, library, "count", tmp_path / "no").stderr == f"{tmp_path}/no: cannot be read\n"
    for broken, why in ((data[:300], "ends too early"), (b"X" * 256, "is no tensor file")):
        path.write_bytes(broken)
        done = run(host, library, "count", path)
        assert (done.returncode, done.stderr) == (1, f"{path}: {why}\n")


def test_the_host_is_clean_under_sanitizers(library: Path, tmp_path: Path) -> None:
    need_cc()
    source = (HOSTS / "train_mlp.c").read_text()
    try:
        host = compile_c(source, tmp_path / "h", "-g", "-fsanitize=address,undefined", "-ldl")
    except AssertionError:
        pytest.skip("this compiler has no sanitizers")
    write_tensors(tmp_path / "in", records(), steps=3)
    done = subprocess.run(
        [host, library, "count", tmp_path / "in"],
        capture_output=True,
        text=True,
        check=False,
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert done.returncode == 0, done.stderr


SHIM = """
#include <stdint.h>
#include <stdio.h>
#include <stddef.h>
int madvise(void *at, size_t bytes, int advice);
int madvise(void *at, size_t bytes, int advice) {
  fprintf(stderr, "%d %d %d\\n", bytes >= 4 << 20, advice, (int)((uintptr_t)at % (2 << 20)));
  return 0;
}
"""


def test_the_host_asks_for_huge_pages_for_large_memory_alone(
    host: Path, library: Path, tmp_path: Path
) -> None:
    shim = compile_c(SHIM, tmp_path / "shim.so", "-shared", "-fPIC")

    def advice(path: Path) -> list[str]:
        command = [str(host), str(library), "count", str(path)]
        env = {"LD_PRELOAD": str(shim)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        return done.stderr.splitlines()

    write_tensors(tmp_path / "small", records(), steps=3)
    assert advice(tmp_path / "small") == []
    large = np.zeros((1, 2 << 20), np.float32)
    write_tensors(tmp_path / "large", [Record("x", large, stacked=True), *records()[1:]], steps=1)
    assert advice(tmp_path / "large") == ["1 14 0"]  # MADV_HUGEPAGE, from the start of a page.


def test_a_stacked_tensor_needs_a_slice_for_each_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^x: shape \(3, 4\) has not 2 slices$"):
        write_tensors(tmp_path / "in", records(), steps=2)
