"""Programs for sm_90a: copies of boxes, rings, roles."""

from __future__ import annotations


def ring(stages: int = 3, steps: int = 8, swizzle: str = "", *, roles: bool = False) -> str:
    """Boxes of 16x32 floats that go through a ring of slots, and are stored transposed."""
    ahead = stages - 1
    hints = " {producer_registers: 24, consumer_registers: 240}" if roles else ""
    prologue = f"""      for a in range({ahead}):
        for r in range(16) {{async: "tma"}}:
          for c in range(32):
            S[a, r, c] = A[a*16 + r, b*32 + c]
"""
    return f"""program p(A: in float32[{16 * steps}, 128], B: out float32[{steps}, 4, 32, 16]):
  for b in block.x(4):
    alloc S: float32[{stages}, 16, 32] shared{swizzle}
{prologue if ahead else ""}      for i in range({steps}){hints}:
        if i + {ahead} < {steps}:
          for r in range(16) {{async: "tma"}}:
            for c in range(32):
              S[(i + {ahead}) % {stages}, r, c] = A[(i + {ahead})*16 + r, b*32 + c]
        for t in thread.x(128):
          for v in range(4):
            B[i, b, t // 4, t % 4 * 4 + v] = S[i % {stages}, t % 4 * 4 + v, t // 4]
"""


def product(
    n: int = 64,
    k: int = 64,
    groups: int = 1,
    stages: int = 1,
    dtype: str = "bfloat16",
    *,
    m_rows: bool = False,
    n_rows: bool = False,
    roles: bool = False,
) -> str:
    """A product by `groups` warp groups of 64 rows and `n` columns, tiles of 64 steps of the sum.

    With `m_rows` A is stored with its rows along the second dimension, with `n_rows` B: the other
    way than the instruction likes best, the sum along the last one.
    """
    m, ahead, kind = 64 * groups, stages - 1, "bf16" if dtype == "bfloat16" else "f16"
    slots = f"{stages}, " if ahead else ""

    def a_at(r: str, c: str) -> str:
        return f"{c}, {r}" if m_rows else f"{r}, {c}"

    def b_at(c: str, r: str) -> str:
        return f"{c}, {r}" if n_rows else f"{r}, {c}"

    def fetch(at: str, slot: str, pad: str) -> str:
        slot = f"{slot}, " if ahead else ""
        lines = [
            f'for r in range({64 if m_rows else m}) {{async: "tma"}}:',
            f"  for c in range({m if m_rows else 64}):",
            f"    As[{slot}r, c] = A[{f'{at}*64 + r, c' if m_rows else f'r, {at}*64 + c'}]",
            f'for r in range({64 if n_rows else n}) {{async: "tma"}}:',
            f"  for c in range({n if n_rows else 64}):",
            f"    Bs[{slot}r, c] = B[{f'{at}*64 + r, c' if n_rows else f'r, {at}*64 + c'}]",
        ]
        return "".join(f"{pad}{line}\n" for line in lines)

    row, column = "w*64 + lane // 32 * 16 + lane % 32 // 4 + h*8", "j*8 + lane % 4 * 2 + c"
    use = f"k % {stages}, " if ahead else ""
    hints = " {producer_registers: 40, consumer_registers: 232}" if roles else ""
    pad = " " * (12 if ahead else 10)
    steps = k // 64
    lanes = f"""for w in thread.y({groups}):
          for lane in thread.x(128):
            for h in unrolled(2):
              for j in unrolled({n // 8}):"""
    prologue = f"        for a in range({ahead}):\n{fetch('a', 'a', pad)}" if ahead else ""
    steady = fetch("(k + " + str(ahead) + ")", f"(k + {ahead}) % {stages}", pad)
    guard = f"          if k + {ahead} < {steps}:\n{steady}" if ahead else fetch("k", "", pad)
    a_shape = f"{k}, {m}" if m_rows else f"{m}, {k}"
    b_shape = f"{k}, {n}" if n_rows else f"{n}, {k}"
    a_tile = f"64, {m}" if m_rows else f"{m}, 64"
    b_tile = f"64, {n}" if n_rows else f"{n}, 64"
    name = f"wgmma.m64n{n}k16.{kind}"
    return f"""program p(A: in {dtype}[{a_shape}], B: in {dtype}[{b_shape}], C: out float32[{m}, {n}]):
  for b in block.x(1):
    alloc acc: float32[{m}, {n}] local
      alloc As: {dtype}[{slots}{a_tile}] shared swizzle({min(128, 2 * (m if m_rows else 64))})
       alloc Bs: {dtype}[{slots}{b_tile}] shared swizzle({min(128, 2 * (n if n_rows else 64))})
        {lanes}
                for c in unrolled(2):
                  acc[{row}, {column}] = 0.0
{prologue}        for k in range({steps}){hints}:
{guard}          for kk in range(4):
            for w in thread.y({groups}):
              for lane in thread.x(128) {{intrinsic: "{name}"}}:
                for h in unrolled(2):
                  for j in unrolled({n // 8}):
                    for c in unrolled(2):
                      for s in range(16):
                        acc[{row}, {column}] += float32(As[{use}{a_at(row, "kk*16 + s")}]) * float32(Bs[{use}{b_at("kk*16 + s", column)}])
        {lanes}
                for c in vectorized(2):
                  C[{row}, {column}] = acc[{row}, {column}]
"""  # noqa: E501
