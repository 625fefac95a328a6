"""`compile`: every kind of thing that it takes, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driver.kernels import Step, X, scale, scale_program
from tensorc.driver import CompiledFunction, compile
from tensorc.errors import ArgumentError, CompileError
from tensorc.ir.interp import run
from tensorc.ir.parser import parse
from tensorc.schedule.schedule import Schedule
from tensorc.target import Target
from tensorc.te.reduce import reduce_axis
from tensorc.te.reduce import sum as tc_sum
from tensorc.te.tensor import Tensor, compute, placeholder


def refusal(what: Any, **options: Any) -> str:
    with pytest.raises(CompileError) as caught:
        compile(what, **options)
    return str(caught.value)


def test_a_tensor_is_scheduled_and_compiled() -> None:
    f = compile(scale())
    assert isinstance(f, CompiledFunction)
    np.testing.assert_array_equal(f(X), 2 * X)
    np.testing.assert_array_equal(f(np.zeros(0, np.float32)), [])
    assert f.name == "B"
    assert repr(f) == "<CompiledFunction B(A: float32[n]) -> B: float32[n]>"


def test_several_tensors_make_a_tuple() -> None:
    a = placeholder((3,), name="A")
    double = compute((3,), lambda i: a[i] * 2.0, name="double_")
    square = compute((3,), lambda i: a[i] * a[i], name="square")
    f = compile([double, square], name="both")
    for got, want in zip(f(X), (2 * X, X * X), strict=True):
        np.testing.assert_array_equal(got, want)


def test_inputs_set_the_order_of_the_arguments() -> None:
    a, b = placeholder((3,), name="A"), placeholder((3,), name="B")
    d = compute((3,), lambda i: a[i] - b[i], name="D")
    np.testing.assert_array_equal(compile(d)(X, X + 1), [-1, -1, -1])
    np.testing.assert_array_equal(compile(d, inputs=[b, a])(X, X + 1), [1, 1, 1])


def test_updates_change_an_argument_in_place() -> None:
    a = placeholder((3,), name="A")
    f = compile([], updates=[(a, compute((3,), lambda i: a[i] + 1.0, name="new"))], name="inc")
    x = X.copy()
    assert f(x) is None
    np.testing.assert_array_equal(x, X + 1)


def test_a_schedule_is_compiled_as_it_stands() -> None:
    s = Schedule([scale()], name="scaled")
    s.split(s.loops("B")[0], 4)
    f = compile(s)
    np.testing.assert_array_equal(f(X), 2 * X)
    assert "split" in f.inspect("trace")
    assert "i.outer" in f.inspect("loops")


def test_a_program_is_compiled_as_it_stands_and_agrees_with_the_interpreter() -> None:
    program = scale_program(3.0)
    want = np.zeros(3, np.float32)
    run(program, {"A": X, "B": want})
    f = compile(program)
    np.testing.assert_array_equal(f(X), want)
    assert f.inspect("trace") == ""


def test_a_step_keeps_its_state_and_takes_the_rest() -> None:
    step = Step()
    f = compile(step)
    assert [float(f(X)) for _ in range(3)] == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(step.state["layer.W"], 1 + 3 * X)
    assert repr(f) == "<CompiledFunction step(x: float32[3]) -> loss: float32[]>"
    other = f.attach({"layer.W": np.zeros(3, np.float32)})
    assert other(X) == 0
    assert isinstance(other, CompiledFunction)
    assert f(X) == 4


def test_a_step_can_be_bound_to_its_batch() -> None:
    step = Step()
    bound = compile(step).bind(X)
    assert [float(bound()) for _ in range(3)] == [1.0, 2.0, 3.0]


def test_a_name_and_threads_can_be_given() -> None:
    f = compile(scale_program(), name="twice", threads=1)
    assert f.name == "twice"
    assert f.manifest.target.threads == 1
    with pytest.raises(
        ArgumentError, match=r"^twice: takes 1 argument \(A: float32\[n\]\), got 0$"
    ):
        f()


def matmul(n: int) -> Tensor:
    a, b = placeholder((n, n), name="A"), placeholder((n, n), name="B")
    k = reduce_axis(n, name="k")
    return compute((n, n), lambda i, j: tc_sum(a[i, k] * b[k, j], axis=k), name="C")


def test_a_child_forked_after_a_parallel_call_does_not_wait_for_ever() -> None:
    code = (
        "import os, signal, numpy as np\n"
        "from driver.test_compile import compile, matmul\n"
        "f = compile(matmul(256), threads=2)\n"
        "x = np.ones((256, 256), 'f')\n"
        "want = f(x, x)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(30)\n"
        "    os._exit(0 if np.array_equal(f(x, x), want) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert np.array_equal(f(x, x), want)\n"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join(map(str, (root, root / "runtime", root / "tests")))
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_python_threads_compile_and_call_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        functions = list(pool.map(lambda i: compile(scale(float(i % 3))), range(12)))
        results = list(pool.map(lambda f: f(X), functions))
    for i, got in enumerate(results):
        np.testing.assert_array_equal(got, np.float32(i % 3) * X)


def test_a_reduction_over_threads_gives_one_result_however_many_there_are() -> None:
    n, c = 256, matmul(256)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, n, n)).astype(np.float32)
    results = [compile(c, threads=t)(x, y) for t in (1, 2, 4)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    # gamma_k |x| |y|, as in Higham, section 3.1, with u = 2**-24.
    bound = n * 2.0**-24 / (1 - n * 2.0**-24) * (np.abs(x) @ np.abs(y))
    assert np.all(np.abs(results[0] - x.astype(float) @ y.astype(float)) <= bound)


def test_what_cannot_be_compiled_is_refused() -> None:
    assert refusal(3) == (
        "compile: expected tensors, a schedule, a program or a training step, got a int"
    )
    assert refusal([scale(), 3]) == "compile: the outputs must be tensors, got a int"
    assert refusal(scale(), name="a b") == "compile: name 'a b' cannot be the name of a C function"
    assert refusal(scale(), name="double") == (
        "compile: name 'double' cannot be the name of a C function"
    )
    assert refusal(scale_program(), inputs=[]) == (
        "compile: inputs= and updates= go with tensors; a Program states its own"
    )
    assert refusal(replace(scale_program(), name="a.b")) == (
        "compile: program 'a.b' has a name that no C function can have; give name="
    )
    assert (
        refusal(scale(), target="gpu")
        == "target 'gpu' is not known; there are 'cpu', 'cuda' and 'cuda-emu'"
    )
    step = Step()
    step.state["V"] = X
    assert refusal(step) == (
        "compile: step: state 'V' is no parameter of its program; there are x, layer.W, loss"
    )


def test_a_step_whose_state_does_not_fit_is_refused() -> None:
    step = Step()
    step.state["layer.W"] = np.ones(4, np.float32)
    with pytest.raises(ArgumentError) as caught:
        compile(step)
    assert str(caught.value) == (
        "step: state 'layer.W': expected float32 of shape (3,), got float32 of shape (4,)"
    )


def test_code_for_another_machine_is_refused_when_it_is_called() -> None:
    f = compile(
        scale(3.0), target=Target(cpu="generic", triple="aarch64-unknown-linux-gnu", threads=1)
    )
    said = (
        "B is compiled for aarch64-unknown-linux-gnu, processor generic, and cannot run here; "
        "export it, or compile it with target='cpu'"
    )
    for call in (lambda: f(X), lambda: f.bind(X), lambda: f.workspace_bytes(n=3)):
        with pytest.raises(CompileError) as caught:
            call()
        assert str(caught.value) == said
    assert "fmul" in f.inspect("asm")


def test_every_stage_can_be_inspected() -> None:
    f = compile(scale(), name="scale")
    assert f.inspect("te") == "A: float32[n] = placeholder\nB: float32[n]\n  [i] = A[i] * 2.0"
    assert f.inspect("program").splitlines() == [
        "program scale(A: in float32[n], B: out float32[n]) dims(n >= 0):",
        "  for i in range(n):",
        "    B[i] = A[i] * 2.0",
    ]
    for stage in ("loops", "lowered"):
        assert f.inspect(stage).startswith("program scale(")
    assert "s." in f.inspect("trace")
    assert "define i32 @scale_run(" in f.inspect("llvm")
    assert "i32 @scale_run(" in f.inspect("optimized")
    assert "scale_run:" in f.inspect("asm")
    assert f.inspect("memory").splitlines() == [
        "workspace: 0 bytes, and 0 for each thread",
        "arguments: 4 * n + 4 * n bytes",
        "peak: 4 * n + 4 * n bytes on one thread",
        "",
        "what each step writes",
        "     0  B",
        "",
        "arguments",
        "  4 * n  A: float32[n]",
        "  4 * n  B: float32[n]",
    ]
    timing = f.inspect("timing")
    assert [row.split()[0] for row in timing.splitlines()] == [
        *("build", "cache", "schedule", "lower", "emit", "texts", "LLVM", "load", "total")
    ]
    assert set(f.timing) >= {"build", "LLVM"}


def test_memory_shows_what_lies_where_and_when() -> None:
    f = compile(
        parse("""
program two(A: in float32[100], B: out float32[100]):
  alloc T: float32[100]
    alloc U: float64[100]
      for i in range(100):
        T[i] = A[i]
      for i in parallel(100):
        alloc V: float32[4]
          V[0] = T[i]
          U[i] = float64(V[0])
      for i in range(100):
        B[i] = float32(U[i])
"""),
        threads=2,
    )
    assert f.inspect("memory").splitlines() == [
        "workspace: 1280 bytes, and 64 for each thread",
        "arguments: 800 bytes",
        "peak: 2144 bytes on one thread",
        "",
        "workspace, by address",
        "   at  bytes  steps  buffer",
        "    0    832    1-2  U: float64[100]",
        "  832    448    0-1  T: float32[100]",
        "",
        "the part of each thread",
        "  at  bytes  steps  buffer",
        "   0     64      1  V: float32[4]",
        "",
        "what each step writes",
        "     0  T",
        "     1  U",
        "     2  B",
        "",
        "arguments",
        "  400  A: float32[100]",
        "  400  B: float32[100]",
    ]
    assert f.workspace_bytes() == 1280 + 2 * 64


def test_a_stage_that_is_not_there_is_refused() -> None:
    f = compile(scale_program())
    with pytest.raises(CompileError) as caught:
        f.inspect("cuda")
    assert str(caught.value).startswith("scale: no stage 'cuda' to inspect; there are\n  te  ")
    with pytest.raises(CompileError) as caught:
        f.inspect("te")
    assert str(caught.value).startswith("scale: there is no stage 'te': it was compiled from a ")
