from __future__ import annotations

import numpy as np
import pytest

from runtime.cuda.examples import adder, blend, count, fake, state
from tensorc_runtime.cuda import device_array, empty
from tensorc_runtime.cuda.array import DeviceArray
from tensorc_runtime.errors import ArgumentError, CheckFailed

X = np.array([1, 2, 3, 5], np.float32)


def test_numpy_in_gives_numpy_out() -> None:
    _, system = fake()
    result = blend(system)(2.0, X, 3)
    assert isinstance(result, np.ndarray)
    np.testing.assert_array_equal(result, 2 * X + 5)


def test_a_device_array_in_gives_a_device_array_out_and_nothing_waits() -> None:
    driver, system = fake()
    f = adder(system)
    a, b = device_array(np.zeros(4, np.float32), f.device), device_array(X, f.device)
    assert f(a, b) is None
    driver.launched.clear()
    f(a, b)
    assert driver.launched == []
    np.testing.assert_array_equal(a.numpy(), 2 * X)


def test_outputs_can_be_given() -> None:
    _, system = fake()
    f = blend(system)
    out = np.empty(4, np.float32)
    assert f(2.0, X, 3, out=out) is out
    np.testing.assert_array_equal(out, 2 * X + 5)
    there = empty(4, np.float32, f.device)
    assert f(2.0, X, 3, out=there) is there
    np.testing.assert_array_equal(there.numpy(), 2 * X + 5)


def test_inputs_can_be_named() -> None:
    _, system = fake()
    np.testing.assert_array_equal(blend(system)(2.0, k=0, x=X), 2 * X + 1)


def test_sizes_may_change_from_call_to_call() -> None:
    _, system = fake()
    f = blend(system)
    for n in (2, 300, 7, 1000, 2):
        x = np.arange(n, dtype=np.float32)
        np.testing.assert_array_equal(f(3.0, x, 1), 3 * x + 1)


def test_a_failed_check_is_reported_with_its_values() -> None:
    _, system = fake()
    f = blend(system)
    for x in (X, device_array(X, f.device)):
        with pytest.raises(CheckFailed) as caught:
            f(2.0, x, 4)
        assert str(caught.value) == "blend: index 4 must be in [0, 4)"
    np.testing.assert_array_equal(f(2.0, X, 3), 2 * X + 5)


def test_what_does_not_fit_is_refused_as_on_the_cpu() -> None:
    _, system = fake()
    f = blend(system)
    cases = [
        (
            (2.0, X.astype(np.float64), 1),
            "blend: argument 'x' (2 of 3): expected float32 of shape (n,), got float64 of "
            "shape (4,)",
        ),
        ((2.0, X), "blend: takes 3 arguments (alpha: float32[], x: float32[n], k: int64[]), got 2"),
        (
            (2.0, device_array(np.zeros((2, 2), np.float32), f.device), 1),
            "blend: argument 'x' (2 of 3): expected float32 of shape (n,), got float32 of "
            "shape (2, 2)",
        ),
    ]
    for inputs, message in cases:
        with pytest.raises(ArgumentError) as caught:
            f(*inputs)
        assert str(caught.value) == message


def test_an_array_of_another_device_is_refused() -> None:
    _, system = fake()
    f, other = blend(system), system.device(1)
    with pytest.raises(ArgumentError) as caught:
        f(2.0, device_array(X, other), 1)
    assert str(caught.value) == (
        "blend: argument 'x' (2 of 3): is on device 1 (Fake GPU), and this function runs on "
        "device 0 (Fake GPU); copy it there, or take the function's on(1)"
    )
    np.testing.assert_array_equal(f.on(1)(2.0, device_array(X, other), 1).numpy(), 2 * X + 2)


def test_a_freed_array_is_refused() -> None:
    _, system = fake()
    f = blend(system)
    x = device_array(X, f.device)
    x.free()
    with pytest.raises(ArgumentError) as caught:
        f(2.0, x, 1)
    assert str(caught.value) == "DeviceArray(float32[4] on device 0 (Fake GPU), freed) was freed"


def test_overlapping_arrays_are_refused() -> None:
    _, system = fake()
    f = adder(system)
    a = device_array(X, f.device)
    with pytest.raises(ArgumentError) as caught:
        f(a, a)
    assert str(caught.value) == (
        "add: argument 'a' (1 of 2) is written, and overlaps argument 'b' (2 of 2) in memory; "
        "pass a copy of one"
    )


def test_an_argument_is_updated_in_place_on_either_side() -> None:
    _, system = fake()
    f = adder(system)
    host = np.ones(4, np.float32)
    f(host, X)
    np.testing.assert_array_equal(host, 1 + X)
    there = device_array(host, f.device)
    f(there, X)
    f(there, device_array(X, f.device))
    np.testing.assert_array_equal(there.numpy(), 1 + 3 * X)


# --- state ---------------------------------------------------------------------------------------


def test_state_lives_on_the_device_and_is_seen_when_asked_for() -> None:
    _, system = fake()
    arrays = state()
    f = count(system, arrays)
    assert [int(f(X)) for _ in range(3)] == [1, 2, 3]
    assert arrays["total"] == 0
    assert f.state["total"] == 3 * 11
    assert arrays["total"] == 3 * 11
    assert f.state["total"] is arrays["total"]


def test_what_is_written_into_small_state_takes_effect_at_the_next_call() -> None:
    _, system = fake()
    arrays = state()
    f = count(system, arrays)
    f(X)
    arrays["rate"][...] = 10
    f(X)
    f.sync_state()
    assert arrays["total"] == 11 + 110
    f.state["total"][...] = 1
    f(X)
    assert f.state["total"] == 1 + 110


def test_two_functions_over_the_same_arrays_share_their_state() -> None:
    _, system = fake()
    arrays = state()
    f, g = count(system, arrays), count(system, arrays)
    f(X)
    assert g(X) == 2
    f.sync_state()
    assert arrays["count"] == 2


def test_the_values_of_state_come_home_with_its_last_function() -> None:
    driver, system = fake()
    arrays = state()
    f, g = count(system, arrays), count(system, arrays)
    f(X)
    g(X)
    del f
    assert arrays["total"] == 0
    del g
    assert arrays["total"] == 22
    system.device(0).synchronize()
    assert driver.live["memory"] == 0


def test_state_can_be_loaded() -> None:
    _, system = fake()
    f = count(system)
    f(X)
    f.load_state({"total": np.array(5.0)})
    f(X)
    assert f.state["total"] == 16
    with pytest.raises(ArgumentError) as caught:
        f.load_state({"total": np.zeros(3)})
    assert str(caught.value) == (
        "count: load_state: state 'total' is float64 of shape (), got float64 of shape (3,)"
    )
    with pytest.raises(ArgumentError) as caught:
        f.load_state({"sum": np.zeros(3)})
    assert str(caught.value) == (
        "count: load_state: no state 'sum'; there is 'total', 'count', 'rate'"
    )


def test_state_can_be_device_arrays() -> None:
    _, system = fake()
    f = count(system)
    there = {name: device_array(a, f.device) for name, a in state().items()}
    g = f.attach(there)
    g(X)
    assert g.state["total"] is there["total"]
    assert float(there["total"]) == 11


def test_state_that_overlaps_other_state_is_refused() -> None:
    _, system = fake()
    total = np.zeros(())
    f, g = (
        count(system, state() | {"total": total}),
        count(system, state() | {"count": total.view(np.int64)}),
    )
    f(X)
    with pytest.raises(ArgumentError) as caught:
        g(X)
    assert str(caught.value) == (
        "state 'count' overlaps another array of state on device 0 (Fake GPU), of shape (); "
        "state on a device is shared by whole arrays only"
    )


def test_a_failed_check_leaves_state_as_it_was() -> None:
    _, system = fake()
    f = count(system)
    f(X)
    with pytest.raises(CheckFailed) as caught:
        f(-X)
    assert str(caught.value) == "count: x[0] must not be negative"
    assert f.state["total"] == 11
    assert f(X) == 2


def test_a_step_is_one_graph_launch_per_call() -> None:
    driver, system = fake()
    f = count(system)
    f(X)
    driver.log.clear()
    f(X)
    assert driver.log.count("cuGraphLaunch") == 1
    assert "cuLaunchKernel" not in driver.log
    assert "cuMemAllocAsync" not in driver.log
    assert [name for name in driver.log if name.startswith("cuMem")] == []


def test_batches_of_other_sizes_have_graphs_of_their_own() -> None:
    _, system = fake()
    f = count(system)
    for n in (1, 3, 1, 5, 3):
        f(np.ones(n, np.float32))
    assert f.state["total"] == 13


# --- bound functions -----------------------------------------------------------------------------


def test_a_bound_function_reads_its_numpy_arrays_anew() -> None:
    _, system = fake()
    x = X.copy()
    bound = blend(system).bind(2.0, x, 3)
    np.testing.assert_array_equal(bound(), 2 * X + 5)
    x[...] = 1
    assert bound() is bound.result
    np.testing.assert_array_equal(bound.result, np.full(4, 3, np.float32))


def test_a_bound_function_on_device_arrays_is_one_call_that_does_not_wait() -> None:
    driver, system = fake()
    f = adder(system)
    a, b = device_array(np.zeros(4, np.float32), f.device), device_array(X, f.device)
    bound = f.bind(a, b)
    bound()
    bound()
    driver.launched.clear()
    with system.device(0).current():
        driver.log.clear()
        bound()
        assert driver.log == ["cuCtxGetCurrent", "cuGraphLaunch"]
    assert driver.launched == []
    np.testing.assert_array_equal(a.numpy(), 3 * X)


def test_a_check_of_a_bound_function_is_reported_later_and_stops_what_follows() -> None:
    _, system = fake()
    f = count(system)
    x, calls = device_array(X, f.device), empty((), np.int64, f.device)
    bound = f.bind(x, out=calls)
    bound()
    x.copy_from(-X)
    for _ in range(3):
        bound()
    with pytest.raises(CheckFailed) as caught:
        calls.numpy()
    assert str(caught.value) == "count: x[0] must not be negative"
    assert caught.value.__notes__ == [
        "it was one of the last 4 calls, which were queued together; those after it did nothing"
    ]
    x.copy_from(X)
    bound()
    assert int(calls) == 2
    x.copy_from(-X)
    bound()
    with pytest.raises(CheckFailed):
        f.device.synchronize()
    f.device.synchronize()


def test_numbers_of_a_bound_call_do_not_overtake_the_device() -> None:
    _, system = fake()
    f = blend(system)
    x, y = device_array(X, f.device), empty(4, np.float32, f.device)
    alpha = np.array(2, np.float32)
    bound = f.bind(alpha, x, 0, out=y)
    bound()
    alpha[...] = 3
    bound()
    np.testing.assert_array_equal(y.numpy(), 3 * X + 1)


def test_times_are_the_device_s() -> None:
    _, system = fake()
    assert blend(system).time_ms(2.0, X, 3, repeat=5) == 1.5
    with pytest.raises(ArgumentError) as caught:
        blend(system).time_ms(2.0, X, 3, repeat=0)
    assert str(caught.value) == "time_ms: repeat must be at least 1, got 0"


# --- streams -------------------------------------------------------------------------------------


class TorchStream:
    def __init__(self, number: int) -> None:
        self.cuda_stream = number


class CoreStream:
    def __init__(self, number: int) -> None:
        self.number = number

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.number


def test_work_is_queued_on_the_caller_s_stream_in_the_order_of_the_program() -> None:
    driver, system = fake()
    f = adder(system)
    with f.device.current():
        one, two = (driver.cuStreamCreate(1)[1] for _ in range(2))
    a, b = device_array(np.zeros(4, np.float32), f.device), device_array(X, f.device)
    f(a, b, stream=one)
    f(a, b, stream=TorchStream(two))
    f(a, b, stream=CoreStream(one))
    f(a, b)
    np.testing.assert_array_equal(a.numpy(), 4 * X)


def test_memory_is_freed_after_its_last_use() -> None:
    driver, system = fake()
    f = blend(system)
    with f.device.current():
        stream = driver.cuStreamCreate(1)[1]
    x = device_array(X, f.device)
    y = f(np.float32(2), x, np.int64(1), stream=stream)
    assert isinstance(y, DeviceArray)
    del x
    np.testing.assert_array_equal(y.numpy(), 2 * X + 2)


def test_something_that_is_no_stream_is_refused() -> None:
    _, system = fake()
    with pytest.raises(ArgumentError) as caught:
        blend(system)(2.0, X, 1, stream="fast")
    assert str(caught.value) == (
        "stream: got a str; expected an integer, an object with __cuda_stream__ (cuda.core, "
        "CuPy), torch's with cuda_stream, or None for the default stream"
    )
