"""Products of large operands by blocks of their sum: when, in which loops, and that it is right."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tensorc as tc
from tensorc.schedule.auto import auto_schedule
from tensorc.target import Target
from tensorc.te.build import build

X86 = Target(cpu="haswell", features="+avx2,+avx,+fma", triple="x86_64-unknown-linux-gnu")


def product(form: str, m: int, k: int, n: int) -> tuple[tc.Tensor, tc.Tensor, tc.Tensor]:
    a = tc.placeholder((k, m) if form == "TN" else (m, k), name="A")
    b = tc.placeholder((n, k) if form == "NT" else (k, n), name="B")
    left = tc.ops.transpose(a) if form == "TN" else a
    right = tc.ops.transpose(b) if form == "NT" else b
    return a, b, tc.ops.matmul(left, right)


def loops(result: tc.Tensor, inputs: list[tc.Tensor]) -> str:
    return str(auto_schedule(build([result], inputs), X86))


def test_operands_are_packed_for_the_caches_and_tiles_add_at_their_end() -> None:
    a, b, result = product("NN", 2048, 2048, 2048)
    text = loops(result, [a, b])
    kept = [
        r"for k\.outer in range\(6\)",
        r"alloc A\.local: float32\[342, 342, 6\]",
        r"for A\.in0 in parallel\(342\)",
        r"for i1\.outer\.outer in parallel\(8\)",
        r"alloc B\.local: float32\[16, 342, 16\]",
        r"for i0\.outer\.inner in range\(342\) \{prefetch_next: 1\}",
        r"for i1\.outer\.inner in range\(16\) \{prefetch_tile: 0\}",
        r"matmul\.local\[.*\] = 0\.0",
        r"for k\.inner in range\(342\)",
        r"matmul\[.*\] \+= matmul\.local\[",
    ]
    found = [re.search(x, text) for x in kept]
    assert [x for x, m in zip(kept, found, strict=True) if m is None] == []
    places = [m.start() for m in found if m is not None]
    assert places == sorted(places), "one inside of the other, in this order"


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(1536, 1536, 1536), (128, 4096, 4096), (4096, 4096, 300)],
    ids=["small", "few rows", "few columns"],
)
def test_other_products_sum_at_once(m: int, k: int, n: int) -> None:
    a, b, result = product("NN", m, k, n)
    assert "k.outer" not in loops(result, [a, b])


def test_a_sum_that_does_not_divide_runs_on_over_zeros() -> None:
    a, b, result = product("NN", 2048, 2001, 2048)
    f = tc.compile(result, inputs=[a, b], threads=1)
    text = str(f.inspect("lowered"))
    assert "for k.inner in range(502)" in text
    assert not re.search(r"if .*k\.inner", text), "no step asks whether it is beyond the sum"


def test_panels_of_columns_do_not_meet_in_the_sets_of_the_nearest_cache() -> None:
    a, b, result = product("NN", 2048, 4096, 2048)
    text = loops(result, [a, b])
    assert "B.local: float32[16, 342, 16]" in text, "512 steps of 64 bytes are 32 KiB"


def test_what_uses_a_result_of_few_steps_stays_in_its_tiles() -> None:
    a, b, result = product("NN", 3072, 1024, 3072)
    assert "k.outer" in loops(result, [a, b])
    assert "k.outer" not in loops(tc.ops.maximum(result, 0.0), [a, b])


@pytest.mark.parametrize(
    ("form", "threads"), [("NN", 1), ("NT", 2), ("TN", 2)], ids=["A B", "A B^T", "A^T B"]
)
def test_ragged_results_are_right_and_the_same_each_time(form: str, threads: int) -> None:
    m, k, n = 1709, 1708, 1717
    a, b, result = product(form, m, k, n)
    f = tc.compile(result, inputs=[a, b], threads=threads)
    assert "fold=True" in str(f.inspect("trace"))
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-4, 5, (p, q)).astype(np.float32) for p, q in ((m, k), (k, n)))
    turned = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)
    given = (turned[0] if form == "TN" else x, turned[1] if form == "NT" else y)
    got = f(*given)
    assert np.array_equal(got, x @ y), "whole numbers below 2^24: any order gives one sum"
    halves = [v * np.float32(0.1) for v in given]
    assert np.array_equal(f(*halves), f(*halves))
