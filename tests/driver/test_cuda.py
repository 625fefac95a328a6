"""What `compile` gives for CUDA, run in the emulator."""

from __future__ import annotations

import gc
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from driver.kernels import Step, scale, scale_program
from tensorc.driver import Compilable, CompiledFunction, compile
from tensorc.driver.cuda import CudaCompiledFunction
from tensorc.driver.cuda import compile as stages_of_cuda
from tensorc.driver.cuda.systems import emulated_system
from tensorc.driver.obtain import loaded
from tensorc.errors import ArgumentError, CheckFailed, CompileError
from tensorc.ir.interp import run
from tensorc.schedule.schedule import Schedule
from tensorc.target import Target
from tensorc.te.reduce import reduce_axis
from tensorc.te.reduce import sum as sum_
from tensorc.te.tensor import compute, placeholder
from tensorc_runtime.cuda import device_array
from tensorc_runtime.cuda.array import DeviceArray
from tensorc_runtime.cuda.errors import DeviceUnavailable
from tensorc_runtime.cuda.real import real_system

if TYPE_CHECKING:
    from pathlib import Path

X = np.array([1, 2, 3], np.float32)


def emulated(what: Compilable) -> CudaCompiledFunction:
    return compile(what, target="cuda-emu")


def has_driver() -> bool:
    try:
        real_system()
    except DeviceUnavailable:
        return False
    return True


def test_numpy_goes_in_and_comes_out() -> None:
    f = emulated(scale())
    assert isinstance(f, CompiledFunction)
    for n in (0, 1, 3, 1000):
        x = np.arange(n, dtype=np.float32)
        result = f(x)
        assert isinstance(result, np.ndarray)
        np.testing.assert_array_equal(result, 2 * x)
    assert repr(f) == "<CudaCompiledFunction B(A: float32[n]) -> B: float32[n]>"


def test_device_arrays_go_in_and_come_out() -> None:
    f = emulated(scale())
    x = device_array(X, f.device)
    y = f(x)
    assert isinstance(y, DeviceArray)
    np.testing.assert_array_equal(f(y).numpy(), 4 * X)
    out = np.empty(3, np.float32)
    assert f(x, out=out) is out
    np.testing.assert_array_equal(out, 2 * X)


def test_a_program_is_compiled_as_it_stands_and_agrees_with_the_interpreter() -> None:
    program = scale_program(3.0)
    want = np.zeros(3, np.float32)
    run(program, {"A": X, "B": want})
    f = emulated(program)
    np.testing.assert_array_equal(f(X), want)
    assert f.inspect("trace") == ""


def test_a_schedule_is_compiled_as_it_stands() -> None:
    s = Schedule([scale()], name="scaled")
    outer, inner = s.split(s.loops("B")[0], 64)
    s.bind(outer, "block.x")
    s.bind(inner, "thread.x")
    f = emulated(s)
    np.testing.assert_array_equal(f(np.ones(100, np.float32)), np.full(100, 2, np.float32))
    assert f.plan.launches[0].block == (64, 1, 1)
    assert "bind" in f.inspect("trace")


def test_results_without_dimensions_are_scalars() -> None:
    a = placeholder((1000,), name="A")
    k = reduce_axis(1000, name="k")
    f = emulated(compute((), lambda: sum_(a[k], axis=k), name="total"))
    total = f(np.ones(1000, np.float32))
    assert isinstance(total, np.float32)
    assert total == 1000


def test_a_step_keeps_its_state_on_the_device() -> None:
    step = Step()
    f = emulated(step)
    assert [float(f(X)) for _ in range(3)] == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(step.state["layer.W"], np.ones(3))
    f.sync_state()
    np.testing.assert_array_equal(step.state["layer.W"], 1 + 3 * X)
    step.state["layer.W"][...] = 5
    assert f(X) == 5
    np.testing.assert_array_equal(f.state["layer.W"], 5 + X)
    other = f.attach({"layer.W": np.zeros(3, np.float32)})
    assert isinstance(other, CudaCompiledFunction)
    assert other(X) == 0


def test_a_step_takes_the_same_values_as_on_the_cpu() -> None:
    cpu, gpu = Step(), Step()
    f, g = compile(cpu), emulated(gpu)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.normal(size=3).astype(np.float32)
        assert f(x) == g(x)
    np.testing.assert_array_equal(f.state["layer.W"], g.state["layer.W"])


def test_a_bound_step_is_one_graph_launch() -> None:
    f = emulated(Step())
    x = device_array(X, f.device)
    bound = f.bind(x)
    driver: Any = f.device.api
    before = driver.count("cuGraphLaunch"), driver.count("cuLaunchKernel")
    for _ in range(3):
        loss = bound()
    assert (driver.count("cuGraphLaunch"), driver.count("cuLaunchKernel")) == (
        before[0] + 3,
        before[1],
    )
    assert float(loss) == 3
    x.copy_from(2 * X)
    bound()
    assert float(loss) == 2 * 4


def test_a_check_of_values_is_reported_by_the_call() -> None:
    table, index = placeholder((4,), name="table"), placeholder((3,), "int64", name="index")
    f = emulated(compute((3,), lambda i: table[index[i]], name="taken"))
    good, values = np.array([0, 3, 1]), np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(f(values, good), good.astype(np.float32))
    with pytest.raises(CheckFailed) as caught:
        f(values, np.array([0, 4, 1]))
    with pytest.raises(CheckFailed) as expected:
        compile(compute((3,), lambda i: table[index[i]], name="taken"))(values, np.array([0, 4, 1]))
    # The place in the user's file differs: the definitions stand on two lines of this test.
    assert str(caught.value).split(" (")[0] == str(expected.value).split(" (")[0]
    np.testing.assert_array_equal(f(values, good), good.astype(np.float32))


def test_python_threads_call_at_once() -> None:
    f, g = emulated(scale()), emulated(Step())
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(10):
            x = rng.normal(size=int(rng.integers(1, 300))).astype(np.float32)
            g(X)
            results = (f(x), f(device_array(x, f.device)).numpy())
            wrong.extend(seed for result in results if not np.array_equal(result, 2 * x))

    threads = [Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    np.testing.assert_array_equal(g.state["layer.W"], 1 + 30 * X)


def test_nothing_stays_in_the_device_s_memory() -> None:
    driver: Any = emulated_system("sm_86").api
    f = compile(Step(), target=Target("cuda-emu", arch="sm_86"))
    assert isinstance(f, CudaCompiledFunction)
    f(X)
    x = device_array(X, f.device)
    f.bind(x)()
    device = f.device
    del f, x
    gc.collect()
    device.synchronize()
    assert driver.bytes_in_use == 0


# --- what the emulator tells ----------------------------------------------------------------------


def test_a_correct_function_has_no_findings_and_leaves_its_state_alone() -> None:
    step = Step()
    f = emulated(step)
    f(X)
    report = f.check(X)
    assert report.ok, report.describe(f.source)
    assert f.check(x=X).ok
    np.testing.assert_array_equal(f.state["layer.W"], 1 + X)


def test_a_wrong_size_of_a_check_is_refused_as_in_a_call() -> None:
    f = emulated(Step())
    with pytest.raises(ArgumentError) as caught:
        f.check(X[:2])
    assert str(caught.value) == (
        "step: argument 'x' (1 of 1): expected float32 of shape (3,), got float32 of shape (2,)"
    )


def test_memory_is_profiled_by_line_of_the_source() -> None:
    f = emulated(scale())
    profile = f.profile_memory(np.ones(256, np.float32))
    assert profile.ratio("global") == 1.0
    (load, store) = profile.accesses
    line = f.source.splitlines()[load.site.source_line - 1]
    assert "A[" in line
    assert store.is_write


# --- inspection -----------------------------------------------------------------------------------


def test_every_stage_can_be_inspected() -> None:
    f = emulated(scale())
    for stage, part in {
        "te": "B: float32[n]",
        "program": "for i in range(n)",
        "trace": "bind",
        "loops": "block.x",
        "lowered": "thread.x",
        "memory": "arena: 0 bytes",
        "plan": "B: 1 launches, compiled for sm_80",
        "cuda": "__global__",
        "barriers": ": no barriers",
        "ptx": ".target sm_80",
        "resources": "registers",
        "timing": "total",
    }.items():
        assert part in f.inspect(stage), stage
    assert f.source == f.inspect("cuda")
    with pytest.raises(CompileError) as caught:
        f.inspect("llvm")
    assert str(caught.value).splitlines()[0] == "B: no stage 'llvm' to inspect; there are"


def test_a_plan_shows_launches_with_their_arguments() -> None:
    s = Schedule([scale()], name="scaled")
    outer, inner = s.split(s.loops("B")[0], 64)
    s.bind(outer, "block.x")
    s.bind(inner, "thread.x")
    assert emulated(s).inspect("plan").splitlines() == [
        "scaled: 1 launches, compiled for sm_80",
        "   0  scaled_B(B, A, n)",
        "      grid ((n + 63) // 64, 1, 1), block (64, 1, 1)",
    ]


def test_machine_code_can_be_read() -> None:
    pytest.importorskip("cuda.pathfinder")
    f = emulated(scale())
    try:
        text = f.inspect("sass")
    except CompileError as error:
        pytest.skip(str(error))
    assert "STG" in text


def test_a_stage_that_was_not_passed_is_refused() -> None:
    f = emulated(scale_program())
    with pytest.raises(CompileError) as caught:
        f.inspect("te")
    assert str(caught.value) == (
        "scale: there is no stage 'te': it was compiled from a schedule or program; there are "
        "trace, loops, lowered, memory, plan, cuda, barriers, ptx, sass, resources, timing"
    )


def test_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as caught:
        emulated(scale()).export(tmp_path)
    assert str(caught.value) == (
        "B: export writes C libraries, and code for sm_80 cannot be in one; inspect('cuda') and "
        "inspect('ptx') are its kernels, inspect('plan') how to launch them; or compile it with "
        "target='cpu' to export it"
    )


# --- targets and the cache ------------------------------------------------------------------------


def test_without_a_gpu_a_cuda_function_can_be_inspected_and_says_why_it_cannot_be_called() -> None:
    if has_driver():
        pytest.skip("this machine has a driver")
    f = compile(scale(), target=Target("cuda", arch="sm_90"))
    assert isinstance(f, CudaCompiledFunction)
    assert ".target sm_90" in f.inspect("ptx")
    for run_it in (f, f.bind):
        with pytest.raises(DeviceUnavailable) as caught:
            run_it(X)
        assert str(caught.value).startswith(
            "there is no NVIDIA driver on this machine: libcuda.so.1 does not load ("
        )
    assert f.check(X).ok
    assert compile(scale(), target="cuda").inspect("plan").endswith("block (256, 1, 1)")


def test_architectures_have_devices_of_their_own() -> None:
    f, g = emulated(scale()), compile(scale(), target=Target("cuda-emu", arch="sm_90"))
    with pytest.raises(ArgumentError) as caught:
        g(device_array(X, f.device))
    assert str(caught.value) == (
        "B: argument 'A' (1 of 1): is on device 0 (tensorc emulator of A100), and this function "
        "runs on device 0 (tensorc emulator of H100 SXM); copy it there"
    )


def test_a_function_can_run_on_another_device() -> None:
    f = emulated(Step())
    g = f.on(1)
    assert g.device.index == 1
    assert g(X) == 1
    assert f(X) == 1


def test_threads_are_for_the_cpu() -> None:
    with pytest.raises(CompileError) as caught:
        compile(scale(), target="cuda-emu", threads=2)
    assert "cpu, features, threads and triple are for the kind 'cpu'" in str(caught.value)


def test_what_was_compiled_before_is_found(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = emulated(scale())
    assert "NVRTC" in first.timing
    loaded.clear()
    (entry,) = cache_dir.glob("*.tck")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("compiled again")

    with monkeypatch.context() as patch:
        patch.setattr(stages_of_cuda, "compile_cuda", never)
        again = emulated(scale())
        assert "NVRTC" not in again.timing
        np.testing.assert_array_equal(again(X), 2 * X)
        assert again.inspect("ptx") == first.inspect("ptx")
        with pytest.raises(AssertionError):
            compile(scale(), target=Target("cuda-emu", arch="sm_90"))
    loaded.clear()
    entry.write_bytes(entry.read_bytes()[:-1])
    np.testing.assert_array_equal(emulated(scale())(X), 2 * X)
