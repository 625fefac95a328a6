from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime.cuda.examples import (
    BLEND,
    BLEND_PLAN,
    IMAGE,
    adder,
    blend,
    count,
    fake,
)
from runtime.cuda.fake_driver import Code
from tensorc_runtime.cuda import device_array
from tensorc_runtime.cuda.errors import ContextLost, CudaError, DeviceUnavailable
from tensorc_runtime.cuda.function import CudaFunction
from tensorc_runtime.cuda.plan import CudaImage, CudaPlan
from tensorc_runtime.errors import ArgumentError

X = np.array([1, 2, 3, 5], np.float32)


def test_without_a_driver_the_error_says_so_and_nothing_hangs() -> None:
    code = (
        "import tensorc as tc\n"
        "try:\n    tc.cuda.device_array([1.0])\n"
        "except tc.cuda.DeviceUnavailable as error:\n    print(error)\n"
        "print(tc.cuda.device_count(), tc.cuda.why_not_available() is not None)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LD_LIBRARY_PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    if "does not load" not in done.stdout:
        pytest.skip("this machine has a driver")
    assert done.stdout.startswith(
        "there is no NVIDIA driver on this machine: libcuda.so.1 does not load ("
    )
    assert "install the driver, or use target='cuda-emu', which needs none" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 True"


def test_no_device_is_said() -> None:
    _, system = fake(devices=0)
    with pytest.raises(DeviceUnavailable) as caught:
        system.device(0)
    assert str(caught.value) == (
        "device 0: no such CUDA device; there is none; look at nvidia-smi and at "
        "CUDA_VISIBLE_DEVICES"
    )


def test_a_device_that_is_not_there_is_refused() -> None:
    _, system = fake()
    with pytest.raises(DeviceUnavailable) as caught:
        blend(system).on(2)(2.0, X, 1)
    assert str(caught.value) == (
        "device 2: no such CUDA device; there are 0 to 1; look at nvidia-smi and at "
        "CUDA_VISIBLE_DEVICES"
    )


def test_an_old_driver_is_refused_with_its_version() -> None:
    driver, system = fake()
    driver.version = 11040
    with pytest.raises(DeviceUnavailable) as caught:
        system.device(0)
    assert str(caught.value) == (
        "the NVIDIA driver supports CUDA 11.4, and CUDA 12.0 is needed; install a newer driver"
    )
    driver.version = 12000
    system.device(0)


def test_a_driver_that_does_not_start_is_asked_again() -> None:
    driver, system = fake()
    driver.fail_at, driver.fail_with = 0, Code.CUDA_ERROR_NO_DEVICE
    with pytest.raises(DeviceUnavailable) as caught:
        system.device(0)
    assert str(caught.value) == (
        "cuInit: CUDA_ERROR_NO_DEVICE (100), error no device; no CUDA device is visible; look at "
        "nvidia-smi and at CUDA_VISIBLE_DEVICES"
    )
    assert system.device(0).name == "Fake GPU"


def message(plan: CudaPlan, setup: Any = None, image: CudaImage = IMAGE, n: int = 4) -> str:
    driver, system = fake()
    if setup is not None:
        setup(driver)
    f = CudaFunction(BLEND, plan, image, lambda: system)
    with pytest.raises((CudaError, ArgumentError)) as caught:
        f(2.0, np.ones(n, np.float32), 1)
    return str(caught.value)


def with_launch(**changes: Any) -> CudaPlan:
    first, second = BLEND_PLAN.launches
    return replace(BLEND_PLAN, launches=(replace(first, **changes), second))


def test_a_launch_beyond_the_device_s_limits_is_refused_with_numbers() -> None:
    place = "device 0 (Fake GPU)"
    assert message(with_launch(block=(2048, 1, 1))) == (
        f"blend: kernel blend_scale asks for 2048 threads in x, and {place} has at most 1024"
    )
    assert message(with_launch(block=(64, 64, 1))) == (
        f"blend: kernel blend_scale asks for 4096 threads a block, and {place} has at most 1024"
    )
    assert message(with_launch(shared=200_000)) == (
        "blend: kernel blend_scale asks for 200,000 bytes of shared memory a block, and "
        f"{place} has at most 102,400"
    )
    assert message(with_launch(grid=("n", 70_000, 1))) == (
        f"blend: kernel blend_scale would have 70,000 blocks in y, and {place} takes at most "
        "65,535; pass smaller arrays, or bind another loop there"
    )

    def few_registers(driver: Any) -> None:
        driver.kernel_threads = 100

    assert message(BLEND_PLAN, few_registers) == (
        f"blend: kernel blend_scale asks for 256 threads a block, and {place} has registers for "
        "100 threads of this kernel; bind fewer threads, or let each keep less"
    )


def test_code_for_another_architecture_is_refused() -> None:
    assert message(BLEND_PLAN, image=CudaImage("", b"other", b"other")) == (
        "cuModuleLoadData on device 0 (Fake GPU): CUDA_ERROR_NO_BINARY_FOR_GPU (209), error no "
        "binary for gpu; loading blend, compiled for sm_80, on a device of sm_80; the code is for "
        'another architecture than the device\'s; compile with target="cuda", which asks the '
        'device, or Target("cuda", arch=...) of the device'
    )


def test_an_empty_grid_launches_nothing() -> None:
    driver, system = fake()
    f = CudaFunction(BLEND, with_launch(grid=("n - 4", 1, 1)), IMAGE, lambda: system)
    f(2.0, device_array(X, f.device), 1)
    assert "blend_scale" not in driver.launched


# --- kernels that fail ---------------------------------------------------------------------------


def broken_add(_driver: Any, _grid: Any, _a: int, _b: int) -> None:
    raise MemoryError


def broken_count(_driver: Any, _grid: Any, _count: int, _calls: int, _status: int) -> None:
    raise MemoryError


def test_an_error_found_later_names_the_launches_it_may_come_from() -> None:
    driver, system = fake()
    driver.kernels["add"] = broken_add
    f = adder(system)
    a = device_array(np.zeros(4, np.float32), f.device)
    f(a, X)
    with pytest.raises(ContextLost) as caught:
        a.numpy()
    text = str(caught.value)
    assert "it comes from add (a graph of 1 launches: add); a kernel read or wrote outside" in text
    assert text.endswith(
        "the device's context is lost: what is on it cannot be read any more, and nothing runs "
        "there until the process is started anew"
    )
    for again in (lambda: f(a, X), a.numpy, lambda: device_array(X, f.device)):
        with pytest.raises(ContextLost) as caught:
            again()
        assert str(caught.value).startswith(
            "device 0 (Fake GPU): the context is lost since an earlier error; start the process "
            "anew. The error was: "
        )


def test_a_synchronous_device_names_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORC_CUDA_SYNC", "1")
    driver, system = fake()
    f = count(system)
    f(X)
    assert "cuGraphLaunch" not in driver.log
    driver.kernels["count_add"] = broken_count
    with pytest.raises(ContextLost) as caught:
        f(X)
    assert "; it comes from count_add of count; " in str(caught.value)


def test_a_child_of_a_process_that_uses_cuda_is_told() -> None:
    _, system = fake()
    f = blend(system)
    f(2.0, X, 1)
    child = os.fork()
    if child == 0:
        try:
            f(2.0, X, 1)
        except ContextLost as error:
            os._exit(0 if "was forked from one that uses CUDA" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_closing_gives_back_the_contexts() -> None:
    driver, system = fake()
    f = blend(system)
    f(2.0, X, 1)
    f.on(1)(2.0, X, 1)
    assert driver.live["context"] == 2
    del f
    system.close()
    assert +driver.live == {}
    np.testing.assert_array_equal(blend(system)(2.0, X, 1), 2 * X + 2)
