"""Tensor cores: nests that `tensorize` made a warp's matrix product, as `mma.sync`.

Such a nest is an ordinary program: its lanes, a loop over `thread.x` with the hint `intrinsic`,
compute four elements each of a 16x8 tile of the result. The elements that a lane has are those that
the instruction gives it, so the local buffer of the result is divided as any other is. The operands
lie in shared memory, and are loaded with `ldmatrix`: a fragment of one tile, by all lanes together.

Several products in serial loops are emitted together: first the fragments of all tiles, each once,
and then the products. Where the instruction cannot be used (an older architecture, an operand that
is not in shared memory, rows that are not 16-byte aligned), the nest is emitted as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.kernel import Loop, Node, Phase
from tensorc.codegen.cuda.ranges import is_multiple
from tensorc.ir.expr import Binary, BinaryOp, Cast, Const, Expr, Load, Var, const_int
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, For, Stmt
from tensorc.ir.walk import free_vars, substitute
from tensorc.target import WARP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.target import Target

PREFIX = "mma.m16n8k16."
_CAPABILITY = 80
_ROW = 8  # Elements of 16 bits in a row of an 8x8 matrix: 16 bytes.
_LIMIT = 64  # Fragments of one operand that are held at once.


@dataclass(frozen=True, slots=True)
class Product:
    """A warp's product of two tiles, in the loops that all threads go through around it.

    Attributes:
        kind: "bf16" or "f16".
        loops: the serial loops, outermost first.
        phase: the lanes.
        halves: the loops over the two row halves and the two columns of a lane's elements.
        depth: the loop over the 16 elements that are summed up.
        leaf: what each lane does.
        left: the operand of 16 rows; of `right`, 8 columns.
    """

    kind: str
    loops: tuple[Loop, ...]
    phase: Phase
    halves: tuple[For, For]
    depth: For
    leaf: Accumulate
    left: Load
    right: Load

    @property
    def lane(self) -> For:
        """The loop over the lanes of a warp."""
        return self.phase.threads["x"]


def find(e: StmtEmitter, node: Node, target: Target) -> Product | None:
    """The product at `node`: a phase, or serial loops with nothing but one inside."""
    loops: list[Loop] = []
    while isinstance(node, Loop):
        if len(node.body) != 1 or const_int(node.loop.start) != 0:
            return None
        if (const_int(node.loop.extent) or _LIMIT + 1) > _LIMIT:
            return None
        loops.append(node)
        node = node.body[0]
    if not isinstance(node, Phase) or target.cuda.capability < _CAPABILITY:
        return None
    lane = node.threads.get("x")
    name = "" if lane is None else str(dict(lane.annotations).get("intrinsic", ""))
    if lane is None or not name.startswith(PREFIX) or const_int(lane.extent) != WARP:
        return None
    found = _parts(node.body)
    if found is None:
        return None
    first, second, depth, leaf, left, right = found
    product = Product(
        name.removeprefix(PREFIX), tuple(loops), node, (first, second), depth, leaf, left, right
    )
    return product if _fits(e, product) else None


def _parts(body: Stmt) -> tuple[For, For, For, Accumulate, Load, Load] | None:
    loops: list[For] = []
    while isinstance(body, For):
        loops.append(body)
        body = body.body
    if len(loops) != 3 or not isinstance(body, Accumulate):
        return None
    match body.values[0]:
        case Binary(BinaryOp.MUL, Cast(Load() as x, _), Cast(Load() as y, _)):
            first, second, depth = loops
            rows = {v for i in x.indices for v in free_vars(i)}
            left, right = (x, y) if first.var in rows else (y, x)
            return first, second, depth, body, left, right
        case _:
            return None


def _fits(e: StmtEmitter, p: Product) -> bool:
    """Whether the instruction can be used: operands in shared memory, rows on 16 bytes."""
    if p.leaf.buffers[0].scope != "local":
        return False
    for load in (p.left, p.right):
        if load.buffer.scope != "shared" or e.places[load.buffer].align < 16:
            return False
        if len(_dims(p, load)) != 2:
            return False
        place, base = e.places[load.buffer], _base(p, load)
        rows = list(load.buffer.shape[-1:])
        if not all(is_multiple(r, _ROW) for r in rows) and load.buffer.ndim > 1:
            return False
        if not is_multiple(place.offset(base), _ROW):
            return False
    return True


def _dims(p: Product, load: Load) -> dict[str, int]:
    """Which dimension of the operand runs along its rows or columns, and which along the sum."""
    found: dict[str, int] = {}
    for d, index in enumerate(load.indices):
        used = set(free_vars(index))
        if p.depth.var in used:
            found["depth"] = d
        elif p.lane.var in used:
            found["side"] = d
    return found


def _base(p: Product, load: Load) -> tuple[Expr, ...]:
    """The first element of an operand's tile."""
    own = (p.lane.var, p.depth.var, *(h.var for h in p.halves))
    zero = {v: Const(0, v.dtype) for v in own}
    return tuple(simplify(substitute(i, zero)) for i in load.indices)


# --- writing ----------------------------------------------------------------------------------


def emit(e: StmtEmitter, p: Product) -> None:
    """Write the fragments' loads, and the products."""
    with e.region(), e.scope(), e.out.inside(""):
        left = _fragments(e, p, p.left, "left")
        right = _fragments(e, p, p.right, "right")
        _nest(e, list(p.loops), lambda: _multiply(e, p, left, right))


def _nest(e: StmtEmitter, loops: list[Loop], body: object) -> None:
    if not loops:
        assert callable(body), "what stands inside of the loops"
        body()
        return
    e.out.line("#pragma unroll")
    with e.looping(loops[0].loop, unroll=False):
        _nest(e, loops[1:], body)


def _own_loops(p: Product, load: Load) -> list[Loop]:
    """The loops that move the operand's tile."""
    used = {v for i in load.indices for v in free_vars(i)}
    return [n for n in p.loops if n.loop.var in used]


def _fragments(e: StmtEmitter, p: Product, load: Load, side: str) -> str:
    """Load the fragments of all tiles of an operand; the name of their array."""
    loops = _own_loops(p, load)
    count = 4 if side == "left" else 2
    name = e.names.fresh(f"{load.buffer.name}.fragment")
    sizes = "".join(f"[{const_int(n.loop.extent)}]" for n in loops)
    e.out.line(f"unsigned {name}{sizes}[{count}];")

    def body() -> None:
        at = "".join(f"[{e.vars[n.loop.var].text}]" for n in loops)
        indices, transposed = _address(p, load, side)
        with e.statement():
            element = e.element(load.buffer, indices).text
        suffix = "_trans" if transposed else ""
        e.out.line(f"ldmatrix_x{count}{suffix}({name}{at}, &{element});")

    _nest(e, loops, body)
    return name


def _address(p: Product, load: Load, side: str) -> tuple[Sequence[Expr], bool]:
    """The row whose address a lane gives, and whether matrices are transposed while loaded.

    The matrices of the left operand are, in this order, rows 0-7 and 8-15 of the first eight
    elements of the sum, then of the last eight; of the right operand the first eight, the last.
    PTX ISA 8.8, "ldmatrix": lane l gives row l % 8 of matrix l // 8.
    """
    dims, lane = _dims(p, load), p.lane.var
    along_depth = dims["depth"] == load.buffer.ndim - 1
    row, matrix = _mod(lane, 8), _div(lane, 8)
    if side == "left":
        low, high = _mod(matrix, 2), _div(matrix, 2)
        if along_depth:  # A row of a matrix is a row of the operand.
            place = (_add(row, _times(low, 8)), _times(high, 8))
        else:
            place = (_times(low, 8), _add(row, _times(high, 8)))
    elif along_depth:
        place = (row, _times(_mod(matrix, 2), 8))
    else:
        place = (Const(0), _mod(lane, 16))
    indices = list(_base(p, load))
    for d, offset in ((dims["side"], place[0]), (dims["depth"], place[1])):
        indices[d] = _add(indices[d], offset)
    # An 8x8 matrix has the sum along its rows in both fragments.
    return [simplify(i) for i in indices], not along_depth


def _mod(a: Expr, by: int) -> Expr:
    return Binary(BinaryOp.MOD, a, Const(by))


def _div(a: Expr, by: int) -> Expr:
    return Binary(BinaryOp.FLOORDIV, a, Const(by))


def _times(a: Expr, by: int) -> Expr:
    return Binary(BinaryOp.MUL, a, Const(by))


def _add(a: Expr, b: Expr) -> Expr:
    return Binary(BinaryOp.ADD, a, b)


def _multiply(e: StmtEmitter, p: Product, left: str, right: str) -> None:
    results = []
    for h in range(2):
        for c in range(2):
            values: dict[Var, Expr] = {p.halves[0].var: Const(h), p.halves[1].var: Const(c)}
            indices = tuple(simplify(substitute(i, values)) for i in p.leaf.indices)
            with e.statement():
                results.append(e.element(p.leaf.buffers[0], indices).text)
    a = left + "".join(f"[{e.vars[n.loop.var].text}]" for n in _own_loops(p, p.left))
    b = right + "".join(f"[{e.vars[n.loop.var].text}]" for n in _own_loops(p, p.right))
    e.out.line(f"mma_m16n8k16_{p.kind}({', '.join(results)}, {a}, {b});")
