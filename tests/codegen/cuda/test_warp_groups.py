"""wgmma: products of warp groups, from operands as the copy engine leaves them in shared memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, Emulated
from codegen.cuda.hopper_programs import product
from codegen.cuda.programs import emitted
from codegen.cuda.test_boxes import complaints, refusal
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.dtypes import as_dtype
from tensorc.ir import interp
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.intrinsics import builtin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codegen.harness import Array
    from tensorc.emulator import LaunchOptions

ARCH = "sm_90a"


def operands(
    m: int = 64, n: int = 64, k: int = 64, dtype: str = "bfloat16"
) -> tuple[Array, Array, dict[str, Array]]:
    """A, m x k, and B, k x n; the arrays of a program that has both with k along the rows."""
    rng = np.random.default_rng(0)
    kind = as_dtype(dtype).numpy
    a, b = rng.standard_normal((m, k)).astype(kind), rng.standard_normal((k, n)).astype(kind)
    return a, b, {"A": a, "B": np.ascontiguousarray(b.T), "C": np.zeros((m, n), np.float32)}


def assert_product(
    emulated: Emulated,
    a: Array,
    b: Array,
    arrays: dict[str, Array],
    orders: Sequence[LaunchOptions] = ORDERS,
) -> None:
    """The result is that of the operands in float64, within the bound of sums in any order."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    bound = x.shape[1] * 2.0**-24 * (np.abs(x) @ np.abs(y))
    for options in orders:
        run = emulated.run(arrays, options)
        assert not run.findings, [str(f) for f in run.findings]
        assert np.all(np.abs(run.results["C"] - x @ y) <= bound)


@pytest.mark.parametrize(("n", "dtype"), [(8, "float16"), (96, "bfloat16"), (256, "bfloat16")])
def test_a_product_of_every_width(n: int, dtype: str) -> None:
    a, b, arrays = operands(64, n, 64, dtype)
    emulated = Emulated(product(n=n, dtype=dtype), ARCH)
    assert_product(emulated, a, b, arrays, ORDERS[:1])
    kind = "bf16" if dtype == "bfloat16" else "f16"
    assert f"wgmma_m64n{n}k16_{kind}<{n // 4}, 0, 0>(" in emulated.module.source


@pytest.mark.parametrize("m_rows", [False, True])
@pytest.mark.parametrize("n_rows", [False, True])
@pytest.mark.parametrize("n", [32, 64])
def test_a_product_in_every_layout_of_its_operands(m_rows: bool, n_rows: bool, n: int) -> None:
    a, b, arrays = operands(64, n)
    arrays["A"] = np.ascontiguousarray(a.T) if m_rows else a
    arrays["B"] = b if n_rows else arrays["B"]
    emulated = Emulated(product(n=n, m_rows=m_rows, n_rows=n_rows), ARCH)
    assert_product(emulated, a, b, arrays)
    flags = f"<{n // 4}, {int(m_rows)}, {int(n_rows)}>"
    assert f"wgmma_m64n{n}k16_bf16{flags}(" in emulated.module.source


def in_panels(panel: str = "C // 64", inside: str = "C % 64") -> str:
    """The product of 64x64 and 64x128, whose columns lie in two panels."""
    text = product(n=128, n_rows=True)
    text = text.replace("Bs: bfloat16[64, 128]", "Bs: bfloat16[2, 64, 64]")
    text = text.replace(
        """          for r in range(64) {async: "tma"}:
            for c in range(128):
              Bs[r, c] = B[k*64 + r, c]
""",
        """          for q in range(2) {async: "tma"}:
            for r in range(64):
              for c in range(64):
                Bs[q, r, c] = B[k*64 + r, q*64 + c]
""",
    )
    column = "(j*8 + lane % 4 * 2 + c)"
    at = f"Bs[{panel}, kk*16 + s, {inside}]".replace("C", column)
    return text.replace("Bs[kk*16 + s, j*8 + lane % 4 * 2 + c]", at)


def test_columns_may_lie_in_panels() -> None:
    a, b, arrays = operands(64, 128)
    emulated = Emulated(in_panels(), ARCH)
    assert_product(emulated, a, b, arrays | {"B": b})
    assert "descriptor<128, 8192>(&Bs[0][kk * 16][0])" in emulated.module.source
    assert emulated.module.source.count("mbarrier_expect(&As_full[0], 16384);") == 1
    assert [m.box for m in emulated.module.plan.maps] == [(64, 64), (64, 64)]


def test_columns_in_other_panels_are_refused() -> None:
    assert refusal(in_panels("C % 2", "C // 2")) == (
        "wgmma.m64n128k16.bf16: Bs, bfloat16[2, 64, 64] shared: its 128 rows or columns are not in "
        "panels of 64, one whole panel after the other; cache_read(..., panel=64) puts them there"
    )


@pytest.mark.parametrize("roles", [False, True])
def test_two_warp_groups_share_a_ring(roles: bool) -> None:
    a, b, arrays = operands(128, 64, 256)
    assert_product(Emulated(product(64, 256, 2, 3, roles=roles), ARCH), a, b, arrays)


def stored(hint: str) -> str:
    """The product of one warp group whose operands are stored by threads, not by boxes."""
    text = product()
    head, rest = text.split('          for r in range(64) {async: "tma"}:\n', 1)
    _, rest = rest.split("Bs[r, c] = B[r, k*64 + c]\n", 1)
    copies = "".join(
        f"""          for r in range(4):
            for t in thread.x(128){hint}:
              for v in vectorized(8):
                {x}s[r*16 + t // 8, t % 8 * 8 + v] = {x}[r*16 + t // 8, k*64 + t % 8 * 8 + v]
"""
        for x in "AB"
    )
    return head + copies + rest


@pytest.mark.parametrize("hint", ["", " {async: True}"])
def test_operands_that_threads_stored_are_published(hint: str) -> None:
    a, b, arrays = operands()
    emulated = Emulated(stored(hint), ARCH)
    assert_product(emulated, a, b, arrays)
    source = emulated.module.source.split("__global__")[1]
    assert source.count("publish_shared();") == (1 if hint else 2)
    assert "tma_load" not in source


def test_elsewhere_lanes_compute_by_themselves() -> None:
    a, b, arrays = operands()
    emulated = Emulated(stored(""), "sm_80")
    assert_product(emulated, a, b, arrays, ORDERS[:1])
    source = emulated.module.source.split("__global__")[1]
    assert "wgmma" not in source
    assert "fmaf(" in source


def test_the_name_without_its_letter_is_refused() -> None:
    assert refusal(product(), "sm_90") == (
        "wgmma.m64n64k16.bf16: sm_90 leaves it out, though its devices have it; compile for "
        "sm_90a, whose code runs on them and on no others"
    )


def test_operands_that_the_instruction_cannot_read_are_refused() -> None:
    tile = "As: bfloat16[64, 64] shared swizzle(128)"
    assert refusal(product().replace(tile, "As: bfloat16[64, 64] shared")) == (
        "wgmma.m64n64k16.bf16: As, bfloat16[64, 64] shared: tensor cores read swizzled rows of 32, "
        "64 or 128 bytes, and these are of 128 bytes with no pattern; tile its last dimension so, "
        "and swizzle it"
    )
    assert refusal(
        product().replace("acc: float32[64, 64] local", "acc: float32[64, 64] shared")
    ) == (
        "wgmma.m64n64k16.bf16: lanes keep its result in registers, and here it is in acc; "
        "set_scope it to 'local'"
    )


def test_a_tile_that_begins_between_rows_is_refused() -> None:
    text = product().replace("range(4)", "range(3)").replace("kk*16 + s])", "kk*16 + s + 1])")
    assert refusal(text) == (
        "wgmma.m64n64k16.bf16: As, bfloat16[64, 64] shared: its tile begins at [0, kk * 16 + 1], "
        "which need not be a row of 8"
    )


def test_a_forgotten_wait_is_found_out() -> None:
    text = product(n=32, k=128, stages=2)
    _, _, arrays = operands(64, 32, 128)
    (placed,) = emitted(text, ARCH).barriers.values()
    number = next(i for i, what in enumerate(placed) if "wgmma_wait" in str(what))
    assert complaints(Emulated(text, ARCH, drop=number), arrays)


@pytest.mark.parametrize("n", range(8, 264, 8))
def test_the_lanes_have_the_elements_of_the_tile_once_each(n: int) -> None:
    text = show(builtin(f"wgmma.m64n{n}k16.bf16").implementation)
    (index,) = set(re.findall(r"C\[([^\]]*)\]", text))
    extents = [int(e) for e in re.findall(r"(?:thread\.x|unrolled)\((\d+)\)", text)]
    lane, h, j, c = np.meshgrid(*map(np.arange, extents), indexing="ij")
    row, column = eval(index, {"lane": lane, "h": h, "n": j, "c": c})
    assert len(set((row * n + column).ravel().tolist())) == lane.size == 64 * n
    assert (int(row.max()), int(column.max())) == (63, n - 1)


def test_the_lanes_compute_what_the_intrinsic_means() -> None:
    intrinsic = builtin("wgmma.m64n16k16.f16")
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-4, 5, s).astype(np.float32) for s in ((64, 16), (16, 16), (64, 16)))
    for program in (intrinsic.meaning, intrinsic.implementation):
        arrays: dict[str, Array] = {"A": a.astype(np.float16), "B": b.astype(np.float16)}
        arrays["C"] = c.copy()
        interp.run(program, arrays)
        np.testing.assert_array_equal(arrays["C"], c + a @ b)


def test_the_machine_code_multiplies_by_warp_groups_without_spills() -> None:
    for text, wide in ((product(256, 256, 2, 3, roles=True), "256"), (product(64, 64), "64")):
        binary = compile_cuda(emitted(text, ARCH).source, ARCH)
        assert "C75" not in binary.log
        (resources,) = binary.resources.values()
        assert resources.spill_stores == resources.spill_loads == resources.stack == 0
        (mix,) = instruction_mix(disassemble(binary.cubin)).values()
        assert mix["HGMMA"] == 4
        assert mix["UTMALDG"] >= 2
        assert not mix["LDL"]
        assert not mix["STL"]
        code = disassemble(binary.cubin)
        assert f"HGMMA.64x{wide}x16" in str(code)


def test_the_program_means_the_product() -> None:
    text = product(n=8, k=64)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, s).astype(np.float32) for s in ((64, 64), (8, 64)))
    kind = as_dtype("bfloat16").numpy
    arrays = {"A": a.astype(kind), "B": b.astype(kind), "C": np.zeros((64, 8), np.float32)}
    interp.run(parse(text), arrays)
    np.testing.assert_array_equal(arrays["C"], a @ b.T)
