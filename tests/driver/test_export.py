"""Exported functions: the files, another process, C, and what stands in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from driver.kernels import Step, X, scale, scale_program
from runtime.c_example import HOSTS, compile_c, need_cc
from tensorc.driver import compile, linker
from tensorc.driver.features import required_features
from tensorc.errors import CompileError
from tensorc.schedule.schedule import Schedule
from tensorc.target import Target
from tensorc.te.build import build
from tensorc.te.tensor import compute, dim, placeholder
from tensorc_runtime import Function, load
from tensorc_runtime.machine import cpu_flags, missing_features
from tensorc_runtime.tensor_file import Record, read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.ir.expr import Expr
    from tensorc.te.tensor import Tensor

FOREIGN = Target(cpu="generic", triple="aarch64-unknown-linux-gnu", threads=1)


@pytest.fixture
def need_linker() -> None:
    if not linker._commands(Path("a.o"), Path("a.so"), Target().resolved().triple):
        pytest.skip("there is no linker")


def first_plus_tail() -> Tensor:
    """A check on values, a workspace, and a symbolic size."""
    n = dim("n", lower=1)
    a, k = placeholder((n,), name="A"), placeholder((1,), "int64", name="k")
    square = compute((n,), lambda i: a[i] * a[i], name="square")
    return compute((n,), lambda i: square[i] + a[k[0]], name="B")


@pytest.mark.usefixtures("need_linker")
def test_an_exported_function_is_loaded_without_the_compiler(tmp_path: Path) -> None:
    f = compile(scale(), name="scale")
    files = f.export(tmp_path / "out")
    assert sorted(p.name for p in files) == [
        *("libscale.so", "scale.h", "scale.json", "scale.o", "tensorc.h")
    ]
    assert sorted((tmp_path / "out").iterdir()) == sorted(files)
    code = (
        "import sys, numpy, tensorc_runtime\n"
        f"f = tensorc_runtime.load({str(tmp_path / 'out')!r})\n"
        "print(f(numpy.array([1, 2, 3], 'f')).tolist())\n"
        "print('tensorc' in sys.modules or 'llvmlite' in sys.modules)\n"
    )
    root = Path(__file__).parents[2] / "runtime"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(root)},
    )
    assert done.stdout.splitlines() == ["[2.0, 4.0, 6.0]", "False"], done.stderr


@pytest.mark.usefixtures("need_linker")
def test_the_directory_names_a_function_that_nobody_named(tmp_path: Path) -> None:
    f = compile(scale())
    f.export(tmp_path / "twice")
    np.testing.assert_array_equal(load(tmp_path / "twice", "twice")(X), 2 * X)
    f.export(tmp_path / "both", name="again")
    f.export(tmp_path / "both", name="more")
    both = load(tmp_path / "both")
    assert not isinstance(both, Function)
    np.testing.assert_array_equal(both.again(X), both.more(X))
    assert compile(scale_program()).export(tmp_path / "kept")[0].parent.name == "kept"
    assert (tmp_path / "kept" / "scale.json").exists()


@pytest.mark.usefixtures("need_linker")
def test_a_step_goes_on_where_it_was_exported(tmp_path: Path) -> None:
    f = compile(Step())
    f(X)
    f.export(tmp_path)
    g = load(tmp_path, "step")
    assert [g(X), g(X)] == [f(X), f(X)] == [2.0, 3.0]
    np.testing.assert_array_equal(g.state["layer.W"], f.state["layer.W"])


@pytest.mark.usefixtures("need_linker")
def test_a_c_host_runs_the_step_bit_for_bit(tmp_path: Path) -> None:
    host = compile_c((HOSTS / "train_mlp.c").read_text(), tmp_path / "host", "-ldl")
    step = Step()
    f = compile(step)
    f.export(tmp_path)
    batches = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    records = [
        Record("x", batches, stacked=True),
        Record("layer.W", step.state["layer.W"]),
        Record("loss", np.zeros((), np.float32), printed=True),
    ]
    write_tensors(tmp_path / "in", records, steps=5)
    command: list[Path | str] = [host, tmp_path / "libstep.so", "step", tmp_path / "in", "2"]
    done = subprocess.run([*command, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    got = [float.fromhex(line.removeprefix("loss=")) for line in done.stdout.splitlines()]
    assert got == [float(f(x)) for x in batches]
    after = {r.name: r.array for r in read_tensors(tmp_path / "out")}
    np.testing.assert_array_equal(after["layer.W"], step.state["layer.W"])


CALLER = r"""
#include <stdio.h>
#include <stdlib.h>
#include "tail.h"
int main(void) {
  float a[5] = {1, 2, 3, 4, 5}, b[5];
  int64_t k = 4, five = 5, four = 4, one = 1, info[4], dims[tail_dim_count] = {5};
  DLDevice cpu = {kDLCPU, 0};
  DLTensor ta = {a, cpu, 1, {kDLFloat, 32, 1}, &five, NULL, 0};
  DLTensor tk = {&k, cpu, 1, {kDLInt, 64, 1}, &one, NULL, 0};
  DLTensor tb = {b, cpu, 1, {kDLFloat, 32, 1}, &five, NULL, 0};
  DLTensor *args[tail_arg_count];
  args[tail_arg_A] = &ta, args[tail_arg_k] = &tk, args[tail_arg_B] = &tb;
  int64_t bytes = tail_workspace(dims, 1);
  void *workspace = aligned_alloc(64, (bytes + 64) / 64 * 64);
#define CALL() puts(tensorc_error_name(tail(args, workspace, bytes, 1, info)))
  CALL();
  for (int i = 0; i < 5; i++) printf("%g ", b[i]);
  puts("");
  k = 5, CALL();
  printf("%d %d %d\n", (int)info[0], (int)info[1], (int)info[2]);
  k = 0, tb.shape = &four, CALL();
  printf("%d %d %d %d\n", (int)info[0], (int)info[1], (int)info[2], (int)info[3]);
  tb.shape = &five, tb.data = a, CALL();
  tb.data = NULL, CALL();
  return 0;
}
"""


def test_c_calls_the_object_through_its_header(tmp_path: Path) -> None:
    need_cc()
    f = compile(first_plus_tail(), name="tail")
    f.export(tmp_path, library=False)
    caller = compile_c(
        CALLER, tmp_path / "caller", str(tmp_path / "tail.o"), f"-I{tmp_path}", "-lm"
    )
    done = subprocess.run([caller], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["ok", "6 9 14 21 30 "]
    assert lines[2] == "a check on values failed"
    assert lines[3].split()[0] in map(str, range(len(f.manifest.checks)))
    assert "5" in lines[3].split()
    assert lines[4:] == [
        *("wrong size of a dimension", "2 0 4 5"),
        *("a written argument overlaps another", "null argument"),
    ]


def test_the_header_describes_every_argument(tmp_path: Path) -> None:
    compile(Step()).export(tmp_path, library=False)
    text = (tmp_path / "step.h").read_text()
    for line in (
        " *   0  x: float32[3], read",
        " *   1  layer.W: float32[3], updated in place, state: keep it from call to call",
        " *   2  loss: float32[], written",
        "  step_arg_layer_W = 1,",
        "  step_arg_count = 3",
        " * step.state holds the state as it was when exported.",
    ):
        assert line in text.splitlines()
    compile(first_plus_tail(), name="tail").export(tmp_path, library=False)
    assert " *   0  n >= 1" in (tmp_path / "tail.h").read_text().splitlines()


def test_arguments_that_c_would_call_alike_have_names_of_their_own(tmp_path: Path) -> None:
    names = ("count", "a.b", "a_b", "count_0")
    a, b, c, d = (placeholder((3,), name=name) for name in names)
    f = compile(compute((3,), lambda i: a[i] + b[i] + c[i] + d[i], name="out"), name="sums")
    f.export(tmp_path, library=False)
    enum = (tmp_path / "sums.h").read_text().split("enum {")[1].split("}")[0]
    assert enum.split() == [
        *("sums_arg_count_0", "=", "0,", "sums_arg_a_b", "=", "1,"),
        *("sums_arg_a_b_2", "=", "2,", "sums_arg_count_0_3", "=", "3,"),
        *("sums_arg_out", "=", "4,", "sums_arg_count", "=", "5"),
    ]


def test_a_name_of_the_c_library_is_not_exported(tmp_path: Path) -> None:
    f = compile(scale())
    for folder in ("exp", "sqrtf"):
        with pytest.raises(CompileError) as caught:
            f.export(tmp_path / folder)
        assert str(caught.value) == (
            f"export: the C library has a function {folder!r}, which the exported one would "
            "replace in a program; give name="
        )
    assert (tmp_path / "exp" / "grow.h") in f.export(tmp_path / "exp", "grow", library=False)


def test_without_a_linker_the_object_is_there_and_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linker, "_commands", lambda *_: [])
    f = compile(scale(), name="scale")
    with pytest.raises(CompileError) as caught:
        f.export(tmp_path)
    assert str(caught.value) == (
        f"scale: no linker for {Target().resolved().triple} found (looked for ld, ld.lld, ld.gold, "
        "ld.mold, cc, gcc, clang on PATH), so there is no libscale.so; "
        f"{tmp_path / 'scale.o'} is there, link it where there is one: "
        "cc -shared -o libscale.so scale.o -lm; or export(..., library=False)"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("scale.h", "scale.json", "scale.o", "tensorc.h")
    ]
    assert json.loads((tmp_path / "scale.json").read_text())["shared_library"] is None


def test_a_linker_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linker, "_commands", lambda *_: [["/no/such/ld"]])
    with pytest.raises(CompileError, match=r"^cannot link libscale.so: /no/such/ld: "):
        compile(scale(), name="scale").export(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("need_linker")
def test_a_library_has_no_symbol_that_nothing_defines_but_those_of_openmp(tmp_path: Path) -> None:
    n = 128
    a = placeholder((n, n), name="A")
    compile(compute((n, n), lambda i, j: a[j, i] * 2.0, name="T"), name="t").export(tmp_path)
    listed = subprocess.run(
        ["readelf", "--dyn-syms", "--wide", tmp_path / "libt.so"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("there is no readelf")
    rows = [line.split() for line in listed.stdout.splitlines() if " UND " in line]
    strong = [r[7] for r in rows if len(r) > 7 and r[4] != "WEAK"]
    assert [s for s in strong if "@" not in s] == []  # What has a version comes from libc or libm.


def test_an_export_for_another_machine_has_an_object(tmp_path: Path) -> None:
    f = compile(scale(), name="scale", target=FOREIGN)
    f.export(tmp_path, library=False)
    machine = (tmp_path / "scale.o").read_bytes()[18:20]
    assert machine == (183).to_bytes(2, "little")  # EM_AARCH64
    assert json.loads((tmp_path / "scale.json").read_text())["target"]["triple"] == FOREIGN.triple


@pytest.mark.usefixtures("need_linker")
def test_code_for_a_plain_processor_runs_on_this_one(tmp_path: Path) -> None:
    target = Target(cpu="x86-64", threads=1)
    if not target.resolved().triple.startswith("x86_64"):
        pytest.skip("this is no x86-64")
    f = compile(scale(), name="scale", target=target)
    np.testing.assert_array_equal(f(X), 2 * X)
    f.export(tmp_path)
    assert f.manifest.target.requires == ("sse", "sse2")
    np.testing.assert_array_equal(load(tmp_path, "scale")(X), 2 * X)


def test_what_a_processor_needs_follows_from_its_name_and_features() -> None:
    triple = "x86_64-unknown-linux-gnu"
    v3 = required_features(Target(cpu="x86-64-v3", triple=triple))
    assert {"avx2", "fma", "bmi"} <= set(v3)
    assert "avx512f" not in v3
    assert "avx512f" in required_features(Target(cpu="x86-64-v4", triple=triple))
    assert required_features(Target(cpu="x86-64", features="+avx,-sse2,+aes", triple=triple)) == (
        *("avx", "sse"),
    )
    assert required_features(FOREIGN) == ()
    assert missing_features(required_features(Target().resolved()), cpu_flags()) == []


def test_a_second_export_replaces_the_first_whole(tmp_path: Path) -> None:
    f = compile(Step())
    f.export(tmp_path, library=False)
    before = {p.name for p in tmp_path.iterdir()}
    compile(scale_program(), name="step").export(tmp_path, library=False)
    assert {p.name for p in tmp_path.iterdir()} == before - {"step.state"}


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    f = compile(scale(), name="scale")
    with pytest.raises(CompileError, match=r"^export: 'for' cannot be the name of a C function"):
        f.export(tmp_path, name="for")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CompileError, match=r"^scale: cannot export to .*file: "):
        f.export(blocked)


@pytest.mark.usefixtures("need_linker")
def test_a_function_of_several_objects_is_exported_as_one(tmp_path: Path) -> None:
    a = placeholder((64,), name="A")
    value = a
    for c in range(12):
        value = compute((64,), polynomial(value, c), name=f"T{c}")
    s = Schedule(build([value], name="several"))
    for c in range(12):
        outer, inner = s.split(s.loops(f"T{c}")[0], 8)
        s.vectorize(inner)
        s.unroll(outer)
    f = compile(s, name="several")
    assert len(f._artifact.objects) > 1
    f.export(tmp_path / "out")
    given = np.linspace(-1, 1, 64, dtype=np.float32)
    loaded = load(tmp_path / "out")
    assert isinstance(loaded, Function)
    assert np.array_equal(loaded(given), f(given))


def polynomial(x: Tensor, degree: int) -> Callable[[Expr], Expr]:
    """A definition that differs from the others by its degree."""

    def body(i: Expr) -> Expr:
        value = x[i]
        for d in range(degree + 4):
            value = value * (0.5 + d / 64) + degree / 32
        return value

    return body
