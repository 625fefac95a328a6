"""Matrix instructions against matrix products, fragments by the PTX manual's own formulas."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from emulator.harness import ORDERS, built, run
from tensorc.emulator import EmulatedModule, LaunchOptions

Array = np.ndarray[Any, Any]
HEAD = ".version 8.0\n.target sm_90\n.address_size 64\n"
NUMPY: dict[str, Any] = {
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "tf32": np.float32,
    "f32": np.float32,
    "f64": np.float64,
    "s8": np.int8,
    "u8": np.uint8,
    "s32": np.int32,
}


def a_place(kind: str, lane: int, i: int) -> tuple[int, int]:
    """Row and column of the i-th element of a lane's fragment of A: PTX ISA, section 9.7.14.5."""
    group, member = lane >> 2, lane % 4
    if kind == "f64":
        return group, member
    if kind in ("f16", "bf16"):
        row = group if i < 2 or 4 <= i < 6 else group + 8
        return row, member * 2 + (i & 1) + (0 if i < 4 else 8)
    if kind == "tf32":
        return group + 8 * (i % 2), member + 4 * (i // 2)
    return (group if i < 4 or 8 <= i < 12 else group + 8), (
        member * 4 + (i & 3) + (0 if i < 8 else 16)
    )


def b_place(kind: str, lane: int, i: int) -> tuple[int, int]:
    group, member = lane >> 2, lane % 4
    if kind == "f64":
        return member, group
    if kind in ("f16", "bf16"):
        return member * 2 + (i & 1) + (0 if i < 2 else 8), group
    if kind == "tf32":
        return member + 4 * i, group
    return member * 4 + (i & 3) + (0 if i < 4 else 16), group


def d_place(kind: str, lane: int, i: int) -> tuple[int, int]:
    group, member = lane >> 2, lane % 4
    return (group if i < 2 or kind == "f64" else group + 8), member * 2 + (i & 1)


# shape, type of A and B, type of D, elements of a lane of A, B and D
MMA = [
    ((16, 8, 16), "f16", "f32", 8, 4, 4),
    ((16, 8, 16), "bf16", "f32", 8, 4, 4),
    ((16, 8, 16), "f16", "f16", 8, 4, 4),
    ((16, 8, 8), "f16", "f32", 4, 2, 4),
    ((16, 8, 8), "bf16", "f32", 4, 2, 4),
    ((16, 8, 8), "tf32", "f32", 4, 2, 4),
    ((16, 8, 4), "tf32", "f32", 2, 1, 4),
    ((16, 8, 16), "s8", "s32", 8, 4, 4),
    ((16, 8, 32), "u8", "s32", 16, 8, 4),
    ((8, 8, 4), "f64", "f64", 1, 1, 2),
]


def mma_kernel(shape: tuple[int, int, int], kind: str, to: str, counts: tuple[int, ...]) -> str:
    m, n, k = shape
    size, to_size = np.dtype(NUMPY[kind]).itemsize, np.dtype(NUMPY[to]).itemsize
    operand = "f64" if kind == "f64" else "b32"
    result = {"f16": "b32", "f32": "f32", "s32": "b32", "f64": "f64"}[to]
    width, out_width = max(4, size), max(4, to_size)
    registers = [
        count * one // unit
        for count, one, unit in zip(
            counts, (size, size, to_size), (width, width, out_width), strict=True
        )
    ]
    names = [[f"%{name}{i}" for i in range(r)] for name, r in zip("abd", registers, strict=True)]
    lines = [
        f".visible .entry mma_{kind}_{to}_{k}(.param .u64 pa, .param .u64 pb, .param .u64 pd)",
        "{",
        f".reg .{operand} %a<8>; .reg .{operand} %b<8>; .reg .{result} %d<8>;",
        ".reg .b64 %q<4>; .reg .b32 %i<2>; mov.u32 %i0, %laneid;",
    ]
    for name, regs, kind_, unit in zip(
        "abd", names, (operand, operand, result), (width, width, out_width), strict=True
    ):
        lines.append(
            f"ld.param.u64 %q0, [p{name}]; mad.wide.u32 %q1, %i0, {len(regs) * unit}, %q0;"
        )
        lines += [f"ld.global.{kind_} {r}, [%q1+{i * unit}];" for i, r in enumerate(regs)]
    vectors = ["{" + ", ".join(regs) + "}" for regs in names]
    lines.append(
        f"mma.sync.aligned.m{m}n{n}k{k}.row.col.{to}.{kind}.{kind}.{to} "
        f"{vectors[2]}, {vectors[0]}, {vectors[1]}, {vectors[2]};"
    )
    lines += [f"st.global.{result} [%q1+{i * out_width}], {r};" for i, r in enumerate(names[2])]
    return "\n".join([*lines, "ret;", "}"])


@pytest.mark.parametrize("row", MMA, ids=lambda row: f"{row[0][2]}-{row[1]}-{row[2]}")
def test_mma_multiplies_the_matrices_that_fragments_hold(row: Any) -> None:
    (m, n, k), kind, to, *counts = row
    module = EmulatedModule(HEAD + mma_kernel((m, n, k), kind, to, tuple(counts)))
    rng = np.random.default_rng(k)
    low = 0 if kind == "u8" else -8
    a, b, c = (rng.integers(low, 8, s).astype(np.float64) for s in ((m, k), (k, n), (m, n)))
    fragments = [
        np.array([[matrix[place(kind, lane, i)] for i in range(count)] for lane in range(32)])
        for matrix, place, count in zip((a, b, c), (a_place, b_place, d_place), counts, strict=True)
    ]
    typed = [
        np.ascontiguousarray(f.astype(NUMPY[t]))
        for f, t in zip(fragments, (kind, kind, to), strict=True)
    ]
    result = run(module, f"mma_{kind}_{to}_{k}", (1,), (32,), *typed)
    assert result.ok, result.describe()
    d = np.zeros((m, n))
    for lane in range(32):
        for i in range(counts[2]):
            d[d_place(kind, lane, i)] = typed[2][lane, i]
    np.testing.assert_array_equal(d, a @ b + c)  # Small whole numbers: exact in all formats.


MATRICES = """
typedef unsigned u32;
__device__ __forceinline__ u32 at(const void* p) { return (u32)__cvta_generic_to_shared(p); }
extern "C" __global__ void through(const unsigned short* x, u32* loaded, u32* transposed,
                                   unsigned short* stored, u32* moved) {
  __shared__ __align__(16) unsigned short tile[4][8][8], out[4][8][8];
  int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) (&tile[0][0][0])[i] = x[i];
  __syncwarp();
  u32 r[4], t[4];
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at(&tile[lane / 8][lane % 8][0])) : "memory");
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(t[0]), "=r"(t[1]), "=r"(t[2]), "=r"(t[3])
               : "r"(at(&tile[lane / 8][lane % 8][0])) : "memory");
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%4], {%0,%1,%2,%3};"
               :: "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]),
                  "r"(at(&out[lane / 8][lane % 8][0])) : "memory");
  u32 m;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(m) : "r"(r[0]));
  __syncwarp();
  for (int i = 0; i < 4; ++i) { loaded[lane * 4 + i] = r[i]; transposed[lane * 4 + i] = t[i]; }
  for (int i = lane; i < 256; i += 32) stored[i] = (&out[0][0][0])[i];
  moved[lane] = m;
}
"""


@pytest.mark.parametrize("options", [*ORDERS, LaunchOptions(checked=True)])
def test_matrices_are_loaded_stored_and_moved_with_and_without_transposition(
    options: LaunchOptions,
) -> None:
    x = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    loaded, transposed = np.zeros((32, 4), np.uint32), np.zeros((32, 4), np.uint32)
    stored, moved = np.zeros((4, 8, 8), np.uint16), np.zeros(32, np.uint32)
    module = built(MATRICES, "compute_90", checked=options.checked)
    args = (x, loaded, transposed, stored, moved)
    result = run(module, "through", (1,), (32,), *args, options=options)
    assert result.ok, result.describe()

    def rows(matrix: Array) -> Array:
        """Lane l holds columns 2 (l % 4) and the next of row l / 4."""
        return np.ascontiguousarray(matrix).reshape(32, 2).view(np.uint32).ravel()

    for i in range(4):
        np.testing.assert_array_equal(loaded[:, i], rows(x[i]))
        np.testing.assert_array_equal(transposed[:, i], rows(x[i].T))
        np.testing.assert_array_equal(stored[i], x[i].T)
    np.testing.assert_array_equal(moved, rows(x[0].T))


# ---- wgmma


def swizzled(offset: int, mode: int) -> int:
    return offset ^ (offset >> 7 & {0: 0, 1: 7, 2: 3, 3: 1}[mode]) << 4


PITCH = {0: 16, 1: 128, 2: 64, 3: 32}  # Bytes of a row, by the descriptor's mode.


def lay_out(matrix: Array, mode: int, *, transposed: bool) -> tuple[Array, int, int]:
    """A (rows, k) operand as wgmma reads it; its leading and stride byte offsets.

    Tiles of 8 x 16 bytes without a swizzle, else atoms of 8 rows of the pitch; PTX ISA, section
    "Shared memory matrix layout". A transposed operand is stored with its rows' index contiguous.
    """
    data = matrix.T if transposed else matrix
    lines, bytes_ = data.shape[0], data.shape[1] * data.itemsize
    raw = np.ascontiguousarray(data).view(np.uint8).reshape(lines, bytes_)
    pitch = PITCH[mode]
    columns = bytes_ // pitch
    image = np.zeros(lines * bytes_, np.uint8)
    across = 8 * pitch  # From an atom to the next along the contiguous axis ...
    down = columns * across  # ... and along the other one.
    for line in range(lines):
        for byte in range(bytes_):
            offset = line // 8 * down + byte // pitch * across + line % 8 * pitch + byte % pitch
            image[swizzled(offset, mode)] = raw[line, byte]
    if mode == 0:
        return (image, down, across) if transposed else (image, across, down)
    return image, across, down


def wgmma_source(n: int, k: int, kind: str, to: str, flags: dict[str, Any]) -> str:
    count = n // (4 if to == "f16" else 2)
    outs = ", ".join(f"%{i}" for i in range(count))
    letter = "r" if to != "f32" else "f"
    c_type = "unsigned" if to != "f32" else "float"
    constraints = ", ".join(f'"+{letter}"(d[{i}])' for i in range(count))
    in_registers = flags["registers"]
    first = count + (4 if in_registers else 1)
    a = "{" + ", ".join(f"%{count + i}" for i in range(4)) + "}" if in_registers else f"%{count}"
    tail = "" if kind == "tf32" else f", {flags['ta']}, {flags['tb']}" * (not in_registers)
    if in_registers and kind != "tf32":
        tail = f", {flags['tb']}"
    a_operand = ", ".join(f'"r"(a[{i}])' for i in range(4)) if in_registers else '"l"(da)'
    return f"""
typedef unsigned u32; typedef unsigned long long u64;
extern "C" __global__ void __launch_bounds__(128)
    product(const uint4* A, const uint4* B, const u32* fragments, {c_type}* D, u64 la, u64 lb) {{
  extern __shared__ __align__(1024) unsigned char tile[];
  for (int i = threadIdx.x; i < {flags["a_bytes"]} / 16; i += 128) ((uint4*)tile)[i] = A[i];
  for (int i = threadIdx.x; i < {flags["b_bytes"]} / 16; i += 128)
    ((uint4*)(tile + {flags["b_start"]}))[i] = B[i];
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  u64 da = la | (u64)((u32)__cvta_generic_to_shared(tile) >> 4);
  u64 db = lb | (u64)((u32)__cvta_generic_to_shared(tile + {flags["b_start"]}) >> 4);
  u32 a[4];
  for (int i = 0; i < 4; ++i) a[i] = fragments[threadIdx.x * 4 + i];
  {c_type} d[{count}];
  for (int i = 0; i < {count}; ++i) d[i] = D[threadIdx.x * {count} + i];
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  asm volatile("wgmma.mma_async.sync.aligned.m64n{n}k{k}.{to}.{kind}.{kind} {{{outs}}}, {a}, "
               "%{first}, {flags["scale_d"]}, {flags["sa"]}, 1{tail};"
               : {constraints} : {a_operand}, "l"(db) : "memory");
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  for (int i = 0; i < {count}; ++i) D[threadIdx.x * {count} + i] = d[i];
}}"""


WGMMA = [
    # n, k, type, type of D, mode of A and B, transpositions, A in registers, sign of A
    *((64, 16, "bf16", "f32", mode, mode, 0, 0, False, 1) for mode in range(4)),
    (8, 16, "f16", "f32", 1, 2, 0, 0, False, -1),
    (256, 16, "bf16", "f32", 3, 3, 0, 0, False, 1),
    (32, 16, "f16", "f16", 3, 0, 0, 0, False, 1),
    (40, 8, "tf32", "f32", 3, 3, 0, 0, False, 1),
    (64, 16, "bf16", "f32", 3, 3, 0, 0, True, 1),
    (64, 8, "tf32", "f32", 3, 0, 0, 0, True, 1),
    *((64, 16, "bf16", "f32", mode, mode, 1, 1, False, 1) for mode in range(4)),
    (32, 32, "s8", "s32", 3, 3, 0, 0, False, 1),
]


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("row", WGMMA, ids=str)
def test_wgmma_multiplies_tiles_of_every_layout(row: Any, *, checked: bool) -> None:
    n, k, kind, to, mode_a, mode_b, ta, tb, registers, sign = row
    rng = np.random.default_rng(n)
    a = rng.integers(-4, 5, (64, k)).astype(np.float64)
    b = rng.integers(-4, 5, (n, k)).astype(np.float64)
    c = rng.integers(-4, 5, (64, n)).astype(np.float64)
    size = np.dtype(NUMPY[kind]).itemsize
    # A swizzled row is as wide as its pitch; what lies behind k is not read.
    images, layouts = [], []
    for matrix, mode, transposed in ((a, mode_a, ta), (b, mode_b, tb)):
        wide = matrix
        if not transposed and PITCH[mode] > k * size:
            wide = np.concatenate([matrix, np.ones((len(matrix), PITCH[mode] // size - k))], 1)
        if transposed and PITCH[mode] > len(matrix) * size:
            pytest.fail("the tile is narrower than its pattern")
        image, leading, stride = lay_out(
            wide.astype(NUMPY[kind]), mode, transposed=bool(transposed)
        )
        images.append(image)
        layouts.append(leading >> 4 << 16 | stride >> 4 << 32 | mode << 62)
    fragments = np.zeros((128, 16 // size), NUMPY[kind])
    for thread in range(128):
        for i in range(16 // size):
            r, column = a_place(kind, thread % 32, i)
            fragments[thread, i] = a[thread // 32 * 16 + r, column]
    count = n // 2
    d = np.zeros((128, count), NUMPY[to])
    places = [
        [
            (t // 32 * 16 + t % 32 // 4 + 8 * (i % 4 // 2), i // 4 * 8 + t % 4 * 2 + i % 2)
            for i in range(count)
        ]
        for t in range(128)
    ]
    for thread in range(128):
        for i, place in enumerate(places[thread]):
            d[thread, i] = c[place]
    b_start = -(-len(images[0]) // 1024) * 1024
    flags = {"registers": registers, "ta": ta, "tb": tb, "sa": sign, "scale_d": 1}
    flags |= {"a_bytes": len(images[0]), "b_bytes": len(images[1]), "b_start": b_start}
    source = wgmma_source(n, k, kind, to, flags)
    if kind == "s8":
        source = source.replace(", -1, 1, 0, 0;", ";").replace(", 1, 1, 0, 0;", ";")
        source = source.replace("s32.s8.s8", "s32.s8.s8")
    module = built(source, "compute_90a", checked=checked)
    shared = b_start + len(images[1])
    words = [np.uint64(layout) for layout in layouts]
    args = (*images, fragments, d, *words)
    options = LaunchOptions(checked=checked)
    result = run(module, "product", (1,), (128,), *args, shared=shared, options=options)
    assert result.ok, result.describe()
    expected = sign * (a @ b.T) + c
    actual = np.zeros((64, n))
    for thread in range(128):
        for i, place in enumerate(places[thread]):
            actual[place] = d[thread, i]
    np.testing.assert_array_equal(actual, expected)
