"""On a device of sm_90: boxes, warp groups and roles give what they give in the emulator."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc as tc
from benchmarks.gpu.hopper import ARCH, product_schedule
from codegen.cuda.hopper_programs import ring
from tensorc.driver.cuda.function import CudaCompiledFunction
from tensorc.dtypes import bfloat16
from tensorc.ir.parser import parse

REASON = tc.cuda.why_not_available()
OTHER = REASON or (None if tc.cuda.device(0).arch == "sm_90" else "it is no sm_90")
pytestmark = pytest.mark.skipif(OTHER is not None, reason=f"no such device: {OTHER}")


@pytest.mark.parametrize("swizzle", ["", " swizzle(128)"])
@pytest.mark.parametrize("roles", [False, True])
def test_boxes_arrive_where_the_emulator_has_them(swizzle: str, roles: bool) -> None:
    a = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    want = a.reshape(8, 16, 4, 32).transpose(0, 2, 3, 1)
    f = tc.compile(
        parse(ring(3, swizzle=swizzle, roles=roles)), target=tc.Target("cuda", arch=ARCH)
    )
    np.testing.assert_array_equal(f(a), want)


@pytest.mark.parametrize("columns", [64, 128, 256])
@pytest.mark.parametrize("roles", [False, True])
def test_warp_groups_give_the_product(columns: int, roles: bool) -> None:
    size = 1024
    a, b = (tc.placeholder((size, size), "bfloat16", name=name) for name in "AB")
    s = product_schedule(a, b, columns=columns, roles=roles)
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((size, size)).astype(bfloat16.numpy) for _ in "AB")
    got = np.asarray(tc.compile(s, target=tc.Target("cuda", arch=ARCH))(x, y), np.float64)
    wide, other = x.astype(np.float64), y.astype(np.float64).T
    exact, bound = wide @ other, size * 2.0**-24 * (np.abs(wide) @ np.abs(other))
    assert np.all(np.abs(got - exact) <= bound + 2.0**-8 * np.abs(exact))


@pytest.mark.parametrize("spec", ["ik,kj->ij", "ki,kj->ij", "ki,jk->ij", "ik,jk->ij"])
@pytest.mark.parametrize("sizes", [(2048, 2048, 512), (2000, 1928, 520)])
def test_products_by_rule_are_right_in_every_layout(spec: str, sizes: tuple[int, int, int]) -> None:
    """Panels, tiles one after the other, boxes stored from shared memory; ragged edges."""
    extents = dict(zip("ijk", sizes, strict=True))
    shapes = [tuple(extents[c] for c in x) for x in spec.split("->")[0].split(",")]
    inputs = [tc.placeholder(s, "bfloat16", name=n) for s, n in zip(shapes, "AB", strict=True)]
    target = tc.Target("cuda", arch=ARCH)
    f = tc.compile([tc.ops.einsum(spec, *inputs)], inputs=inputs, target=target)
    assert isinstance(f, CudaCompiledFunction)
    assert "wgmma" in f.source
    rng = np.random.default_rng(0)
    wide = [rng.integers(-3, 4, s).astype(np.float64) for s in shapes]
    want = np.einsum(spec, *wide).astype(np.float32).astype(bfloat16.numpy)
    np.testing.assert_array_equal(f(*(x.astype(bfloat16.numpy) for x in wide)), want)


def test_products_of_float32_in_tf32_are_right() -> None:
    inputs = [tc.placeholder((2048, 2048), name=n) for n in "AB"]
    target = tc.Target("cuda", arch=ARCH, precision="tf32")
    f = tc.compile([tc.ops.matmul(*inputs)], inputs=inputs, target=target)
    assert isinstance(f, CudaCompiledFunction)
    assert "wgmma" in f.source
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-63, 64, (2048, 2048)).astype(np.float32) for _ in "AB")
    np.testing.assert_array_equal(f(a, b), a.astype(np.float64) @ b)
