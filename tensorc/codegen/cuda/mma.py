"""Tensor cores: nests that `tensorize` made a warp's matrix product, as `mma.sync`.

Such a nest is an ordinary program: its lanes, a loop over `thread.x` with the hint `intrinsic`,
compute four elements each of a 16x8 tile of the result. The elements that a lane has are those that
the instruction gives it, so the local buffer of the result is divided as any other is. The operands
lie in shared memory, and are loaded with `ldmatrix`: a fragment of one tile, by all lanes together.
That moves 16 bytes of a row to four lanes, and transposes elements of 16 bits; of `tf32`, elements
along columns are loaded one by one, and all are rounded in their registers.

Several products in serial loops are emitted together: first the fragments of all tiles, each once,
and then the products. Where the instruction cannot be used (an older architecture, an operand that
is not in shared memory, rows that are not 16-byte aligned), the nest is emitted as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.kernel import Loop, Node, Phase
from tensorc.codegen.cuda.ranges import is_multiple
from tensorc.ir.expr import Binary, BinaryOp, Call, Cast, Const, Expr, Load, Var, const_int
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, For, Stmt
from tensorc.ir.walk import free_vars, substitute
from tensorc.target import WARP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.target import Target

_CAPABILITY = 80
_LIMIT = 64  # Fragments of one operand that are held at once.


@dataclass(frozen=True, slots=True)
class Form:
    """An instruction for tiles of 16x8 results: PTX ISA 8.8, "Matrix multiply-accumulate".

    Attributes:
        helper: the function that is called.
        depth: how many elements are summed up.
        row: elements in 16 bytes, a row of what `ldmatrix` loads.
        rounds: operands are float32, and rounded to tf32.
    """

    helper: str
    depth: int
    row: int
    rounds: bool = False


_FORMS = {
    "mma.m16n8k16.bf16": Form("mma_m16n8k16_bf16", 16, 8),
    "mma.m16n8k16.f16": Form("mma_m16n8k16_f16", 16, 8),
    "mma.m16n8k8.tf32": Form("mma_m16n8k8_tf32", 8, 4, rounds=True),
}


@dataclass(frozen=True, slots=True)
class Product:
    """A warp's product of two tiles, in the loops that all threads go through around it.

    Attributes:
        form: the instruction.
        loops: the serial loops, outermost first.
        phase: the lanes.
        halves: the loops over the two row halves and the two columns of a lane's elements.
        depth: the loop over the elements that are summed up.
        leaf: what each lane does.
        left: the operand of 16 rows; of `right`, 8 columns.
    """

    form: Form
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
    form = _FORMS.get(name)
    if lane is None or form is None or const_int(lane.extent) != WARP:
        return None
    found = _parts(node.body)
    if found is None or const_int(found[2].extent) != form.depth:
        return None
    first, second, depth, leaf, left, right = found
    product = Product(form, tuple(loops), node, (first, second), depth, leaf, left, right)
    return product if _fits(e, product) else None


def _parts(body: Stmt) -> tuple[For, For, For, Accumulate, Load, Load] | None:
    loops: list[For] = []
    while isinstance(body, For):
        loops.append(body)
        body = body.body
    if len(loops) != 3 or not isinstance(body, Accumulate):
        return None
    match body.values[0]:
        case Binary(BinaryOp.MUL, Cast(Load() as x, _), Cast(Load() as y, _)) | Binary(
            BinaryOp.MUL, Call("tf32", (Load() as x,)), Call("tf32", (Load() as y,))
        ):
            first, second, depth = loops
            rows = {v for i in x.indices for v in free_vars(i)}
            left, right = (x, y) if first.var in rows else (y, x)
            return first, second, depth, body, left, right
        case _:
            return None


def _fits(e: StmtEmitter, p: Product) -> bool:
    """Whether the instruction can be used: operands that can be loaded from shared memory."""
    if p.leaf.buffers[0].scope != "local":
        return False
    for load in (p.left, p.right):
        if load.buffer.scope != "shared" or len(_dims(p, load)) != 2:
            return False
        if not (p.form.rounds or _by_rows(e, p, load)):
            return False
    return True


def _by_rows(e: StmtEmitter, p: Product, load: Load) -> bool:
    """Whether `ldmatrix` can load the operand: rows on 16 bytes, of the sum unless of 16 bits."""
    place, row = e.places[load.buffer], p.form.row
    if place.align < 16 or (p.form.rounds and not _along_depth(p, load)):
        return False
    if load.buffer.ndim - 1 not in _dims(p, load).values():
        return False  # Neither side of the tile lies along a row.
    rows = load.buffer.shape[-1]
    return is_multiple(rows, row) and is_multiple(place.offset(_base(p, load)), row)


def _along_depth(p: Product, load: Load) -> bool:
    """Whether the elements that are summed up lie side by side."""
    return _dims(p, load)["depth"] == load.buffer.ndim - 1


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
        to = name + "".join(f"[{e.vars[n.loop.var].text}]" for n in loops)
        if not _by_rows(e, p, load):
            _load_elements(e, p, load, to, count)
            return
        with e.statement():
            element = e.element(load.buffer, _address(p, load, side)).text
        suffix = "" if _along_depth(p, load) else "_trans"
        e.out.line(f"ldmatrix_x{count}{suffix}({to}, &{element});")
        if p.form.rounds:
            e.out.line(f"tf32_fragment({to});")

    _nest(e, loops, body)
    return name


def _load_elements(e: StmtEmitter, p: Product, load: Load, to: str, count: int) -> None:
    """Load a fragment of float32 values one by one.

    Lane l has row l // 4, and 8 below it, and element l % 4 of the sum, and 4 after it; the right
    operand's rows are columns, of which there are 8: PTX ISA 8.8, "mma.m16n8k8".
    """
    dims, lane = _dims(p, load), p.lane.var
    for register in range(count):
        down, along = (register % 2, register // 2) if count == 4 else (0, register)
        indices = list(_base(p, load))
        side = lane // 4 + 8 * down
        for d, offset in (
            (dims["side"], side),
            (dims["depth"], lane % 4 + 4 * along),
        ):
            indices[d] = simplify(indices[d] + offset)
        with e.statement():
            element = e.element(load.buffer, indices).text
        e.out.line(f"{to}[{register}] = tf32_bits({element});")


def _address(p: Product, load: Load, side: str) -> Sequence[Expr]:
    """The row whose address a lane gives.

    The matrices of the left operand are, in this order, rows 0-7 and 8-15 of the first half of the
    sum, then of the last; of the right operand the first half, the last.
    PTX ISA 8.8, "ldmatrix": lane l gives row l % 8 of matrix l // 8.
    """
    dims, lane, half = _dims(p, load), p.lane.var, p.form.depth // 2
    along_depth = _along_depth(p, load)
    row, matrix = lane % 8, lane // 8
    if side == "left":
        low, high = matrix % 2, matrix // 2
        # Along the sum a row of a matrix is a row of the operand.
        place = (row + low * 8, high * half) if along_depth else (low * 8, row + high * 8)
    elif along_depth:
        place = (row, matrix % 2 * half)
    else:
        place = (Const(0), lane % 16)
    indices = list(_base(p, load))
    for d, offset in ((dims["side"], place[0]), (dims["depth"], place[1])):
        indices[d] = indices[d] + offset
    # An 8x8 matrix has the sum along its rows in both fragments, and else is transposed.
    return [simplify(i) for i in indices]


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
    e.out.line(f"{p.form.helper}({', '.join(results)}, {a}, {b});")
