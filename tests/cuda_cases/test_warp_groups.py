"""Products of float32 by warp groups, in tf32: operands stored anew, numbers, refusals, code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from codegen.cuda.harness import ORDERS, Emulated
from codegen.cuda.programs import emitted
from codegen.cuda.test_boxes import complaints
from tensorc import ops
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.driver.cuda.function import CudaCompiledFunction
from tensorc.errors import CompileError
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.auto.cuda import warp_groups
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.schedule import Schedule
from tensorc.target import Target
from tensorc.te.build import build

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor

ARCH = "sm_90a"


def shapes_of(spec: str, sizes: dict[str, int]) -> list[tuple[int, ...]]:
    return [tuple(sizes[c] for c in x) for x in spec.replace("->", ",").split(",")[:2]]


def operands(spec: str, **sizes: int) -> list[Tensor]:
    shapes = shapes_of(spec, sizes)
    return [tc.placeholder(s, name=n) for s, n in zip(shapes, "AB", strict=True)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products are as large ones: what they store anew pays."""
    monkeypatch.setattr(warp_groups, "PACKED", 1)


LAYOUTS = {
    "A B": ("ik,kj->ij", {"i": 200, "j": 136, "k": 100}),
    "A^T B": ("ki,kj->ij", {"i": 129, "j": 131, "k": 64}),
    "A B^T": ("ik,jk->ij", {"i": 128, "j": 256, "k": 36}),
    "a batch": ("bik,bkj->bij", {"b": 2, "i": 128, "j": 130, "k": 32}),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", LAYOUTS)
def test_float32_is_multiplied_by_warp_groups_in_tf32(name: str) -> None:
    """Of integers below 2**10, which tf32 holds: results are exact; others are rounded."""
    spec, sizes = LAYOUTS[name]
    inputs = operands(spec, **sizes)
    target = Target("cuda-emu", arch=ARCH, sms=2, precision="tf32")
    f = tc.compile([ops.einsum(spec, *inputs)], inputs=inputs, target=target)
    assert isinstance(f, CudaCompiledFunction)
    assert "k8_tf32<" in f.source.split("__global__", 3)[-1]
    rng = np.random.default_rng(0)
    shapes = shapes_of(spec, sizes)
    given = [rng.integers(-99, 100, x).astype(np.float32) for x in shapes]
    np.testing.assert_array_equal(f(*given), np.einsum(spec, *given))
    report = f.check(*given)
    assert report.ok, str(report)


@pytest.mark.usefixtures("small")
def test_operands_are_rounded_to_the_nearest_number_of_tf32() -> None:
    inputs = operands("ik,jk->ij", i=128, j=128, k=32)
    rounded = [tc.tf32(x) for x in inputs]
    layer = ops.einsum("ik,jk->ij", *rounded)
    f = tc.compile([layer], inputs=inputs, target=Target("cuda-emu", arch=ARCH, sms=1))
    assert isinstance(f, CudaCompiledFunction)
    rng = np.random.default_rng(0)
    given = [rng.standard_normal((128, 32)).astype(np.float32) for _ in "AB"]
    bits = [(x.view(np.uint32) + 0x1000) & 0xFFFFE000 for x in given]
    near = [x.astype(np.uint32).view(np.float32).astype(np.float64) for x in bits]
    exact, bound = near[0] @ near[1].T, 32 * 2.0**-24 * (np.abs(near[0]) @ np.abs(near[1].T))
    assert np.all(np.abs(f(*given) - exact) <= bound)


def test_a_block_goes_through_several_tiles_and_its_ring_goes_on() -> None:
    """The product of 400x144 and 144x256: four tiles, of which a block has two."""
    shapes = (400, 144), (144, 256)
    inputs = [tc.placeholder(x, "bfloat16", name=n) for x, n in zip(shapes, "AB", strict=True)]
    s = auto_schedule(build([ops.matmul(*inputs)]), Target("cuda", arch=ARCH, sms=2))
    emulated = Emulated(s.program, ARCH)
    (launch,) = emulated.module.plan.launches
    assert launch.grid == (2, 1, 1)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, x).astype(np.float64) for x in shapes)
    narrow = tc.bfloat16.numpy
    arrays = {"A": a.astype(narrow), "B": b.astype(narrow), "matmul": np.zeros((400, 256), narrow)}
    want = (a @ b).astype(np.float32).astype(narrow)
    for options in ORDERS:
        run = emulated.run(arrays, options)
        assert not run.findings, [str(f) for f in run.findings]
        np.testing.assert_array_equal(run.results["matmul"], want)
    (placed,) = emulated.module.barriers.values()
    assert len(placed) == 12
    source = emulated.module.source.split("__global__")[1]
    assert "copy4(&matmul_local[(i1 * 8 + lane % 4 * 2) / 64]" in source, "pairs within a panel"
    between = ("_wait<0>", "_arrive_warp", "before it is written again", "__syncthreads()\n  ")
    for number, what in enumerate(placed):
        if any(x in str(what) for x in between):
            assert complaints(Emulated(s.program, ARCH, drop=number), arrays), what


def test_small_products_do_not_store_their_operands_anew() -> None:
    inputs = operands("ik,jk->ij", i=1024, j=1024, k=1024)
    target = Target("cuda", arch=ARCH, precision="tf32")
    assert "mma.m16n8k8.tf32" in str(
        auto_schedule(build([ops.einsum("ik,jk->ij", *inputs)]), target)
    )


def unpacked(spec: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why a product of operands that are not stored anew is refused."""
    monkeypatch.setattr(warp_groups, "_packed", lambda *given: given[-1])
    target = Target("cuda", arch=ARCH, sms=1, precision="tf32")
    s = Schedule(build([ops.einsum(spec, *operands(spec, i=128, j=128, k=64))]))
    product = product_of(s, "einsum")
    assert product is not None
    warp_groups.group_product(s, "einsum", product, 128, target)
    with pytest.raises(CompileError) as caught:
        emitted(s.program, ARCH)
    return str(caught.value)


def test_numbers_that_may_have_more_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpacked("ik,jk->ij", monkeypatch) == (
        "wgmma.m64n128k8.tf32: A.local, float32[2, 128, 32] shared: tensor cores drop bits that "
        "tf32 rounds, and its numbers may have them; pack(..., precision='tf32') stores them "
        "rounded"
    )


def test_rows_across_the_sum_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpacked("ki,jk->ij", monkeypatch) == (
        "wgmma.m64n128k8.tf32: A.local, float32[2, 4, 32, 32] shared: tensor cores read operands "
        "of tf32 along the sum alone, and here it is across the rows; pack(..., order=...) stores "
        "it the other way round"
    )


def test_machine_code_of_a_large_product_of_float32() -> None:
    inputs = operands("ik,kj->ij", i=4096, j=4096, k=4096)
    s = auto_schedule(
        build([ops.einsum("ik,kj->ij", *inputs)]), Target("cuda", arch=ARCH, precision="tf32")
    )
    binary = compile_cuda(emitted(s.program, ARCH).source, ARCH)
    assert "C75" not in binary.log
    assert all(r.spill_stores == r.spill_loads == 0 for r in binary.resources.values())
    mixes = instruction_mix(disassemble(binary.cubin))
    (mix,) = (m for m in mixes.values() if m["HGMMA"])
    assert (mix["HGMMA"], mix["UTMALDG"], mix["HMMA"]) == (4, 4, 0), "32 steps of the sum"
    assert len(mixes) == 3, "both operands are stored anew"
