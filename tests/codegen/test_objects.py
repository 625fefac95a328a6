"""Object files: what they need of the machine they are linked on, and that they repeat."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.harness import Kernel
from tensorc.codegen.llvm import compile_object, emit_module, load_objects, openmp_runtime
from tensorc.codegen.llvm.jit import exported_functions
from tensorc.errors import CompileError
from tensorc.ir.parser import parse
from tensorc.lower.memory import plan_memory
from tensorc.lower.pipeline import lower
from tensorc.target import Target

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
program twice(A: in float32[n], B: out float32[n]) dims(n >= 0):
  for i in parallel(n):
    B[i] = A[i] * 2.0
"""
HOST = """
#include <stdint.h>
#include <stdio.h>
int32_t twice_run(void *const *, const int64_t *, void *, int32_t, int64_t *);
int main(void) {
  float a[4] = {1, 2, 3, 4}, b[4] = {0};
  void *data[2] = {a, b};
  int64_t n = 4;
  int32_t code = twice_run(data, &n, 0, 2, 0);
  printf("%d %g %g %g %g\\n", code, b[0], b[1], b[2], b[3]);
  return 0;
}
"""


def object_of(target: Target) -> bytes:
    program = lower(parse(TEXT), target)
    return compile_object(emit_module(program, target, plan_memory(program)).whole, target)


def test_an_object_exports_its_three_functions_alone() -> None:
    assert sorted(exported_functions(object_of(Target()))) == [
        "twice",
        "twice_run",
        "twice_workspace",
    ]


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(CompileError, match="ELF"):
        load_objects([b"nothing of the kind"])


def test_an_unknown_triple_is_refused() -> None:
    with pytest.raises(CompileError, match="nowhere"):
        object_of(Target(cpu="generic", triple="nowhere-unknown-none"))


@pytest.mark.parametrize(
    ("cpu", "triple"),
    [
        ("x86-64", "x86_64-unknown-linux-gnu"),
        ("znver5", "x86_64-unknown-linux-gnu"),
        ("generic", "aarch64-unknown-linux-gnu"),
        ("generic", "armv7-unknown-linux-gnueabihf"),
        ("generic", "wasm32-unknown-unknown"),
        ("generic-rv64", "riscv64-unknown-linux-gnu"),
    ],
)
def test_objects_are_made_for_other_machines(cpu: str, triple: str) -> None:
    assert object_of(Target(cpu=cpu, triple=triple))


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
@pytest.mark.parametrize("flags", [[], ["-fopenmp"]], ids=["serial", "openmp"])
def test_a_c_program_links_with_and_without_an_openmp_runtime(
    tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "twice.o").write_bytes(object_of(Target()))
    (tmp_path / "host.c").write_text(HOST)
    command = ["cc", *flags, "host.c", "twice.o", "-o", "host"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([tmp_path / "host"], check=True, capture_output=True, text=True)
    assert done.stdout == "0 2 4 6 8\n"


def test_the_text_does_not_depend_on_the_hash_seed() -> None:
    script = f"""
from tensorc.codegen.llvm import emit_module
from tensorc.ir.parser import parse
from tensorc.lower.memory import plan_memory
from tensorc.lower.pipeline import lower
from tensorc.target import Target
program = lower(parse('''{TEXT.replace("* 2.0", "* exp(A[i])")}'''), Target())
print(emit_module(program, Target(), plan_memory(program)).whole)
"""
    texts = [
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1] != b""


def test_loaded_code_outlives_what_loaded_it() -> None:
    kernels = [Kernel(parse(TEXT)) for _ in range(3)]
    del kernels[1]
    for kernel in kernels:
        np.testing.assert_array_equal(kernel.run(A=np.ones(3, np.float32))["B"], [2, 2, 2])
    assert openmp_runtime() is openmp_runtime()
