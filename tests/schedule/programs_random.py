"""Random loop programs by seed: a few stages of every kind, over one set of buffers.

Sizes are small, static or symbolic. Data are small whole numbers, of which sums of floats are
exact in any order: whatever a legal schedule reassociates gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.ir import interp
from tensorc.ir.parser import parse
from tensorc.ir.stmt import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorc.ir.stmt import Program

Arrays = dict[str, np.ndarray[Any, Any]]

DTYPES = ("float32", "float32", "float64", "int32", "int64")
FIXED = (1, 2, 3, 4, 5, 6, 7, 8, 9)
SIZES = (0, 1, 2, 3, 5, 8)  # What a symbolic size may be.


@dataclass(frozen=True)
class Buf:
    """A buffer of the program to be: `shape` holds sizes as text."""

    name: str
    dtype: str
    shape: tuple[str, ...]


class Writer:
    """The text of a program under way."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.dtype = self.pick(DTYPES)
        self.sizes = [self._size() for _ in range(3)]
        self.lines: list[str] = []
        self.params: dict[str, tuple[str, Buf]] = {}  # By name, the role and the buffer.
        self.temps: list[Buf] = []
        self.done: list[Buf] = []  # What is written whole, and may be read.
        self.reducers: list[str] = []
        self._count = 0
        self.products = 0

    def _size(self) -> str:
        return self.pick(("n", "m")) if self.chance(0.25) else str(self.pick(FIXED))

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def vars(self, count: int) -> list[str]:
        return [self.name(self.pick(("i", "j", "k", "x", "y"))) for _ in range(count)]

    def shape(self, rank: int) -> tuple[str, ...]:
        return tuple(self.pick(self.sizes) for _ in range(rank))

    def lit(self, value: float, dtype: str | None = None) -> str:
        """A constant of the program's dtype."""
        dtype = dtype or self.dtype
        whole = "float" not in dtype
        text = str(int(value)) if whole else str(float(value))
        return text if dtype in ("int64", "float32") else f"{dtype}({text})"

    def source(self, shape: tuple[str, ...], dtype: str | None = None) -> Buf:
        """A buffer of this shape to read, an input if there is none yet."""
        dtype = dtype or self.dtype
        fitting = [b for b in self.done if b.shape == shape and b.dtype == dtype]
        if fitting and self.chance(0.8):
            return fitting[-1] if self.chance(0.7) else self.pick(fitting)
        made = Buf(self.name("A"), dtype, shape)
        self.params[made.name] = ("in", made)
        self.done.append(made)
        return made

    def target(self, shape: tuple[str, ...], dtype: str | None = None) -> Buf:
        """A buffer of its own to write, all of it."""
        made = Buf(self.name("B"), dtype or self.dtype, shape)
        if self.chance(0.6):
            self.temps.append(made)
        else:
            self.params[made.name] = ("out", made)
        return made

    def state(self, shape: tuple[str, ...], dtype: str | None = None) -> Buf:
        """A buffer to update in place: an argument, or what an earlier stage wrote."""
        dtype = dtype or self.dtype
        fitting = [
            b
            for b in self.done
            if b.shape == shape
            and b.dtype == dtype
            and (b.name not in self.params or self.params[b.name][0] != "in")
        ]
        if fitting and self.chance(0.5):
            return self.pick(fitting)  # type: ignore[no-any-return]
        made = Buf(self.name("W"), dtype, shape)
        self.params[made.name] = ("inout", made)
        self.done.append(made)
        return made

    def some_shape(self, rank: int) -> tuple[str, ...]:
        """The shape of what was computed last, so that stages meet, or another one."""
        fitting = [b.shape for b in self.done if len(b.shape) == rank and b.dtype == self.dtype]
        return fitting[-1] if fitting and self.chance(0.85) else self.shape(rank)

    def emit(self, *lines: str) -> None:
        self.lines += lines

    def loops(self, names: Sequence[str], shape: Sequence[str]) -> list[str]:
        """Loop heads from 0, each inside the one before."""
        return [
            f"{'  ' * d}for {v} in range({n}):"
            for d, (v, n) in enumerate(zip(names, shape, strict=True))
        ]

    def index(self, var: str, size: str) -> str:
        """An index that stays inside `size` where `var` does."""
        kind = int(self.rng.integers(8))
        if kind == 0:
            return f"{size} - 1 - {var}"
        if kind == 1:
            return f"({var} + {self.pick((1, 2, 3))}) % {size}"
        if kind == 2:
            return f"{var} // {self.pick((2, 3))}"
        return var

    def read(self, var: Sequence[str], shape: Sequence[str], source: Buf | None = None) -> str:
        """A value at `var`, perhaps shifted, mirrored or padded."""
        source = source or self.source(tuple(shape))
        plain = f"{source.name}[{', '.join(var)}]"
        if self.chance(0.2) and var:
            d = int(self.rng.integers(len(var)))
            shifted = list(var)
            cond, shifted[d] = self.pick(
                (
                    (f"{var[d]} >= 1", f"{var[d]} - 1"),
                    (f"{var[d]} + 1 < {shape[d]}", f"{var[d]} + 1"),
                    (f"{var[d]} + 2 < {shape[d]} and {var[d]} % 2 == 0", f"{var[d]} + 2"),
                )
            )
            return f"where({cond}, {source.name}[{', '.join(shifted)}], {self.lit(0)})"
        if self.chance(0.5):
            return plain
        return f"{source.name}[{', '.join(map(self.index, var, shape))}]"

    def value(self, var: Sequence[str], shape: Sequence[str]) -> str:
        """An element-wise expression, of two operands at most."""
        a = self.read(var, shape)
        b = self.read(var, shape) if self.chance(0.5) else self.lit(self.pick((1, 2)))
        form = self.pick(("{} + {}", "{} - {}", "max({}, {})", "min({}, {})", "abs({}) + {}", "{}"))
        return str(form.format(a, b))

    def program(self) -> Program:
        """What was written so far."""
        dims = [n for n in ("n", "m") if self._uses(n)]
        params = [
            f"{b.name}: {role} {b.dtype}[{', '.join(b.shape)}]" for role, b in self.params.values()
        ]
        head = f"program main({', '.join(params)})"
        if dims:
            head += f" dims({', '.join(f'{n} >= 0' for n in dims)})"
        allocs = [f"alloc {b.name}: {b.dtype}[{', '.join(b.shape)}]" for b in self.temps]
        lines = [f"{'  ' * (1 + d)}{text}" for d, text in enumerate(allocs)]
        lines += [f"{'  ' * (1 + len(allocs))}{text}" for text in self.lines]
        return parse("\n".join([*self.reducers, head + ":", *lines]) + "\n")

    def _uses(self, size: str) -> bool:
        every = [b for _, b in self.params.values()] + self.temps
        return any(size in b.shape for b in every)


# --- programs that were hard once ---------------------------------------------------------------

SCAN = """program main(A: in float32[4, 7], S: out float32[4, 8]):
  for b in range(4):
    S[b, 0] = 0.0
    for t in range(7):
      S[b, t + 1] = S[b, t] + A[b, t]
"""
GATHER = """program main(A: in float32[6, 5], idx: in int32[7], B: out float32[7, 5]):
  alloc T: float32[7, 5]
    for i in range(7):
      for j in range(5):
        T[i, j] = A[abs(int64(idx[i])) % 6, j]
    for x in range(7):
      for y in range(5):
        B[x, y] = T[x, y] + T[x, (y + 1) % 5]
"""
SOFTMAX_LIKE = """program main(X: in float32[5, 6], Y: out float32[5, 6]):
  alloc M: float32[5]
    alloc E: float32[5, 6]
      for a in range(5):
        M[a] = float32(-inf)
        for b in range(6):
          M[a] max= X[a, b]
      for i in range(5):
        for j in range(6):
          E[i, j] = X[i, j] - M[i]
      for p in range(5):
        for q in range(6):
          Y[p, q] = E[p, q] * 2.0 + M[p]
"""
IN_PLACE = """program main(W: inout float32[9], G: in float32[9]):
  alloc U: float32[9]
    for i in range(9):
      U[i] = W[i] * 0.5 + G[i]
    for j in range(9):
      W[j] = W[j] - U[8 - j]
    for k in range(8):
      W[k + 1] += W[k]
"""
SYMBOLIC = """program main(A: in float32[n, m], B: out float32[n]) dims(n >= 0, m >= 0):
  for i in range(n):
    B[i] = 0.0
    for k in range(m):
      if k <= i:
        B[i] += A[i, k]
"""
EPILOGUE = """program main(A: in float32[5, 3], B: in float32[3, 6], D: out float32[5, 6]):
  alloc C: float32[5, 6]
    for i in range(5):
      for j in range(6):
        C[i, j] = 0.0
        for k in range(3):
          C[i, j] += A[i, k] * B[k, j]
    for x in range(5):
      for y in range(6):
        D[x, y] = max(C[x, y] + B[0, y], 0.0)
"""
CHAIN = """program main(A: in float32[n], B: out float32[n], C: out float32[n], T: out float32[n]) \
dims(n >= 0):
  for i in range(n):
    B[i] = A[i] * 2.0
  for j in range(n):
    C[j] = B[j] + 1.0
  for k in range(n):
    T[k] = B[n - 1 - k] + C[k]
"""
MASKED = """program main(X: in float32[n, m], M: in int32[m], idx: in int64[n], \
V: out float32[8], P: out int64[8], W: inout int32[4]) dims(n >= 0, m >= 0):
  for a in range(8):
    V[a] = float32(-inf)
    P[a] = 9223372036854775807
  for i in range(n):
    for k in range(m):
      if M[k] > int32(0):
        (V[abs(idx[i]) % 8], P[abs(idx[i]) % 8]) argmax= (X[i, k], k)
  for k in range(m):
    if k % 2 == 0:
      W[k % 4] += M[k]
"""
CONV = """program main(A: in float32[n, 9], B: in float32[3], C: out float32[n, 9]) dims(n >= 0):
  for i in range(n):
    for x in range(9):
      C[i, x] = 1.0
      for r in range(3):
        C[i, x] += where(x + r >= 1 and x + r < 10, A[i, x + r - 1], 0.0) * B[r]
"""
HARD = (SCAN, GATHER, SOFTMAX_LIKE, IN_PLACE, SYMBOLIC, MASKED, CONV, EPILOGUE, CHAIN)


# --- the kinds of stages -------------------------------------------------------------------------


def elementwise(w: Writer) -> None:
    """One value for each element, under an `if` with two sides now and then."""
    shape = w.some_shape(int(w.rng.integers(1, 4)))
    vs, out_shape = w.vars(len(shape)), shape
    place = list(vs)
    if len(shape) > 1 and w.chance(0.2):  # Transposed.
        place, out_shape = place[::-1], shape[::-1]
    elif w.chance(0.15):  # Mirrored.
        place[0] = f"{shape[0]} - 1 - {vs[0]}"
    value, other = w.value(vs, shape), w.value(vs, shape)
    conds = [f"{vs[0]} % 2 == 0", f"{vs[0]} <= {vs[-1]}", f"{w.read(vs, shape)} > {w.lit(0)}"]
    out = w.target(out_shape)
    body, at = "  " * len(vs), f"{out.name}[{', '.join(place)}]"
    w.emit(*w.loops(vs, shape))
    if w.chance(0.2):
        w.emit(f"{body}if {w.pick(conds)}:", f"{body}  {at} = {value}")
        w.emit(f"{body}else:", f"{body}  {at} = {other}")
    else:
        w.emit(f"{body}{at} = {value}")
    w.done.append(out)


def contraction(w: Writer) -> None:
    """A product of matrices, in one nest or with its initialisation apart, and an epilogue."""
    if w.products:
        return elementwise(w)
    w.products += 1
    m, k, n = w.shape(3)
    a, b = w.source((m, k)), w.source((k, n))
    out = w.target((m, n))
    i, j, r = w.vars(3)
    at = f"{out.name}[{i}, {j}]"
    step = f"{at} += {a.name}[{i}, {r}] * {b.name}[{r}, {j}]"
    if w.chance(0.3):
        x, y = w.vars(2)
        w.emit(*w.loops((x, y), (m, n)), f"    {out.name}[{x}, {y}] = {w.lit(0)}")
        order = w.pick(
            (((i, m), (j, n), (r, k)), ((i, m), (r, k), (j, n)), ((r, k), (i, m), (j, n)))
        )
        w.emit(*w.loops([v for v, _ in order], [s for _, s in order]), f"      {step}")
    else:
        w.emit(*w.loops((i, j), (m, n)), f"    {at} = {w.lit(0)}")
        w.emit(f"    for {r} in range({k}):", f"      {step}")
    w.done.append(out)
    if w.chance(0.5):
        final = w.target((m, n))
        x, y = w.vars(2)
        w.emit(*w.loops((x, y), (m, n)))
        w.emit(f"    {final.name}[{x}, {y}] = max({out.name}[{x}, {y}], {w.lit(0)})")
        w.done.append(final)
    return None


def reduction(w: Writer) -> None:
    """Each row folded to one element, by any reducer, under a guard now and then."""
    rows, cols = w.some_shape(2)
    i, k = w.vars(2)
    value = w.read((i, k), (rows, cols))
    kind = w.pick(("sum", "sum", "max", "min", "prod", "user", "pair"))
    out = w.target((rows,))
    at = f"{out.name}[{i}]"
    init = {"sum": 0, "prod": 1, "max": -100, "min": 100, "user": 100, "pair": -100}[kind]
    guard = w.pick(
        ("", "", f"if {k} <= {i}:", f"if {k} % 2 == {i} % 2:", f"if {value} > {w.lit(0)}:")
    )
    lines = [f"{at} = {w.lit(init)}"]
    if kind == "user":
        name, t, flag = w.name("least"), w.dtype, w.pick(("", "", " noncommutative"))
        operands = f"(a: {t}, b: {t}) identity ({w.lit(100)})"
        w.reducers.append(f"reducer {name}{operands}{flag} = (min(a, b))")
        step = f"{at} {name}= {value}"
    elif kind == "pair":
        place = w.target((rows,), "int64")
        lines.append(f"{place.name}[{i}] = 9223372036854775807")
        step = f"({at}, {place.name}[{i}]) argmax= ({value}, {k})"
        w.done.append(place)
    elif kind == "prod":
        step = f"{at} prod= max(min({value}, {w.lit(2)}), {w.lit(-2)})"
    else:
        step = f"{at} {'+' if kind == 'sum' else kind}= {value}"
    inner = [f"for {k} in range({cols}):", *([f"  {guard}"] if guard else [])]
    inner.append(("    " if guard else "  ") + step)
    if w.chance(0.25):  # The initialisation in a nest of its own.
        (x,) = w.vars(1)
        w.emit(f"for {x} in range({rows}):")
        w.emit(*(f"  {line.replace(f'[{i}]', f'[{x}]')}" for line in lines))
        w.emit(f"for {i} in range({rows}):", *(f"  {line}" for line in inner))
    else:
        w.emit(f"for {i} in range({rows}):", *(f"  {line}" for line in (*lines, *inner)))
    w.done.append(out)


def in_place(w: Writer) -> None:
    """A scan, a stencil that updates itself, a swap: iterations that depend on each other."""
    form = int(w.rng.integers(8))
    if form < 3:
        (n,) = w.some_shape(1)
        buf, (i,) = w.state((n,)), w.vars(1)
        at = buf.name
        body = (
            (f"for {i} in range(1, {n}):", f"  {at}[{i}] = {at}[{i}] + {at}[{i} - 1]"),
            (f"for {i} in range({n} - 1):", f"  {at}[{i}] = {at}[{i} + 1] - {at}[{i}]"),
            (f"for {i} in range({n}):", f"  {at}[{n} - 1 - {i}] += {at}[{i}]"),
        )[form]
        w.emit(*body)
        return
    n, m = w.some_shape(2)
    if form == 3:  # A swap across the diagonal.
        m = n
    buf = w.state((n, m))
    at, (i, j), t = buf.name, w.vars(2), w.name("T")
    shift = w.pick(("- 1", "+ 1"))
    columns = f"range({m} - 1)" if shift == "+ 1" else f"range(1, {m})"
    w.emit(
        *(
            (
                f"for {i} in range({n}):",
                f"  for {j} in range({i} + 1, {n}):",
                f"    alloc {t}: {buf.dtype}[1]",
                f"      {t}[0] = {at}[{i}, {j}]",
                f"      {at}[{i}, {j}] = {at}[{j}, {i}]",
                f"      {at}[{j}, {i}] = {t}[0]",
            ),
            (
                f"for {i} in range(1, {n}):",
                f"  for {j} in {columns}:",
                f"    {at}[{i}, {j}] = {at}[{i} - 1, {j} {shift}] + {w.lit(1)}",
            ),
            (
                f"for {i} in range(1, {n}):",
                f"  for {j} in range(1, {m}):",
                f"    {at}[{i}, {j}] = max({at}[{i} - 1, {j}], {at}[{i}, {j} - 1])",
            ),
            (
                f"for {i} in range({n}):",
                f"  for {j} in range(1, {m}):",
                f"    if ({i} + {j}) % 2 == 0:",
                f"      {at}[{i}, {j}] += {at}[{i}, {j} - 1]",
            ),
            (
                f"for {i} in range({n} - 1):",
                f"  for {j} in range({i}, {i} + {m}):",
                f"    {at}[{i} + 1, {j} - {i}] = {at}[{i}, {j} - {i}] - {at}[{i} + 1, {j} - {i}]",
            ),
        )[form - 3]
    )


def gather(w: Writer) -> None:
    """Indices that are data: a gather, a histogram, a scatter, a range."""
    rows, cols = w.some_shape(2)
    if "n" in (rows, cols) or "m" in (rows, cols):
        rows, cols = "5", "4"
    count = w.pick(w.sizes)
    idx = w.source((count,), w.pick(("int32", "int64")))
    i, j = w.vars(2)
    index = f"abs(int64({idx.name}[{i}])) % {rows}"
    form = int(w.rng.integers(4))
    if form == 0:
        a, out = w.source((rows, cols)), w.target((count, cols))
        w.emit(
            *w.loops((i, j), (count, cols)), f"    {out.name}[{i}, {j}] = {a.name}[{index}, {j}]"
        )
        w.done.append(out)
    elif form == 1:
        buf = w.state((rows,))
        w.emit(f"for {i} in range({count}):", f"  {buf.name}[{index}] += {w.lit(1)}")
    elif form == 2:
        buf = w.state((rows, cols))
        a = w.source((count, cols))
        w.emit(
            *w.loops((i, j), (count, cols)), f"    {buf.name}[{index}, {j}] = {a.name}[{i}, {j}]"
        )
    else:
        a, out = w.source((count, "5")), w.target((count,))
        w.emit(f"for {i} in range({count}):", f"  {out.name}[{i}] = {w.lit(0)}")
        w.emit(f"  for {j} in range(abs(int64({idx.name}[{i}])) % 5):")
        w.emit(f"    {out.name}[{i}] += {a.name}[{i}, {j}]")
        w.done.append(out)


def convolution(w: Writer) -> None:
    """A window over a row, padded or strided."""
    rows, n = w.shape(2)
    a, taps = w.source((rows, n)), w.source(("3",))
    i, x, r = w.vars(3)
    out = w.target((rows, n))
    at = f"{out.name}[{i}, {x}]"
    inside = f"{x} + {r} >= 1 and {x} + {r} < {n} + 1"
    near = f"{a.name}[{i}, {x} + {r} - 1]"
    if w.chance(0.3):
        inside, near = f"2 * {x} + {r} < {n}", f"{a.name}[{i}, 2 * {x} + {r}]"
    term = f"where({inside}, {near}, {w.lit(0)}) * {taps.name}[{r}]"
    w.emit(*w.loops((i, x), (rows, n)), f"    {at} = {w.lit(1)}", f"    for {r} in range(3):")
    if w.chance(0.4):
        w.emit(f"      if {inside}:", f"        {at} += {near} * {taps.name}[{r}]")
    else:
        w.emit(f"      {at} += {term}")
    w.done.append(out)


def interleaved(w: Writer) -> None:
    """Even and odd elements, or halves, by different loops; or blocks by div and mod."""
    (n,) = w.some_shape(1)
    if n in ("n", "m"):
        n = "8"
    size = int(n)
    i, j, k = w.vars(3)
    first, second = w.read((i,), (n,)), w.read((j,), (n,))
    out, at = w.target((n,)), ""
    at = out.name
    if w.chance(0.4):
        w.emit(f"for {i} in range({(size + 1) // 2}):", f"  {at}[2 * {i}] = {first}")
        w.emit(f"for {j} in range({size // 2}):", f"  {at}[2 * {j} + 1] = {second}")
    elif w.chance(0.5):
        cut = size // 2
        w.emit(f"for {i} in range({cut}):", f"  {at}[{i}] = {first}")
        w.emit(f"for {j} in range({cut}, {size}):", f"  {at}[{j}] = {second}")
    else:
        source = w.source((n,))
        width = w.pick((2, 3, 4))
        w.emit(f"for {i} in range({-(-size // width)}):", f"  for {k} in range({width}):")
        w.emit(f"    if {i} * {width} + {k} < {n}:")
        w.emit(f"      {at}[{i} * {width} + {k}] = {source.name}[{i} * {width} + {k}]")
    w.done.append(out)


def private(w: Writer) -> None:
    """A temporary of each iteration, filled and then used."""
    rows, cols = w.some_shape(2)
    i, j, k = w.vars(3)
    t = w.name("T")
    mine = w.read((i, j), (rows, cols))
    out = w.target((rows, cols))
    w.emit(f"for {i} in range({rows}):", f"  alloc {t}: {w.dtype}[{cols}]")
    w.emit(f"    for {j} in range({cols}):", f"      {t}[{j}] = {mine}")
    w.emit(f"    for {k} in range({cols}):")
    w.emit(f"      {out.name}[{i}, {k}] = {t}[{w.index(k, cols)}] + {t}[{k}]")
    w.done.append(out)


def update(w: Writer) -> None:
    """A step of an optimizer: what is made from an element updates that element."""
    (n,) = w.some_shape(1)
    buf, grad = w.state((n,)), w.source((n,))
    delta = Buf(w.name("D"), w.dtype, (n,))
    w.temps.append(delta)
    i, j, k = w.vars(3)
    w.emit(f"for {i} in range({n}):")
    w.emit(f"  {delta.name}[{i}] = {buf.name}[{i}] - {grad.name}[{w.index(i, n)}]")
    times = w.chance(0.25)
    if times:
        w.emit(f"for {k} in range(2):")
    pad = "  " if times else ""
    w.emit(f"{pad}for {j} in range({n}):")
    w.emit(f"{pad}  {buf.name}[{j}] = {buf.name}[{j}] - {delta.name}[{w.index(j, n)}]")
    w.done.append(delta)


def triangle(w: Writer) -> None:
    """Half of a square, its bounds one loop in terms of the other; guards that read data."""
    (n, _) = w.some_shape(2)
    buf, a = w.state((n, n)), w.source((n, n))
    flags = w.source((n,), "int32")
    i, j = w.vars(2)
    low = w.pick((f"range({i}, {n})", f"range({i} + 1)", f"range(min({i} + 2, {n}))"))
    guard = w.pick(("", f"if {flags.name}[{j}] > int32(0):", f"if {flags.name}[{i}] >= int32(0):"))
    step = w.pick((f"= {a.name}[{j}, {i}]", f"+= {a.name}[{i}, {j}]"))
    line = f"{buf.name}[{i}, {j}] {step}"
    w.emit(f"for {i} in range({n}):", f"  for {j} in {low}:")
    w.emit(*([f"    {guard}", f"      {line}"] if guard else [f"    {line}"]))


def checked(w: Writer) -> None:
    """A check among what is written: it ends the call where it stands."""
    (n,) = w.some_shape(1)
    i, j = w.vars(2)
    value = w.read((i,), (n,))
    out = w.target((n,))
    check = f'check {value} > {w.lit(-4)}, "{i} is {{0}}", ({i})'
    first = w.chance(0.5)
    if w.chance(0.4):
        w.emit(f"for {j} in range({n}):", f"  {check.replace(i, j)}")
        w.emit(f"for {i} in range({n}):", f"  {out.name}[{i}] = {value}")
    else:
        store = f"  {out.name}[{i}] = {value}"
        w.emit(
            f"for {i} in range({n}):", *((f"  {check}", store) if first else (store, f"  {check}"))
        )
    w.done.append(out)


FAMILIES: tuple[Callable[[Writer], None], ...] = (
    *(elementwise, elementwise, elementwise),
    *(contraction, contraction, reduction, reduction, in_place, in_place),
    *(gather, convolution, interleaved, private, update, triangle, checked),
)


def random_program(rng: np.random.Generator) -> Program:
    """A program of one to five stages, or one of `HARD`; the same for the same state of `rng`."""
    if rng.random() < 0.15:
        return parse(HARD[int(rng.integers(len(HARD)))])
    w = Writer(rng)
    for _ in range(int(rng.integers(1, 6))):
        w.pick(FAMILIES)(w)
    return w.program()


def random_arrays(
    program: Program, dims: dict[str, int], rng: np.random.Generator, *, whole: bool = True
) -> Arrays:
    """Arguments for `program`: whole numbers from -4 to 4, or fractions where it is not `whole`."""
    env: dict[Any, Any] = {d: np.int64(dims[d.name]) for d in program.dims}
    found: Arrays = {}
    for param in program.params:
        shape = tuple(int(interp.evaluate(s, env)) for s in param.buffer.shape)
        kind = param.buffer.dtype.numpy
        drawn: Any = rng.integers(-4, 5, shape) if whole else rng.standard_normal(shape) * 2
        if param.role is Role.OUT:
            drawn = np.full(shape, 99)
        found[param.buffer.name] = np.asarray(drawn).astype(kind)
    return found
