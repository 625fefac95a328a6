"""Calls of a compiled function: what they give, and how each wrong argument is refused."""

from __future__ import annotations

import copy
import ctypes
import os
import pickle
import re
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from runtime.c_example import BLEND, COUNT, function, native
from tensorc_runtime import ArgumentError, CheckFailed
from tensorc_runtime.function import _OFFSET, _SHORT_WAY, Function, _head
from tensorc_runtime.manifest import DimInfo, ParamInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

X = np.array([1, 2, 3], np.float32)


def expected(alpha: float, x: NDArray[Any], k: int) -> NDArray[Any]:
    result: NDArray[Any] = np.float32(alpha) * x + x[k]
    return result


def message(call: Callable[[], object]) -> str:
    with pytest.raises(ArgumentError) as caught:
        call()
    return str(caught.value)


def test_a_call_returns_new_outputs_as_a_tuple_and_scalars_for_those_without_dimensions(
    blend: Function,
) -> None:
    for _ in range(2):  # The second takes the short way.
        y, threads = blend(np.array(2, np.float32), X, np.array(1))
        np.testing.assert_array_equal(y, expected(2, X, 1))
        assert y.dtype == np.float32
        assert isinstance(threads, np.int32)
        assert threads == 3


def test_numbers_fit_parameters_without_dimensions(blend: Function) -> None:
    for alpha, k in ((2, 1), (2.0, 1), (np.float32(2), np.int64(1))):
        np.testing.assert_array_equal(blend(alpha, X, k)[0], expected(2, X, 1))


def test_every_size_of_a_symbolic_dimension_can_be_called(blend: Function) -> None:
    for n in (2, 3, 100_003, 2):
        x = np.arange(n, dtype=np.float32)
        np.testing.assert_array_equal(blend(0.5, x, n - 1)[0], expected(0.5, x, n - 1))


def test_the_short_way_goes_by_the_shapes_of_this_call(blend: Function) -> None:
    alpha = np.array(0.5, np.float32)
    xs = {n: np.arange(n, dtype=np.float32) for n in (2, 3, 7)}
    wrong = np.ones((2, 2), np.float32)
    for n in (2, 3, 7, 2, 3, 7, 7, 3):
        y, _ = blend(alpha, xs[n], np.array(n - 1))
        np.testing.assert_array_equal(y, expected(0.5, xs[n], n - 1))
        assert "got float32 of shape (2, 2)" in message(lambda: blend(alpha, wrong, np.array(0)))


def test_out_is_filled_and_returned_in_every_form(blend: Function) -> None:
    y, threads = np.zeros(3, np.float32), np.zeros((), np.int32)
    for out in ((y, threads), [y, threads], {"y": y, "threads": threads}):
        y[:] = 0
        got = blend(2.0, X, 1, out=out)
        assert got[0] is y
        assert got[1] is threads
        np.testing.assert_array_equal(y, expected(2, X, 1))
    only_y = blend(2.0, X, 1, out={"y": y})
    assert only_y[0] is y
    assert only_y[1] == 3


def one_output(library: Path) -> Function:
    """`count` with its state as plain arguments: one output beside what it updates."""
    params = [replace(p, state=False) for p in COUNT.params]
    return function(library, replace(COUNT, params=tuple(params)))


def test_one_output_comes_back_alone_and_updated_arguments_are_passed(library: Path) -> None:
    f = one_output(library)
    total, count = np.zeros(1), np.zeros((), np.int64)
    for i in range(1, 4):
        assert f(X, total, count) == i
    assert total[0] == 18
    assert count[()] == 3
    calls = np.zeros((), np.int64)
    for _ in range(2):
        assert f(X, total, count, out=calls) is calls
    assert calls[()] == 5


def test_a_function_without_outputs_returns_none(library: Path) -> None:
    params = [
        replace(p, state=False, role="inout" if p.role == "out" else p.role) for p in COUNT.params
    ]
    f = function(library, replace(COUNT, params=tuple(params)))
    assert f(X, np.zeros(1), np.zeros((), np.int64), np.zeros((), np.int64)) is None


def test_an_empty_array_is_an_argument_like_any_other(library: Path) -> None:
    f = one_output(library)
    total = np.zeros(1)
    for _ in range(2):
        assert f(np.zeros(0, np.float32), total, np.zeros((), np.int64)) == 1
    assert total[0] == 0


def test_the_wrong_number_of_arguments_is_refused(blend: Function) -> None:
    assert message(lambda: blend(1.0, X)) == (
        "blend: takes 3 arguments (alpha: float32[], x: float32[n], k: int64[]), got 2"
    )
    assert "got 4" in message(lambda: blend(1.0, X, 1, 1))


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (X.astype(np.float64), "float64 of shape (3,)"),
        (X.astype(">f4"), "float32 in foreign byte order of shape (3,)"),
        (X.reshape(3, 1), "float32 of shape (3, 1)"),
        (np.float32(1), "numpy.float32"),
        (
            X.astype(object),
            "object of shape (3,); an array of Python objects cannot be compiled code's input",
        ),
        ([1.0, 2.0, 3.0], "list; pass numpy.asarray of it"),
        (None, "NoneType"),
        (1.0, "float"),
        (np.ma.masked_array(X), "a masked array; fill it first"),
    ],
)
def test_an_argument_that_does_not_fit_is_named_with_what_was_expected(
    blend: Function, value: object, got: str
) -> None:
    blend(1.0, X, 1)
    assert message(lambda: blend(1.0, value, 1)) == (
        f"blend: argument 'x' (2 of 3): expected float32 of shape (n,), got {got}"
    )


def test_numbers_of_the_wrong_kind_or_out_of_range_are_refused(blend: Function) -> None:
    assert message(lambda: blend(1.0, X, 1.5)) == (
        "blend: argument 'k' (3 of 3): expected int64 of shape (), got float"
    )
    assert "got bool" in message(lambda: blend(1.0, X, True))
    assert "got complex" in message(lambda: blend(1j, X, 1))
    assert message(lambda: blend(1.0, X, 2**63)) == (
        f"blend: argument 'k' (3 of 3): {2**63} is out of range for int64"
    )
    assert message(lambda: blend(np.float64(1), X, 1)) == (
        "blend: argument 'alpha' (1 of 3): expected float32 of shape (), got float64 of shape ()"
    )


def test_a_size_below_its_lower_bound_is_refused(blend: Function) -> None:
    assert message(lambda: blend(1.0, X[:1], 0)) == (
        "blend: argument 'x' (2 of 3): size n = 1, must be at least 2"
    )


def test_sizes_that_disagree_say_which_argument_fixed_them(blend: Function) -> None:
    blend(1.0, X, 1)
    out = np.zeros(4, np.float32), np.zeros((), np.int32)
    assert message(lambda: blend(1.0, X, 1, out=out)) == (
        "blend: output 'y': expected float32 of shape (n,) with n = 3 from argument 'x' (2 of 3), "
        "got float32 of shape (4,)"
    )


def test_arrays_that_are_not_plain_memory_are_refused(library: Path, blend: Function) -> None:
    wide = np.arange(6, dtype=np.float32)
    assert message(lambda: blend(1.0, wide[::2], 1)) == (
        "blend: argument 'x' (2 of 3): must be C-contiguous, got strides (8,) for shape (3,) of "
        "float32; pass numpy.ascontiguousarray of it"
    )
    odd = np.zeros(13, np.uint8)[1:].view(np.float32)
    assert message(lambda: blend(1.0, odd, 1)) == (
        "blend: argument 'x' (2 of 3): its data must be aligned to 4 bytes; pass a copy"
    )
    fixed = np.zeros(1)
    fixed.flags.writeable = False
    f = one_output(library)
    assert message(lambda: f(X, fixed, np.zeros((), np.int64))) == (
        "count: argument 'total' (2 of 3): is written, but the array is read-only; pass a copy"
    )


def test_memory_that_is_written_may_belong_to_one_argument_only(
    library: Path, blend: Function
) -> None:
    threads = np.zeros((), np.int32)
    assert message(lambda: blend(1.0, X, 1, out=(X, threads))) == (
        "blend: output 'y' is written, and overlaps argument 'x' (2 of 3) in memory; "
        "pass a copy of one"
    )
    f = one_output(library)
    shared = np.zeros(4)
    count = np.zeros((), np.int64)
    for _ in range(2):
        f(shared[1:2].view(np.float32), shared[:1], count)  # Side by side is apart.
    refused = message(lambda: f(shared[:1].view(np.float32), shared[:1], count))
    assert refused == (
        "count: argument 'total' (2 of 3) is written, and overlaps argument 'x' (1 of 3) in "
        "memory; pass a copy of one"
    )
    calls = np.zeros((), np.int64)
    f(X, shared[:1], count, out=calls)
    assert "overlaps" in message(lambda: f(X, shared[:1], count, out=count))


def test_out_of_the_wrong_form_is_refused(blend: Function) -> None:
    y = np.zeros(3, np.float32)
    assert message(lambda: blend(1.0, X, 1, out=y)) == (
        "blend: out: expected 2 arrays (y, threads), got 1"
    )
    assert message(lambda: blend(1.0, X, 1, out={"z": y})) == (
        "blend: out: no output 'z'; there is 'y', 'threads'"
    )


def test_a_refused_call_writes_nothing_and_the_next_one_works(blend: Function) -> None:
    y, threads = np.full(3, 7, np.float32), np.zeros((), np.int32)
    message(lambda: blend(1.0, X.astype(np.float64), 1, out=(y, threads)))
    np.testing.assert_array_equal(y, 7)
    np.testing.assert_array_equal(blend(2.0, X, 1)[0], expected(2, X, 1))


def test_a_failed_check_raises_its_message_with_the_values(blend: Function) -> None:
    for _ in range(2):
        with pytest.raises(CheckFailed, match=r"^blend: index 3 must be in \[0, 3\)$"):
            blend(1.0, X, 3)
    with pytest.raises(IndexError):
        blend.bind(1.0, X, -1)()
    np.testing.assert_array_equal(blend(2.0, X, 1)[0], expected(2, X, 1))


def test_state_is_attached_once_and_updated_in_place(library: Path) -> None:
    f = function(library, COUNT)
    assert message(lambda: f(X)) == (
        "count: has no state yet: attach() 2 arguments (total: float64[1], count: int64[]) first"
    )
    total, count = np.zeros(1), np.zeros((), np.int64)
    g = f.attach({"total": total, "count": count})
    assert [int(g(X)) for _ in range(3)] == [1, 2, 3]
    assert total[0] == 18
    assert g.state["total"] is total
    other = g.attach({"total": np.zeros(1), "count": np.zeros((), np.int64)})
    assert other(X) == 1
    assert total[0] == 18


def test_state_that_does_not_fit_is_refused(library: Path) -> None:
    f = function(library, COUNT)
    count = np.zeros((), np.int64)
    assert message(lambda: f.attach({"total": np.zeros(1)})) == (
        "count: state 'count' is missing; the state is 'total', 'count'"
    )
    assert message(lambda: f.attach({"totals": np.zeros(1)})) == (
        "count: no state 'totals'; the state is 'total', 'count'"
    )
    assert message(lambda: f.attach({"total": np.zeros(2), "count": count})) == (
        "count: state 'total': expected float64 of shape (1,), got float64 of shape (2,)"
    )


def test_an_argument_inside_the_state_is_refused(library: Path) -> None:
    total = np.zeros(1)
    f = function(library, COUNT).attach({"total": total, "count": np.zeros((), np.int64)})
    f(np.zeros(2, np.float32))
    assert message(lambda: f(total.view(np.float32))) == (
        "count: state 'total' is written, and overlaps argument 'x' (1 of 1) in memory; "
        "pass a copy of one"
    )


def test_a_bound_function_reads_its_arrays_anew_at_each_call(blend: Function) -> None:
    x, y, threads = X.copy(), np.zeros(3, np.float32), np.zeros((), np.int32)
    bound = blend.bind(2.0, x, 1, out=(y, threads))
    assert bound()[0] is y
    np.testing.assert_array_equal(y, expected(2, X, 1))
    x += 1
    bound()
    np.testing.assert_array_equal(y, expected(2, X + 1, 1))


def test_a_bound_function_keeps_its_arrays_alive_and_makes_its_outputs(blend: Function) -> None:
    bound = blend.bind(2.0, np.arange(1000, dtype=np.float32), 1)
    garbage = [np.full(1000, -1, np.float32) for _ in range(10)]
    np.testing.assert_array_equal(bound()[0], expected(2, np.arange(1000, dtype=np.float32), 1))
    assert bound() is bound.result
    assert len(garbage) == 10


def test_binding_checks_its_arguments(blend: Function) -> None:
    assert "argument 'x' (2 of 3)" in message(lambda: blend.bind(1.0, X.astype(int), 1))


def test_a_bound_function_allocates_nothing(blend: Function) -> None:
    bound = blend.bind(2.0, X, 1)
    bound()
    workspace = bound._workspace.value
    tracemalloc.start()
    try:
        bound()
        before = tracemalloc.take_snapshot()
        for _ in range(100):
            bound()
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    here = [tracemalloc.Filter(False, tracemalloc.__file__)]
    grown = after.filter_traces(here).compare_to(before.filter_traces(here), "filename")
    assert sum(stat.size_diff for stat in grown if stat.traceback[0].filename != __file__) <= 0
    assert bound._workspace.value == workspace


def test_calls_one_after_the_other_share_one_workspace(blend: Function) -> None:
    x = np.zeros(100_000, np.float32)
    blend(1.0, x, 1)
    (scratch,) = blend._pool
    memory = scratch.workspace.value
    for n in (100_000, 10, 1000):
        blend(1.0, x[:n], 1)
    assert blend._pool == [scratch]
    assert scratch.workspace.value == memory


def _is_advised(at: int) -> bool:
    """Whether Linux was asked for huge pages for the memory that holds this address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= at < int(found[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()
    raise AssertionError(f"no memory at {at:#x}")


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no huge pages on this kernel"
)
def test_a_large_workspace_is_advised_to_lie_on_huge_pages(blend: Function) -> None:
    x = np.zeros(3 << 20, np.float32)  # Of which the workspace holds a copy for each thread.
    bound = blend.bind(1.0, x, 1)
    assert _is_advised((bound._workspace.value or 0) + x.nbytes)


def test_threads_that_call_at_once_do_not_share_a_workspace(blend: Function) -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).standard_normal(20_000).astype(np.float32)
        want = expected(seed, x, seed)
        wrong.extend(
            i for i in range(60) if not np.array_equal(blend(float(seed), x, seed)[0], want)
        )

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Since Python 3.12.
def test_a_forked_child_runs_on_one_thread(blend: Function) -> None:
    bound = blend.bind(1.0, X, 1)
    assert blend(1.0, X, 1)[1] == 3
    child = os.fork()
    if child == 0:
        os._exit(0 if blend(1.0, X, 1)[1] == 1 and bound()[1] == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_subclass_of_ndarray_is_taken_by_its_memory(blend: Function) -> None:
    kind = type("Tagged", (np.ndarray,), {})
    np.testing.assert_array_equal(blend(2.0, X.view(kind), 1)[0], expected(2, X, 1))


def test_a_formula_can_fix_a_size_and_is_checked(library: Path) -> None:
    manifest = replace(
        BLEND,
        params=(
            BLEND.params[0],
            ParamInfo("x", "float32", ("2 * m + 1",), "in"),
            BLEND.params[2],
            ParamInfo("y", "float32", ("2 * m + 1",), "out"),
            BLEND.params[4],
        ),
        dims=(DimInfo("m"),),
    )
    f = Function(manifest, native(library, "blend"))
    assert f(1.0, X, 0)[0].shape == (3,)
    assert message(lambda: f(1.0, X[:2], 0)) == (
        "blend: argument 'x' (2 of 3): m in its size 2 * m + 1 is not fixed by the shape of any "
        "argument"
    )


def test_bfloat16_numbers_and_arrays_are_taken(library: Path) -> None:
    params = tuple(replace(p, dtype="bfloat16") if p.name == "alpha" else p for p in BLEND.params)
    f = function(library, replace(BLEND, params=params))
    for alpha in (np.array(1, ml_dtypes.bfloat16), 1.5):
        assert f(alpha, X, 0)[0].shape == X.shape


def test_workspace_bytes_asks_the_code(blend: Function) -> None:
    assert blend.workspace_bytes(n=10) == 120
    assert message(blend.workspace_bytes) == "blend: workspace_bytes needs the size n"


def test_repr_is_the_signature(blend: Function) -> None:
    assert repr(blend) == (
        "<Function blend(alpha: float32[], x: float32[n], k: int64[]) -> "
        "y: float32[n], threads: int32[]>"
    )


def test_every_native_code_becomes_a_message(blend: Function) -> None:
    say = blend._signature.native_error
    assert str(say(5, [1, 0, 7, 8])) == (
        "blend: argument 'x' (2 of 3): wrong size of a dimension (dimension 0, got 7, expected 8)"
    )
    assert "unknown code 99" in str(say(99, [0, 0, 0, 0]))
    assert isinstance(say(10, [1, 2, 3, 0]), CheckFailed)


class Foreign:
    """An array that speaks DLPack and nothing else."""

    def __init__(self, array: NDArray[Any], device: tuple[int, int] = (1, 0)) -> None:
        self.array = array
        self.device = device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


class Old(Foreign):
    """One from before DLPack 1.0, whose capsule has no version."""

    def __dlpack__(self) -> Any:  # type: ignore[override]
        return self.array.__dlpack__()


@pytest.mark.parametrize("kind", [Foreign, Old])
def test_dlpack_tensors_are_read_and_written_in_place(blend: Function, kind: type[Foreign]) -> None:
    y, threads = np.zeros(3, np.float32), np.zeros((), np.int32)
    lent = kind(y)
    got = blend(2.0, kind(X), 1, out=(lent, threads))
    assert got[0] is lent
    np.testing.assert_array_equal(y, expected(2, X, 1))


def test_a_tensor_elsewhere_or_read_only_is_refused(blend: Function) -> None:
    assert message(lambda: blend(1.0, Foreign(X, (2, 0)), 1)) == (
        "blend: argument 'x' (2 of 3): this runtime.test_function.Foreign is on DLPack device "
        "(2, 0), not in CPU memory"
    ).replace("runtime.test_function", Foreign.__module__)
    fixed = np.zeros(3, np.float32)
    fixed.flags.writeable = False
    threads = np.zeros((), np.int32)
    assert "is written, but the array is read-only" in message(
        lambda: blend(1.0, X, 1, out=(Foreign(fixed), threads))
    )


def test_dlpack_memory_lives_as_long_as_its_view(blend: Function) -> None:
    freed: list[bool] = []

    class Owned(Foreign):
        def __del__(self) -> None:
            freed.append(True)

    bound = blend.bind(2.0, Owned(X.copy()), 1)
    assert not freed
    np.testing.assert_array_equal(bound()[0], expected(2, X, 1))
    del bound
    assert freed


def test_the_short_way_reads_what_numpy_says() -> None:
    assert _SHORT_WAY
    for array in (X, X[::-1], np.zeros((2, 3), order="F"), np.zeros(0)):
        head = _head(id(array) + _OFFSET)
        assert head.data == array.ctypes.data
        assert bool(head.flags & 1) == array.flags.c_contiguous
    assert ctypes.sizeof(ctypes.c_size_t) == ctypes.sizeof(ctypes.c_void_p)


def test_a_call_whose_out_was_given_before_takes_the_short_way(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = one_output(library)
    total, count, calls = np.zeros(1), np.zeros((), np.int64), np.zeros((), np.int64)
    assert f(X, total, count, out=calls) is calls
    monkeypatch.setattr(f._signature, "check", lambda *_: pytest.fail("all was checked again"))
    assert f(X, total, count, out=calls) is calls
    assert calls[()] == 2


def test_an_array_at_the_address_of_another_is_read_anew(library: Path) -> None:
    f = one_output(library)
    for n in range(2, 50):  # Each array takes the place of the one before.
        total = np.zeros(1)
        f(np.full(n, n, np.float32), total, np.zeros((), np.int64))
        assert total[0] == n * n


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_native_code_is_not_copied(blend: Function, how: Callable[[object], object]) -> None:
    assert message(lambda: how(blend)) == (
        "blend: a compiled function is native code of this process and cannot be copied or "
        "pickled; compile it in each process, or export it and load that"
    )
