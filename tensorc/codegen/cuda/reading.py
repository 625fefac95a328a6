"""What makes a kernel readable: short names of loops, whole comments, no idle lines.

A schedule names loops for where they come from, `i.inner.inner.outer`. In a kernel the place says
that: a loop is called `i`, what is bound to blocks `i_block`, a part of the thread's number
`i_thread`. A name that nobody made of another, `lane`, stays. Comments use the names of the code.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.names import identifier
from tensorc.ir.expr import Binary, BinaryOp, Var
from tensorc.ir.printer import show
from tensorc.ir.stmt import Check, For
from tensorc.ir.walk import rewrite, substitute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tensorc.codegen.cuda.names import Names
    from tensorc.ir.expr import Expr
    from tensorc.ir.stmt import Leaf, Node, Stmt

_PARTS = ("outer", "inner", "init", "ahead", "rest", "head", "tail", "fold")
_MADE = re.compile(rf"({'|'.join(_PARTS)})(_\d+)?")
_WIDTH = 88
_LONGEST = 4  # Lines of one statement.


def root(name: str) -> str:
    """What a loop was called before steps cut and joined it.

    >>> root("i.outer.j.outer_1")
    'i.j'
    >>> root("outer")
    'outer'
    """
    kept = [part for part in name.split(".") if not _MADE.fullmatch(part)]
    return ".".join(kept) or name


def bound_name(loops: Sequence[For], kind: str) -> str:
    """A name for the number that some bound loops count, as one of them has it or "i_thread"."""
    own = [loop.var.name for loop in loops if root(loop.var.name) == loop.var.name]
    return own[0] if own else f"{root(loops[0].var.name)}_{kind}"


def name_loops(stmt: Stmt, names: Names, bound: Mapping[Var, str]) -> dict[Var, str]:
    """C names of the loops in `stmt`, beside those of `bound`; one name may stand in two nests."""
    found: dict[Var, str] = {}

    def visit(node: object, names: Names) -> None:
        if isinstance(node, For) and node.var not in bound:
            names = names.inner()
            found[node.var] = names.fresh(root(node.var.name))
        for part in _inside(node):
            visit(part, names)

    visit(stmt, names)
    return found


def _inside(node: object) -> Iterable[object]:
    for field in ("stmts", "body", "orelse"):
        part = getattr(node, field, None)
        if isinstance(part, tuple):
            yield from part
        elif part is not None:
            yield part


def comment(leaf: Leaf, called: Mapping[Var, str]) -> list[str]:
    """A statement in the names of the code, over several lines; cut where a pass wrote it out."""
    short = {v: Var(identifier(name), v.dtype) for v, name in called.items()}
    text = " ".join(show(rewrite(substitute(leaf, short), _flat)).split())
    if "let " in text and not isinstance(leaf, Check):
        text = f"{text[: text.index('= ') + 1]} ..."
    lines = textwrap.wrap(
        text, _WIDTH, break_long_words=False, break_on_hyphens=False, subsequent_indent="    "
    )
    return lines if len(lines) <= _LONGEST else [*lines[: _LONGEST - 1], "    ..."]


def _flat(node: Node) -> Node | None:
    """`a + (b + c)` of integers as `a + b + c`."""
    match node:
        case Binary(BinaryOp.ADD, a, Binary(BinaryOp.ADD) as rest) if node.dtype.is_int:
            total: Expr = a
            for term in _terms(rest):
                total = Binary(BinaryOp.ADD, total, term)
            return total
        case _:
            return None


def _terms(expr: Expr) -> list[Expr]:
    match expr:
        case Binary(BinaryOp.ADD, a, b):
            return [*_terms(a), *_terms(b)]
        case _:
            return [expr]


_NUMBER = re.compile(r"\s*const (?:int|long long) (\w+) = [^;]*;")


def tidied(lines: Sequence[str]) -> list[str]:
    """The lines of a function without numbers that nothing uses, and braces inside of braces."""
    kept = list(lines)
    while True:
        code = "\n".join(line for line in kept if not line.lstrip().startswith("//"))
        uses = Counter(re.findall(r"\w+", code))
        idle = [x for x in kept if (found := _NUMBER.fullmatch(x)) and uses[found[1]] == 1]
        if not idle:
            return _unwrapped(kept)
        kept = [line for line in kept if line not in idle]


def _unwrapped(lines: Sequence[str]) -> list[str]:
    """Blocks that are all of a block lose their braces."""
    found = list(lines)
    at = 0
    while at + 1 < len(found):
        inner = found[at + 1]
        if found[at].endswith("{") and inner.strip() == "{":
            close = inner.replace("{", "}")
            end = next(i for i in range(at + 2, len(found)) if found[i] == close)
            if found[end + 1].strip() == "}":
                middle = [line.removeprefix("  ") for line in found[at + 2 : end]]
                found[at + 1 : end + 1] = middle
                continue
        at += 1
    return found
