"""Products on tensor cores by rule: numbers, races, memory, instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from codegen.cuda.programs import emitted
from tensorc import ops
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.driver.cuda.function import CudaCompiledFunction
from tensorc.schedule.auto import auto_schedule
from tensorc.target import Target
from tensorc.te.build import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor

    Layer = Callable[[Tensor, Tensor], Tensor]

PRODUCTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], str]] = {
    "whole tiles": ((64, 96), (96, 64), "ik,kj->ij"),
    "ragged tiles": ((37, 52), (52, 70), "ik,kj->ij"),
    "rows of odd length": ((33, 35), (35, 17), "ik,kj->ij"),
    "the first transposed": ((64, 32), (64, 64), "ki,kj->ij"),
    "the second transposed": ((32, 64), (48, 64), "ik,jk->ij"),
    "a batch": ((2, 32, 40), (2, 40, 24), "bik,bkj->bij"),
    "parts of a long sum": ((32, 2048), (2048, 16), "ik,kj->ij"),
}


def compiled(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], make: Layer, dtype: str
) -> CudaCompiledFunction:
    inputs = [tc.placeholder(s, dtype, name=n) for s, n in zip(shapes, "AB", strict=True)]
    # One multiprocessor gets the tiles of a large product; several split a long sum.
    sms = 8 if max(shapes[0]) > 1000 else 1
    f = tc.compile([make(*inputs)], inputs=inputs, target=Target("cuda-emu", sms=sms))
    assert isinstance(f, CudaCompiledFunction)
    return f


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_right_in_each_order_of_threads(name: str) -> None:
    """Of integers below 8, whose sums are exact in float32: only the last rounding is left."""
    *shapes, spec = PRODUCTS[name]
    f = compiled((shapes[0], shapes[1]), lambda a, b: ops.einsum(spec, a, b), "bfloat16")
    assert "mma_m16n8k16_bf16(" in f.source
    rng = np.random.default_rng(0)
    wide = [rng.integers(-7, 8, s).astype(np.float64) for s in (shapes[0], shapes[1])]
    given = [a.astype(tc.bfloat16.numpy) for a in wide]
    want = np.einsum(spec, *wide).astype(np.float32).astype(tc.bfloat16.numpy)
    np.testing.assert_array_equal(f(*given), want)
    report = f.check(*given)
    assert report.ok, str(report)


def test_what_follows_a_product_is_computed_from_its_fragments() -> None:
    """float32 parameters and results around float16 operands, as mixed precision has them."""

    def layer(a: Tensor, b: Tensor) -> Tensor:
        half = a.astype("float16"), b.astype("float16")
        return ops.gelu(ops.matmul(*half).astype("float32") * 0.5)

    f = compiled(((64, 32), (32, 64)), layer, "float32")
    assert "mma_m16n8k16_f16(" in f.source
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((64, 32), (32, 64)))
    product = (
        a.astype(np.float16).astype(np.float64) @ b.astype(np.float16).astype(np.float64)
    ) / 2
    gelu = tc.compile(ops.gelu(tc.placeholder((64, 64), "float64", name="p")))
    bound = 2.0**-11 * np.max(np.abs(product)) * 1.2  # Of the rounding to float16; gelu' < 1.2.
    assert np.max(np.abs(f(a, b) - gelu(product))) <= bound
    assert f.check(a, b).ok


@pytest.mark.parametrize("spec", ["ik,kj->ij", "ki,kj->ij", "ik,jk->ij"])
def test_shared_memory_is_accessed_without_conflicts(spec: str) -> None:
    f = compiled(((128, 128), (128, 128)), lambda a, b: ops.einsum(spec, a, b), "bfloat16")
    ones = np.ones((128, 128), tc.bfloat16.numpy)
    profile = f.profile_memory(ones, ones)
    assert profile.ratio("shared") == 1.0
    loads = [x for x in profile.accesses if x.space == "global" and not x.is_write]
    assert loads
    assert all(x.transactions == x.ideal for x in loads)


@pytest.mark.parametrize("spec", ["ik,kj->ij", "ki,kj->ij", "ik,jk->ij"])
def test_float32_is_rounded_to_tf32_where_the_target_says_so(spec: str) -> None:
    """Of integers below 2**10, which tf32 holds: results are exact; others are rounded."""
    inputs = [tc.placeholder((64, 64), name=n) for n in "AB"]
    made = ops.einsum(spec, *inputs)
    target = Target("cuda-emu", sms=1, precision="tf32")
    f = tc.compile([made], inputs=inputs, target=target)
    assert isinstance(f, CudaCompiledFunction)
    assert "mma_m16n8k8_tf32(" in f.source
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-99, 100, (64, 64)).astype(np.float32) for _ in "AB")
    np.testing.assert_array_equal(f(a, b), np.einsum(spec, a, b))
    assert f.check(a, b).ok
    profile = f.profile_memory(a, b)
    assert (profile.ratio("shared"), profile.ratio("global")) == (1.0, 1.0)
    fine = (a + 2.0**-10).astype(np.float32)
    assert np.max(np.abs(f(fine, b) - np.einsum(spec, fine, b))) > 0, "10 bits of fraction"
    assert "mma" not in tc.compile([made], inputs=inputs, target="cuda-emu").source


GROUPED = {"whole tiles": (256, 128, 128), "ragged tiles": (200, 136, 144)}


@pytest.mark.parametrize("name", GROUPED)
def test_warp_groups_multiply_boxes_that_the_copy_engine_fetches(name: str) -> None:
    m, k, n = GROUPED[name]
    a, b, bias = (
        tc.placeholder(s, "bfloat16", name=x)
        for s, x in (((m, k), "A"), ((n, k), "B"), ((n,), "bias"))
    )
    layer = ops.relu(ops.matmul(a, ops.transpose(b)) + bias)
    target = Target("cuda-emu", arch="sm_90a", sms=2)
    f = tc.compile([layer], inputs=[a, b, bias], target=target)
    assert isinstance(f, CudaCompiledFunction)
    assert "wgmma_m64n128k16_bf16(" in f.source
    assert "tma_load_2d(" in f.source
    rng = np.random.default_rng(0)
    wide = [rng.integers(-3, 4, s).astype(np.float64) for s in ((m, k), (n, k), (n,))]
    given = [x.astype(tc.bfloat16.numpy) for x in wide]
    narrow = tc.bfloat16.numpy
    product = (wide[0] @ wide[1].T).astype(np.float32).astype(narrow).astype(np.float64)
    want = np.maximum((product + wide[2]).astype(np.float32).astype(narrow), 0)
    np.testing.assert_array_equal(f(*given), want)
    report = f.check(*given)
    assert report.ok, str(report)


LAYOUTS: dict[str, tuple[str, dict[str, int], str]] = {
    "A B": ("ik,kj->ij", {"i": 200, "j": 136, "k": 144}, "<64, 0, 1>"),
    "A^T B": ("ki,kj->ij", {"i": 128, "j": 264, "k": 72}, "<64, 1, 1>"),
    "A^T B^T": ("ki,jk->ij", {"i": 136, "j": 256, "k": 64}, "<64, 1, 0>"),
    "a batch": ("bik,bkj->bij", {"b": 2, "i": 128, "j": 136, "k": 128}, "<64, 0, 1>"),
    "a batch in the middle": ("ibk,kbj->bij", {"b": 2, "i": 128, "j": 136, "k": 64}, "<64, 0, 1>"),
    "two sums": ("iak,akj->ij", {"a": 2, "i": 128, "j": 128, "k": 72}, "<64, 0, 1>"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_warp_groups_multiply_operands_that_lie_either_way_round(name: str) -> None:
    spec, sizes, flags = LAYOUTS[name]
    one, other, _ = spec.replace("->", ",").split(",")
    shapes = [tuple(sizes[c] for c in letters) for letters in (one, other)]
    a, b = (tc.placeholder(s, "bfloat16", name=n) for s, n in zip(shapes, "AB", strict=True))
    target = Target("cuda-emu", arch="sm_90a", sms=2)
    f = tc.compile([ops.einsum(spec, a, b)], inputs=[a, b], target=target)
    assert isinstance(f, CudaCompiledFunction)
    assert f"k16_bf16{flags}" in f.source.replace("<32, ", "<64, ")
    rng = np.random.default_rng(0)
    wide = [rng.integers(-3, 4, s).astype(np.float64) for s in shapes]
    given = [x.astype(tc.bfloat16.numpy) for x in wide]
    want = np.einsum(spec, *wide).astype(np.float32).astype(tc.bfloat16.numpy)
    np.testing.assert_array_equal(f(*given), want)
    report = f.check(*given)
    assert report.ok, str(report)


def test_a_weight_is_updated_where_warp_groups_have_its_gradient() -> None:
    """A^T B, of which a step of SGD is taken at once."""
    x, g = (tc.placeholder((96, n), "bfloat16", name=m) for n, m in ((136, "x"), (128, "g")))
    w = tc.placeholder((136, 128), name="w")
    gradient = ops.matmul(ops.transpose(x), g).astype("float32")
    target = Target("cuda-emu", arch="sm_90a", sms=2)
    f = tc.compile([w - 0.5 * gradient], inputs=[x, g, w], target=target)
    assert isinstance(f, CudaCompiledFunction)
    assert "wgmma_m64n128k16_bf16<32, 1, 1>" in f.source
    assert f.source.count("__global__") == 1
    rng = np.random.default_rng(0)
    wide = [rng.integers(-3, 4, s).astype(np.float64) for s in ((96, 136), (96, 128), (136, 128))]
    given = [v.astype(t) for v, t in zip(wide, [tc.bfloat16.numpy] * 2 + [np.float32], strict=True)]
    gradients = (wide[0].T @ wide[1]).astype(tc.bfloat16.numpy).astype(np.float64)
    np.testing.assert_array_equal(f(*given), wide[2] - 0.5 * gradients)
    assert f.check(*given).ok


@pytest.mark.parametrize("spec", ["ik,jk->ij", "ki,kj->ij"])
def test_machine_code_of_a_large_layer_for_warp_groups(spec: str) -> None:
    a, b = (tc.placeholder((4096, 4096), "bfloat16", name=n) for n in "AB")
    s = auto_schedule(build([ops.einsum(spec, a, b)]), Target("cuda", arch="sm_90a"))
    binary = compile_cuda(emitted(s.program, "sm_90a").source, "sm_90a")
    (taken,) = binary.resources.values()
    assert (taken.spill_stores, taken.spill_loads) == (0, 0)
    assert "C75" not in binary.log
    (mix,) = instruction_mix(disassemble(binary.cubin)).values()
    assert mix["HGMMA"] == 4, "64 steps of the sum, 16 at a time"
    assert mix["UTMALDG"] >= 2
    assert mix["HMMA"] == mix["LDL"] == mix["STL"] == 0


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        (((4096, 512), (512, 4096, 8), "ik,kjb->bij"), "neither side of B lies along its rows"),
        (((4096, 4100), (4096, 4100), "ik,jk->ij"), "rows are not on 16 bytes"),
        (((256, 4096), (256, 4096), "ik,jk->ij"), "few tiles for many multiprocessors"),
    ],
)
def test_other_products_are_left_to_warps(
    shapes: tuple[tuple[int, ...], tuple[int, ...], str], why: str
) -> None:
    *sizes, spec = shapes
    a, b = (tc.placeholder(x, "bfloat16", name=n) for x, n in zip(sizes, "AB", strict=True))
    s = auto_schedule(build([ops.einsum(str(spec), a, b)]), Target("cuda", arch="sm_90a"))
    assert "wgmma" not in str(s), why
    assert "mma.m16n8k16" in str(s)


@pytest.mark.parametrize("arch", ["sm_80", "sm_86", "sm_89", "sm_90"])
def test_machine_code_of_a_large_layer(arch: str) -> None:
    a, b = (tc.placeholder((4096, 4096), "bfloat16", name=n) for n in "AB")
    bias = tc.placeholder((4096,), "bfloat16", name="bias")
    s = auto_schedule(build([ops.relu(a @ b + bias)]), Target("cuda", arch=arch))
    binary = compile_cuda(emitted(s.program, arch).source, arch)
    ((kernel, taken),) = binary.resources.items()
    assert (taken.spill_stores, taken.spill_loads) == (0, 0), kernel
    assert taken.registers <= 128, "two blocks of 256 threads on a multiprocessor"
    (mix,) = instruction_mix(disassemble(binary.cubin)).values()
    assert mix["HMMA"] >= 32, "64 x 32 x 32 of a warp, 16 x 8 x 16 at a time"
    assert mix["LDSM"] <= 16
    assert mix["LDGSTS"] >= 8, "four of a step, and those before the loop"
    assert mix["LDL"] == mix["STL"] == 0
