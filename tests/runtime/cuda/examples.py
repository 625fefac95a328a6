"""Three functions for the fake driver, their kernels in Python."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.cuda.fake_driver import FakeDriver
from tensorc_runtime.cuda.device import System
from tensorc_runtime.cuda.function import CudaFunction
from tensorc_runtime.cuda.plan import CudaImage, CudaPlan, KernelArg, Launch, Temp
from tensorc_runtime.manifest import DimInfo, Manifest, ParamInfo, TargetInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = TargetInfo("nvptx64-nvidia-cuda", "sm_80")
IMAGE = CudaImage("// fake", b"fake ptx", b"fake cubin")
STATUS = KernelArg("status")


def _params(*indices: int) -> tuple[KernelArg, ...]:
    return tuple(KernelArg("param", i) for i in indices)


# y = alpha * x + x[k] in two kernels; the temporary holds alpha * x.
BLEND = Manifest(
    "blend",
    (
        ParamInfo("alpha", "float32", (), "in"),
        ParamInfo("x", "float32", ("n",), "in"),
        ParamInfo("k", "int64", (), "in"),
        ParamInfo("y", "float32", ("n",), "out"),
    ),
    (DimInfo("n", 2),),
    ("never fails", "index {0} must be in [0, {1})"),
    HERE,
)
_N, _T = KernelArg("dim", 0), KernelArg("temp", 0)
BLEND_PLAN = CudaPlan(
    "sm_80",
    (
        Launch(
            "blend_scale",
            ("(n + 255) // 256", 1, 1),
            (256, 1, 1),
            args=(*_params(0, 1, 2), _T, _N, STATUS),
        ),
        Launch(
            "blend_add",
            ("(n + 127) // 128", 1, 1),
            (128, 1, 1),
            1024,
            (*_params(1, 2), _T, *_params(3), _N, STATUS),
        ),
    ),
    (Temp("scaled", "4 * n", 256),),
    "256 + (4 * n + 255) // 256 * 256",
    BLEND.checks,
    4,
    ("n",),
)

# total += sum(x); calls = ++count. Both `total` and `count` are state, `rate` is only read.
COUNT = Manifest(
    "count",
    (
        ParamInfo("x", "float32", ("n",), "in"),
        ParamInfo("total", "float64", (), "inout", True),
        ParamInfo("count", "int64", (), "inout", True),
        ParamInfo("rate", "float64", (), "in", True),
        ParamInfo("calls", "int64", (), "out"),
    ),
    (DimInfo("n", 1),),
    ("x[0] must not be negative",),
    HERE,
)
COUNT_PLAN = CudaPlan(
    "sm_80",
    (
        Launch("count_sum", (1, 1, 1), (32, 1, 1), args=(*_params(0, 1, 3), _N, STATUS)),
        Launch("count_add", (1, 1, 1), (1, 1, 1), args=(*_params(2, 4), STATUS)),
    ),
    (),
    0,
    COUNT.checks,
    5,
    ("n",),
)

# a += b, an argument updated in place.
ADD = Manifest(
    "add",
    (ParamInfo("a", "float32", (4,), "inout"), ParamInfo("b", "float32", (4,), "in")),
    (),
    (),
    HERE,
)
ADD_PLAN = CudaPlan(
    "sm_80", (Launch("add", (1, 1, 1), (4, 1, 1), args=_params(0, 1)),), (), 0, (), 2
)


def _failed(driver: FakeDriver, status: int) -> bool:
    return bool(driver.array(status, 1, np.int32)[0])


def fail(driver: FakeDriver, status: int, index: int, *values: int) -> None:
    """Report check `index` as generated code does."""
    driver.array(status, 1, np.int32)[0] = 1 + index
    driver.array(status + 8, 3, np.int64)[: len(values)] = values


def blend_scale(
    driver: FakeDriver, grid: Any, alpha: int, x: int, k: int, t: int, n: int, status: int
) -> None:
    if _failed(driver, status):
        return None
    assert grid == (-(-n // 256), 1, 1)
    at = int(driver.array(k, 1, np.int64)[0])
    if not 0 <= at < n:
        return fail(driver, status, 1, at, n)
    driver.floats(t, n)[:] = driver.floats(alpha, 1) * driver.floats(x, n)
    return None


def blend_add(
    driver: FakeDriver, grid: Any, x: int, k: int, t: int, y: int, n: int, status: int
) -> None:
    if _failed(driver, status):
        return
    assert grid == (-(-n // 128), 1, 1)
    at = int(driver.array(k, 1, np.int64)[0])
    driver.floats(y, n)[:] = driver.floats(t, n) + driver.floats(x, n)[at]


def count_sum(
    driver: FakeDriver, _grid: Any, x: int, total: int, rate: int, n: int, status: int
) -> None:
    if _failed(driver, status):
        return
    if driver.floats(x, n)[0] < 0:
        fail(driver, status, 0)
        return
    driver.array(total, 1, np.float64)[:] += driver.floats(x, n).sum() * driver.array(
        rate, 1, np.float64
    )


def count_add(driver: FakeDriver, _grid: Any, count: int, calls: int, status: int) -> None:
    if _failed(driver, status):
        return
    driver.array(count, 1, np.int64)[:] += 1
    driver.array(calls, 1, np.int64)[:] = driver.array(count, 1, np.int64)


def add(driver: FakeDriver, _grid: Any, a: int, b: int) -> None:
    driver.floats(a, 4)[:] += driver.floats(b, 4)


KERNELS = {f.__name__: f for f in (blend_scale, blend_add, count_sum, count_add, add)}


def fake(**options: Any) -> tuple[FakeDriver, System]:
    driver = FakeDriver(**options)
    driver.kernels.update(KERNELS)
    return driver, System(driver)


def state() -> dict[str, Any]:
    return {
        "total": np.zeros((), np.float64),
        "count": np.zeros((), np.int64),
        "rate": np.ones((), np.float64),
    }


def blend(system: System) -> CudaFunction:
    return CudaFunction(BLEND, BLEND_PLAN, IMAGE, lambda: system)


def count(system: System, arrays: Mapping[str, Any] | None = None) -> CudaFunction:
    return CudaFunction(COUNT, COUNT_PLAN, IMAGE, lambda: system, arrays or state())


def adder(system: System) -> CudaFunction:
    return CudaFunction(ADD, ADD_PLAN, IMAGE, lambda: system)


def read(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)
