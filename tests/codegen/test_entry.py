"""The checks at the border: each code of tensorc.h, with what it says."""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np
import pytest

from codegen.harness import Array, DLTensor, Kernel, tensor
from tensorc.codegen.llvm.entry import bind_dims
from tensorc.errors import CompileError
from tensorc.ir.parser import parse

TEXT = """
program step(A: in float32[n, 4], B: in float32[2 * n], D: out float32[n, 4]) dims(n >= 1):
  alloc T: float32[n, 4]
    for i in range(n):
      for j in range(4):
        T[i, j] = A[i, j] + B[i * 2]
    for i in range(n):
      for j in range(4):
        D[i, j] = T[i, j]
"""
KERNEL = Kernel(parse(TEXT))


def arguments(n: int = 3) -> dict[str, Array]:
    return {
        "A": np.ones((n, 4), np.float32),
        "B": np.ones(2 * n, np.float32),
        "D": np.zeros((n, 4), np.float32),
    }


def outcome(**changed: Array) -> tuple[int, list[int]]:
    arrays = arguments() | changed
    code, info = KERNEL.call([tensor(arrays[k]) for k in "ABD"], arguments())
    if code:
        assert not arrays["D"].any()
    return code, info


def test_good_arguments_run() -> None:
    assert outcome()[0] == 0


def test_a_null_argument() -> None:
    arrays = arguments()
    tensors: list[DLTensor | None] = [tensor(arrays["A"]), None, tensor(arrays["D"])]
    assert KERNEL.call(tensors, arrays) == (1, [1, -1, 0, 0])


def test_null_data_of_a_tensor_that_is_not_empty() -> None:
    arrays = arguments()
    tensors = [tensor(arrays[k]) for k in "ABD"]
    tensors[1].data = None
    assert KERNEL.call(list(tensors), arrays) == (1, [1, -1, 0, 0])


def test_a_null_shape() -> None:
    arrays = arguments()
    tensors = [tensor(arrays[k]) for k in "ABD"]
    tensors[0].shape = None
    assert KERNEL.call(list(tensors), arrays) == (1, [0, -1, 0, 0])


def test_another_device() -> None:
    arrays = arguments()
    tensors = [tensor(arrays[k]) for k in "ABD"]
    tensors[2].device_type = 2
    assert KERNEL.call(list(tensors), arrays) == (2, [2, -1, 2, 1])


def test_wrong_rank() -> None:
    assert outcome(B=np.ones((6, 1), np.float32)) == (3, [1, -1, 2, 1])


def test_wrong_dtype() -> None:
    code, (index, _, got, expected) = outcome(B=np.ones(6, np.float64))
    assert (code, index, got, expected) == (4, 1, 2 | 64 << 8 | 1 << 16, 2 | 32 << 8 | 1 << 16)


def test_wrong_static_size() -> None:
    assert outcome(A=np.ones((3, 5), np.float32)) == (5, [0, 1, 5, 4])


def test_sizes_that_disagree() -> None:
    assert outcome(B=np.ones(7, np.float32)) == (5, [1, 0, 7, 6])
    assert outcome(D=np.zeros((2, 4), np.float32)) == (5, [2, 0, 2, 3])


def test_strides_that_are_not_compact() -> None:
    assert outcome(A=np.ones((3, 8), np.float32)[:, ::2]) == (6, [0, 1, 2, 1])
    assert outcome(A=np.ones((6, 4), np.float32)[::2]) == (6, [0, 0, 8, 4])


def test_strides_of_size_one_axes_do_not_matter() -> None:
    a = np.lib.stride_tricks.as_strided(np.ones((1, 4), np.float32), (1, 4), (400, 4))
    arrays = arguments(1) | {"A": a}
    assert KERNEL.call([tensor(arrays[k]) for k in "ABD"], arguments(1))[0] == 0


def test_null_strides_are_compact() -> None:
    arrays = arguments()
    tensors = [tensor(arrays[k]) for k in "ABD"]
    for t in tensors:
        t.strides = None
    assert KERNEL.call(list(tensors), arrays)[0] == 0


def test_misaligned_data() -> None:
    raw = np.zeros(3 * 4 * 4 + 4, np.uint8)
    start = (1 - raw.ctypes.data) % 4
    a = raw[start : start + 48].view(np.float32).reshape(3, 4)
    assert outcome(A=a) == (7, [0, -1, 1, 4])


def test_an_output_over_an_input() -> None:
    shared = np.zeros((3, 4), np.float32)
    assert outcome(A=shared, D=shared) == (9, [2, 0, 0, 0])
    longer = np.zeros(21, np.float32)
    assert outcome(B=longer[10:16], D=longer[:12].reshape(3, 4)) == (9, [2, 1, 0, 0])


def test_inputs_may_overlap() -> None:
    longer = np.ones(12, np.float32)
    assert outcome(A=longer.reshape(3, 4), B=longer[:6])[0] == 0


def test_a_size_below_its_lower_bound() -> None:
    arrays = arguments(0)
    assert KERNEL.call([tensor(arrays[k]) for k in "ABD"], arrays) == (11, [0, -1, 0, 1])


@pytest.mark.parametrize(
    ("address", "size", "expected"),
    [(0, 64, (8, [-1, -1, 0, 64])), (64, 63, (8, [-1, -1, 63, 64])),
     (72, 64, (7, [-1, -1, 8, 64]))],
)  # fmt: skip
def test_a_workspace_that_does_not_fit(
    address: int, size: int, expected: tuple[int, list[int]]
) -> None:
    arrays = arguments()
    tensors = [tensor(arrays[k]) for k in "ABD"]
    pointers = (ctypes.c_void_p * 3)(*(ctypes.addressof(t) for t in tensors))
    info = (ctypes.c_int64 * 4)()
    assert (KERNEL.entry(pointers, address, size, 1, info), list(info)) == expected
    assert KERNEL.entry(pointers, address, size, 1, None) == expected[0]


def test_null_argument_table() -> None:
    assert KERNEL.entry(None, 0, 0, 1, None) == 1


def test_byte_offset_moves_the_data() -> None:
    arrays = arguments()
    longer = np.arange(13, dtype=np.float32)
    tensors = [tensor(arrays[k]) for k in "ABD"]
    tensors[0].data = longer.ctypes.data
    tensors[0].byte_offset = 4
    assert KERNEL.call(list(tensors), arrays)[0] == 0
    np.testing.assert_array_equal(arrays["D"], longer[1:].reshape(3, 4) + 1)


@pytest.mark.parametrize(
    ("name", "numpy"), [("bool", np.bool_), ("bfloat16", ml_dtypes.bfloat16), ("uint8", np.uint8)]
)
def test_every_kind_of_dtype_has_its_code(name: str, numpy: type) -> None:
    kernel = Kernel(
        parse(f"""
program copy(A: in {name}[4], B: out {name}[4]):
  for i in range(4):
    B[i] = A[i]
""")
    )
    a: Array = np.array([0, 1, 1, 0]).astype(numpy)
    np.testing.assert_array_equal(kernel.run(A=a)["B"], a)
    assert kernel({"A": a.astype(np.int8), "B": a})[0] == 4


def test_a_failed_check_ends_the_call_and_shows_its_values() -> None:
    kernel = Kernel(
        parse("""
program take(I: in int64[n], J: in int32[n], B: out float32[n]) dims(n >= 0):
  for i in range(n):
    check I[i] >= 0 and I[i] < 10, "index {0}", (I[i])
  for i in range(n):
    check J[i] < int32(5), "second {0} at {1}", (J[i], i)
  for i in range(n):
    B[i] = 1.0
""")
    )
    good: dict[str, Array] = {
        "I": np.arange(3),
        "J": np.zeros(3, np.int32),
        "B": np.zeros(3, np.float32),
    }
    assert kernel(good)[0] == 0
    bad = good | {"I": np.array([0, 11, 12]), "B": np.zeros(3, np.float32)}
    code, info = kernel(bad)
    assert (code, info[:2]) == (10, [0, 11])
    assert not bad["B"].any()
    code, info = kernel(good | {"J": np.array([0, 0, 7], np.int32)})
    assert (code, info[:3]) == (10, [1, 7, 2])


def test_a_size_that_no_argument_has_is_refused() -> None:
    with pytest.raises(CompileError, match="no argument has an axis of size n"):
        bind_dims(
            parse("""
program f(A: out float32[n + 1]) dims(n >= 0):
  A[0] = 1.0
""")
        )
