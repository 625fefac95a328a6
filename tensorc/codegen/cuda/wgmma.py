"""Tensor cores of sm_90a: nests that `tensorize` made a warp group's matrix product, as `wgmma`.

The lanes of such a nest, 128 on `thread.x`, compute a tile of 64 rows; those elements are a lane's
that the instruction gives it. Both operands are read from shared memory by the tensor cores
themselves, through descriptors: swizzled rows of 32, 64 or 128 bytes, either along the sum or along
the rows and columns; of `tf32` along the sum alone, and numbers that are rounded already, since the
instruction drops bits. Serial loops around are one group: issued together, and waited for at the
end.

On other architectures the nest is emitted lane by lane, as any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.kernel import Loop, Node, Phase, written
from tensorc.codegen.cuda.ranges import is_multiple
from tensorc.codegen.cuda.tma import swizzle_of
from tensorc.errors import CompileError
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Call, Cast, Const, Expr, Load, Var, const_int
from tensorc.ir.printer import show
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, For
from tensorc.ir.walk import free_vars, substitute
from tensorc.target import WARP

if TYPE_CHECKING:
    from tensorc.codegen.cuda.handshakes import Handshakes
    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.target import Target

NAME = re.compile(r"wgmma\.m64n(\d+)k(?:16\.(bf16|f16)|8\.(tf32))")
_CAPABILITY = 90
_DEPTH = {"bf16": 16, "f16": 16, "tf32": 8}
_ROWS = 8  # Of a swizzle's pattern.
_LIMIT = 64  # Instructions that are written out in one group.


@dataclass(frozen=True, slots=True)
class Product:
    """A warp group's product of two tiles, and the loops that make a group of several.

    Attributes:
        columns: N of the instruction.
        kind: "bf16", "f16" or "tf32".
        loops: the serial loops around, outermost first.
        phase: the lanes.
        inner: the loops over a lane's elements, outermost first, and over the sum.
        leaf: what a lane does.
        left: the operand of 64 rows.
        right: the operand of `columns` columns.
    """

    columns: int
    kind: str
    loops: tuple[Loop, ...]
    phase: Phase
    inner: tuple[For, ...]
    leaf: Accumulate
    left: Load
    right: Load

    @property
    def name(self) -> str:
        """The intrinsic."""
        return f"wgmma.m64n{self.columns}k{_DEPTH[self.kind]}.{self.kind}"

    @property
    def own(self) -> tuple[Var, ...]:
        """The variables that tell the elements of the tile apart."""
        return (self.phase.threads["x"].var, *(loop.var for loop in self.inner))


def operands(phase: Phase, target: Target) -> tuple[Buffer, ...]:
    """The buffers that tensor cores read themselves, if a phase is such a product."""
    product = _product(phase, (), target)
    return () if product is None else (product.left.buffer, product.right.buffer)


def find(node: Node, target: Target) -> Product | None:
    """The product at `node`: a phase, or serial loops with nothing but one inside.

    Raises:
        CompileError: there is one, for this architecture, and the instruction cannot do it.
    """
    loops: list[Loop] = []
    trips = 1
    while isinstance(node, Loop):
        trips *= const_int(node.loop.extent) or _LIMIT + 1
        if len(node.body) != 1 or const_int(node.loop.start) != 0 or trips > _LIMIT:
            return None
        loops.append(node)
        node = node.body[0]
    return _product(node, tuple(loops), target) if isinstance(node, Phase) else None


def _product(phase: Phase, loops: tuple[Loop, ...], target: Target) -> Product | None:
    lane = phase.threads.get("x")
    name = "" if lane is None else str(dict(lane.annotations).get("intrinsic", ""))
    known = NAME.fullmatch(name)
    if known is None or target.cuda.capability != _CAPABILITY or lane is None:
        return None
    if target.cuda.name != "sm_90a":
        raise CompileError(
            f"{name}: {target.cuda.name} leaves it out, though its devices have it; compile for "
            "sm_90a, whose code runs on them and on no others"
        )
    inner: list[For] = []
    body = phase.body
    while isinstance(body, For):
        inner.append(body)
        body = body.body
    match body:
        case Accumulate(
            _, _, _, (Binary(BinaryOp.MUL, Cast(Load() as x, _), Cast(Load() as y, _)),)
        ) | Accumulate(
            _,
            _,
            _,
            (Binary(BinaryOp.MUL, Call("tf32", (Load() as x,)), Call("tf32", (Load() as y,))),),
        ):
            rows = {v for i in x.indices for v in free_vars(i)}
            left, right = (x, y) if inner[0].var in rows else (y, x)
        case _:
            wrote = ", ".join(dict.fromkeys(b.name for b in written(body) if b.scope != "local"))
            raise CompileError(
                f"{name}: lanes keep its result in registers, and here it is in {wrote}; set_scope "
                "it to 'local'"
            )
    columns, kind = int(known.group(1)), known.group(2) or known.group(3)
    return Product(columns, kind, loops, phase, tuple(inner), body, left, right)


# --- writing ----------------------------------------------------------------------------------


def emit(e: StmtEmitter, p: Product, hands: Handshakes, left: int = 0) -> None:
    """Write a group of products, and the wait until at most `left` groups are at work.

    Raises:
        CompileError: an operand or the result does not lie as the instruction needs it.
    """
    first, pitch = _result(e, p)
    one, other = _operand(e, p, p.left), _operand(e, p, p.right)
    name = p.name.replace(".", "_")
    flags = f"{pitch}"
    if p.kind != "tf32":
        flags += f", {int(one.transposed)}, {int(other.transposed)}"
    e.out.line("wgmma_fence();")
    with e.region(), e.scope(), e.looping_all(n.loop for n in p.loops):
        with e.statement(*first, *one.corner, *other.corner):
            d = e.element(p.leaf.buffers[0], first).text
            a, b = (
                f"descriptor<{o.shape}>(&{e.element(o.load.buffer, o.corner).text})"
                for o in (one, other)
            )
        e.out.call(f"{name}<{flags}>", f"&{d}", a, b)
    e.out.line("wgmma_commit();")
    wait(e, p, hands, left)


def wait(e: StmtEmitter, p: Product, hands: Handshakes, left: int) -> None:
    """Write the wait until at most `left` groups of products are at work."""
    name = p.leaf.buffers[0].name
    what = "uses of the slot are over" if left else "what follows"
    if hands.signal(f"wgmma_wait<{left}>()", f"the products of {name} before {what}"):
        e.out.line(f"wgmma_wait<{left}>();")


@dataclass(frozen=True, slots=True)
class _Operand:
    """An operand's tile.

    Attributes:
        load: of one of its elements.
        corner: the indices of its first element.
        width: bytes of a row, and of its pattern.
        panel: bytes from one panel of such rows to the next; 0 of a single one.
        transposed: whether the sum is across its rows.
    """

    load: Load
    corner: tuple[Expr, ...]
    width: int
    panel: int
    transposed: bool

    @property
    def shape(self) -> str:
        """The arguments of its descriptor's template."""
        return f"{self.width}, {self.panel}" if self.panel else f"{self.width}"


def _zeroed(p: Product, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
    zero: dict[Var, Expr] = {v: Const(0, v.dtype) for v in p.own}
    return tuple(simplify(substitute(i, zero)) for i in indices)


def _refuse(p: Product, buffer: Buffer, why: str) -> CompileError:
    shown = ", ".join(map(show, buffer.shape))
    return CompileError(f"{p.name}: {buffer.name}, {buffer.dtype}[{shown}] {buffer.scope}: {why}")


def _result(e: StmtEmitter, p: Product) -> tuple[tuple[Expr, ...], int]:
    """A thread's first element of the result, and how many lie from one row to the next."""
    buffer = p.leaf.buffers[0]
    place, indices = e.places[buffer], p.leaf.indices
    base = place.offset(_zeroed(p, indices))
    steps: dict[int, int | None] = {}
    for number, loop in enumerate(p.inner[:-1]):
        one: dict[Var, Expr] = {v: Const(int(v is loop.var), v.dtype) for v in p.own}
        moved = place.offset(tuple(substitute(i, one) for i in indices))
        steps[number] = const_int(simplify(Binary(BinaryOp.SUB, moved, base)))
    pitch, rest = steps[0], [steps[n] for n in range(1, len(p.inner) - 1)]
    if pitch is None or rest[-1] != 1 or rest[:-1] not in ([], [2]):
        raise _refuse(
            p, buffer, "a thread's elements of a row are not beside each other; divide it in all "
            "phases as the instruction does"
        )  # fmt: skip
    return _zeroed(p, indices), pitch


def _operand(e: StmtEmitter, p: Product, load: Load) -> _Operand:
    buffer = load.buffer
    size = buffer.dtype.bytes
    depth = p.inner[-1].var
    along = [d for d, i in enumerate(load.indices) if depth in set(free_vars(i))]
    if buffer.scope != "shared" or len(along) != 1 or buffer.ndim < 2:
        raise _refuse(p, buffer, "tensor cores read operands of two dimensions in shared memory")
    width, row = swizzle_of(buffer), (const_int(buffer.shape[-1]) or 0) * size
    if not width or row != width:
        raise _refuse(
            p, buffer, f"tensor cores read swizzled rows of 32, 64 or 128 bytes, and these are of "
            f"{row} bytes with {f'the pattern of {width}' if width else 'no pattern'}; tile its "
            "last dimension so, and swizzle it"
        )  # fmt: skip
    transposed = along[0] != buffer.ndim - 1
    if p.kind == "tf32":
        _need_rounded(e, p, buffer, transposed)
    corner = _zeroed(p, load.indices)
    lines = e.places[buffer].offset((*corner[:-1], Const(0)))
    unit = _DEPTH[p.kind]
    if transposed:
        unit = row // size  # All rows or columns of the tile: an index stays in its dimension.
    if not is_multiple(lines, _ROWS * row // size) or not is_multiple(corner[-1], unit):
        shown = ", ".join(map(show, corner))
        raise _refuse(p, buffer, f"its tile begins at [{shown}], which need not be a row of 8")
    panel = _panel(e, p, load, row // size) if transposed else 0
    return _Operand(load, corner, width, panel * size, transposed)


def _need_rounded(e: StmtEmitter, p: Product, buffer: Buffer, transposed: bool) -> None:
    if transposed:
        raise _refuse(
            p, buffer, "tensor cores read operands of tf32 along the sum alone, and here it is "
            "across the rows; pack(..., order=...) stores it the other way round"
        )  # fmt: skip
    if buffer not in e.rounded:
        raise _refuse(
            p, buffer, "tensor cores drop bits that tf32 rounds, and its numbers may have them; "
            "pack(..., precision='tf32') stores them rounded"
        )  # fmt: skip


def _panel(e: StmtEmitter, p: Product, load: Load, row: int) -> int:
    """Elements from one panel of `row` rows or columns to the next; 0 where one holds them all."""
    span = _ROWS * _ROWS if load is p.left else p.columns
    if span <= row:
        return 0
    place = e.places[load.buffer]
    base = place.offset(_zeroed(p, load.indices))

    def distance(line: int) -> int | None:
        values = _lane_of(p, load, line)
        at = place.offset(tuple(simplify(substitute(i, values)) for i in load.indices))
        return const_int(simplify(Binary(BinaryOp.SUB, at, base)))

    step = distance(row) or 0
    ends = [x for first in range(0, span, row) for x in (first, min(first + row, span) - 1)]
    if step % (_ROWS * row) or any(distance(x) != x // row * step + x % row for x in ends):
        raise _refuse(
            p, load.buffer, f"its {span} rows or columns are not in panels of {row}, one whole "
            f"panel after the other; cache_read(..., panel={row}) puts them there"
        )  # fmt: skip
    return step


def _lane_of(p: Product, load: Load, line: int) -> dict[Var, Expr]:
    """The values of the tile's variables for a row of the left operand, a column of the right."""
    half, *eights, pair, _ = (loop.var for loop in p.inner)
    lane = p.phase.threads["x"].var
    found = dict.fromkeys(p.own, 0)
    if load is p.left:
        found |= {lane: line // 16 * WARP + line % 8 * 4, half: line // 8 % 2}
    else:
        found |= {lane: line % 8 // 2, pair: line % 2} | dict.fromkeys(eights, line // 8)
    return {v: Const(n, v.dtype) for v, n in found.items()}


# --- the instruction --------------------------------------------------------------------------

_HELPER = re.compile(r"wgmma_m64n(\d+)k(\d+)_(bf16|f16|tf32)")


def helper(name: str) -> str | None:
    """The device function of that name, if it is one of these instructions."""
    known = _HELPER.fullmatch(name)
    if known is None:
        return None
    columns, depth, kind = int(known.group(1)), int(known.group(2)), known.group(3)
    count = columns // 2
    places = [f"%{i}" for i in range(count)]
    # Register 4n + 2h + c is the element of row half h and column 8n + c: PTX ISA 8.8, "Register
    # Fragments for wgmma.mma_async.m64nNk16".
    values = [
        f'"+f"(d[{"pitch + " if i % 4 >= 2 else ""}{i // 4 * 2 + i % 2}])' for i in range(count)
    ]
    regs = ',"\n               "'.join(", ".join(places[i : i + 16]) for i in range(0, count, 16))
    outs = ",\n                 ".join(", ".join(values[i : i + 4]) for i in range(0, count, 4))
    ways, scales, flags = "int pitch, int a_trans, int b_trans", "1, 1, 1", ""
    if kind == "tf32":  # Operands have one way to lie.
        ways = "int pitch"
    else:
        scales += f", %{count + 2}, %{count + 3}"
        flags = ', "n"(a_trans), "n"(b_trans)'
    return f"""// d += a * b by a warp group, of 64x{depth} by {depth}x{columns} {kind}.
template <{ways}>
__device__ __forceinline__ void {name}(
    float* d, unsigned long long a, unsigned long long b) {{
  asm volatile("wgmma.mma_async.sync.aligned.m64n{columns}k{depth}.f32.{kind}.{kind} "
               "{{{regs}}}, "
               "%{count}, %{count + 1}, {scales};"
               : {outs}
               : "l"(a), "l"(b){flags});
}}"""
