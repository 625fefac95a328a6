"""Compiled functions on the emulated driver, as late as is legal, with each call failing once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from driver.kernels import Step, scale
from tensorc.driver import compile
from tensorc.emulator import EmulatedDriver
from tensorc.emulator.driver.codes import CUresult
from tensorc_runtime.cuda import device_array
from tensorc_runtime.cuda.device import System
from tensorc_runtime.cuda.errors import ContextLost, CudaError
from tensorc_runtime.cuda.function import CudaFunction

if TYPE_CHECKING:
    from tensorc.driver.cuda import CudaCompiledFunction

X = np.array([1, 2, 3], np.float32)
_RAN = "the call itself has been queued"


@pytest.fixture(scope="module")
def compiled() -> tuple[CudaCompiledFunction, CudaCompiledFunction]:
    return compile(scale(), target="cuda-emu"), compile(Step(), target="cuda-emu")


def placed(f: CudaCompiledFunction, system: System, state: Any = None) -> CudaFunction:
    return CudaFunction(f.manifest, f.plan, f._image, lambda: system, state)


def life(compiled: Any, driver: EmulatedDriver) -> list[CudaError]:
    """Calls of both kinds, a bound one, and their end; each failed part is tried again."""
    system = System(driver, emulated=True)
    weights = np.ones(3, np.float32)
    things: dict[str, Any] = {
        "plain": placed(compiled[0], system),
        "step": placed(compiled[1], system, {"layer.W": weights}),
    }
    steps, errors = [0], []

    def arrays() -> None:
        things["x"] = device_array(X, system.device(0))

    def call() -> None:
        np.testing.assert_array_equal(things["plain"](X), 2 * X)
        np.testing.assert_array_equal(things["plain"](things["x"]).numpy(), 2 * X)

    def train() -> None:
        loss = things["step"](X)
        assert loss == 1 + steps[0]
        steps[0] += 1

    def bind() -> None:
        things["bound"] = things["step"].bind(things["x"])

    def bound() -> None:
        things["bound"]()
        steps[0] += 1

    def read() -> None:
        things["step"].sync_state()
        np.testing.assert_array_equal(weights, 1 + steps[0] * X)

    for part in (arrays, call, train, train, bind, bound, bound, read):
        try:
            part()
        except CudaError as error:
            errors.append(error)
            steps[0] += any(_RAN in note for note in getattr(error, "__notes__", []))
            error.__traceback__ = None
            part()
    things.clear()
    try:
        system.close()
    except CudaError as error:
        errors.append(error)
        system.close()
    return errors


def test_any_call_of_a_compiled_function_may_fail_once(compiled: Any) -> None:
    driver = EmulatedDriver(deferred=True)
    assert life(compiled, driver) == []
    assert driver.bytes_in_use == 0
    names = [call.name for call in driver.calls]
    reported = set()
    for name in dict.fromkeys(names):
        if name.startswith("cuGetError"):
            continue
        for nth in range(1, min(names.count(name), 6) + 1):
            driver = EmulatedDriver(deferred=True, log=False)
            driver.fail(name, nth)
            errors = life(compiled, driver)
            assert driver.bytes_in_use == 0, (name, nth)
            assert len(errors) <= 1
            for error in errors:
                assert str(error).startswith(name)
                assert "CUDA_ERROR_UNKNOWN (999)" in str(error)
                reported.add(name)
    assert len(reported) > 20


def test_a_kernel_that_leaves_its_arrays_is_named_and_the_next_device_works(
    compiled: Any,
) -> None:
    driver = EmulatedDriver(deferred=True)
    driver.fail("cuStreamSynchronize", 3, CUresult.CUDA_ERROR_ILLEGAL_ADDRESS)
    systems = [System(driver, emulated=True), System(EmulatedDriver(), emulated=True)]
    f = CudaFunction(
        compiled[1].manifest,
        compiled[1].plan,
        compiled[1]._image,
        lambda: systems[0],
        {"layer.W": np.ones(3, np.float32)},
    )
    f(X)
    with pytest.raises(ContextLost, match="it comes from step"):
        f(X)
    with pytest.raises(ContextLost, match="the context is lost since an earlier error"):
        f(X)
    del systems[0]
    assert f(X) == 1
