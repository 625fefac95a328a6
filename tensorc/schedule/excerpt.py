"""Some nests of a program as a program of their own, and what was made of them put back.

A step on them then costs what they are, however long the whole is. Buffers have numbers for names
in an excerpt, so what was made of one can be put in place of each that is equal but for names:

    for i in range(256):                           for i in range(256):
      relu_7[i] = max(add_7[i], 0.0)   becomes       «0»[i] = max(«1»[i], 0.0)

What a step proves of an excerpt holds in the whole. The excerpt allocates only what nothing else
touches. Any other buffer is a parameter of it, of which no step assumes more than the role says;
what it reads there holds a value before, or there is no excerpt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from tensorc.ir.alike import Remade, pattern
from tensorc.ir.expr import Buffer, Const, Dim, Load, Var, Where
from tensorc.ir.facts import facts, nests
from tensorc.ir.stmt import Allocate, Block, For, Param, Program, Role, Store, block
from tensorc.ir.walk import walk_stmts
from tensorc.schedule.digits import fills
from tensorc.schedule.spine import allocated
from tensorc.schedule.trace import LoopRef, Step, Value
from tensorc.schedule.tree import fresh_name, sites, with_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tensorc.ir.expr import Expr
    from tensorc.ir.stmt import Stmt
    from tensorc.schedule.spine import Spine

_ZERO = Const(0)
_NUMBERED = re.compile("«[0-9]+»")

Used: TypeAlias = tuple[Var | Buffer, ...]


class Outline:
    """The nests of a program's spine, and which of them touch and write a buffer."""

    def __init__(self, program: Program, spine: Spine) -> None:
        """Go through the program once."""
        self.program, self.spine = program, spine
        self.users: dict[Buffer, list[int]] = {}
        self.writers: dict[str, list[int]] = {}
        for place, stmt in enumerate(spine.nests):
            found = [facts(nest) for nest in nests(stmt)]
            for b in {b: None for f in found for b in (*f.written, *f.read)}:
                self.users.setdefault(b, []).append(place)
            for name in {name: None for f in found for name in f.stages}:
                self.writers.setdefault(name, []).append(place)

    def is_whole(self, first: int, last: int) -> bool:
        """Whether nothing else writes what the nests from `first` to `last` do."""
        for stmt in self.spine.nests[first : last + 1]:
            for nest in nests(stmt):
                for name in facts(nest).stages:
                    places = self.writers[name]
                    if places[0] < first or places[-1] > last:
                        return False
        return True


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Nests that stand side by side, to be a program.

    Attributes:
        key: what excerpts alike have in common.
        used: the variables and buffers of the whole program, in order of first appearance.
        numbered: what stands for them in the excerpt.
        roles: what is a parameter, and what is allocated around the nests (None).
        places: of the first and the last nest among those of the whole program's spine.
        whole: the nests as they stand in the whole program.
        own: the buffers that are allocated around the nests, from the outermost on.
    """

    key: object
    used: Used
    numbered: Used
    roles: Mapping[Buffer, Role | None]
    places: tuple[int, int]
    whole: Stmt
    own: tuple[Buffer, ...]

    def name_of(self, buffer: str) -> str:
        """The name in the excerpt of one of its buffers."""
        pairs = zip(self.used, self.numbered, strict=True)
        return next(n.name for b, n in pairs if isinstance(b, Buffer) and b.name == buffer)

    def program(self, of: Program) -> Program:
        """The nests as a program of their own; `of` is the whole."""
        pairs = list(zip(self.used, self.numbered, strict=True))
        known = {a: b for a, b in pairs if isinstance(a, Buffer) and isinstance(b, Buffer)}
        variables = {a: b for a, b in pairs if isinstance(a, Var) and isinstance(b, Var)}
        body = Remade(variables, known).stmt(self.whole)
        for b in reversed(self.own):
            body = Allocate(known[b], body)
        params = tuple(Param(known[b], role) for b, role in self.roles.items() if role is not None)
        return Program(of.name, params, of.dims, body)


@dataclass(frozen=True, slots=True)
class Made:
    """What became of an excerpt, and the steps that led there."""

    excerpt: Excerpt
    body: Stmt
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Renewed:
    """What stands for the nests of an excerpt, and is allocated around them no more."""

    excerpt: Excerpt
    stmt: Stmt
    gone: frozenset[Buffer]
    steps: tuple[Step, ...]


def cut(outline: Outline, first: int, last: int, filled: frozenset[Buffer]) -> Excerpt | None:
    """The nests from place `first` to `last` of the spine; None where they are no excerpt.

    `filled` are the buffers that hold a value in each element before anything reads them.
    """
    spine = outline.spine
    stmts = _side_by_side(spine, first, last)
    if stmts is None:
        return None
    whole = block(stmts)
    tokens, used = pattern(whole)
    roles = _roles(outline, whole, used, (first, last), filled)
    if roles is None or any(_NUMBERED.search(x.name) for x in used):
        return None
    numbered = _numbered(used)
    own = sorted((b for b, role in roles.items() if role is None), key=spine.depths.__getitem__)
    named = tuple(
        b if isinstance(b, Dim) else b.name if isinstance(b, Var) else None for b in numbered
    )
    key = (tokens, named, tuple(roles.values()))
    return Excerpt(key, used, numbered, roles, (first, last), whole, tuple(own))


def _side_by_side(spine: Spine, first: int, last: int) -> tuple[Stmt, ...] | None:
    """The nests of one block, if nothing else of the block stands between them."""
    if len(set(spine.blocks[first : last + 1])) > 1:
        return None
    start, stop = spine.times[first][-1], spine.times[last][-1]
    return spine.nests[first : last + 1] if stop - start == last - first else None


def _roles(
    outline: Outline,
    whole: Stmt,
    used: Used,
    places: tuple[int, int],
    filled: frozenset[Buffer],
) -> dict[Buffer, Role | None] | None:
    """What is a parameter of an excerpt, and what it allocates (None); None if it reads too much.

    A buffer that is written elsewhere counts as holding nothing yet where the excerpt writes it.
    """
    inner = {s.buffer for s in walk_stmts(whole) if isinstance(s, Allocate)}
    found = [facts(nest) for nest in nests(whole)]
    read = {b for f in found for b in f.read}
    written = {b for f in found for b in f.written}
    params = {p.buffer: p.role for p in outline.program.params}
    roles: dict[Buffer, Role | None] = {}
    for b in used:
        if not isinstance(b, Buffer) or b in inner:
            continue
        role = params.get(b, Role.OUT)
        if role is Role.OUT and b in read and b not in written:
            if b not in filled:
                return None
            role = Role.IN
        users = outline.users[b]
        alone = places[0] <= users[0] and users[-1] <= places[1]
        roles[b] = None if alone and b in outline.spine.depths else role
    return roles


def _numbered(used: Used) -> Used:
    """What stands for variables and buffers: loops named for a buffer have its number too."""
    names = {b.name: f"«{n}»" for n, b in enumerate(used) if isinstance(b, Buffer)}
    made: list[Var | Buffer] = []
    for x in used:
        name = names[x.name] if isinstance(x, Buffer) else x.name
        if isinstance(x, Var) and not isinstance(x, Dim):
            name = _replaced(name, names)
        made.append(x if name == x.name else replace(x, name=name))
    return tuple(made)


def filled_buffers(program: Program) -> frozenset[Buffer]:
    """The buffers of which a plain nest stores each element, before others read it."""
    filled = {p.buffer for p in program.params if p.role is not Role.OUT}
    for nest in nests(program.body):
        if facts(nest).written and not filled.issuperset(facts(nest).written):
            for site in sites(nest):
                leaf = site.leaf
                if not isinstance(leaf, Store) or not _has_value(leaf.value, filled):
                    continue
                shape = leaf.buffer.shape
                if fills(site, leaf.indices, [_ZERO] * len(shape), shape, shape):
                    filled.add(leaf.buffer)
    return frozenset(filled)


def _has_value(value: Expr, filled: set[Buffer]) -> bool:
    """Whether what is stored is defined: all but a copy of what was never written is."""
    source = value.on_true if isinstance(value, Where) else value
    return not isinstance(source, Load) or source.buffer in filled


def renewed(excerpt: Excerpt, made: Made, taken: set[str]) -> Renewed | None:
    """What was made of an excerpt like `excerpt`, for its own variables and buffers.

    None where names of loops would become one, so that the steps would not lead to the same.
    Buffers that are new get none of the names `taken`, and theirs are added.
    """
    of = made.excerpt
    body, kept = made.body, set[Buffer]()
    pairs = list(zip(of.numbered, excerpt.used, strict=True))
    mine = {a: b for a, b in pairs if isinstance(a, Buffer) and isinstance(b, Buffer)}
    while isinstance(body, Allocate) and body.buffer in mine:
        kept.add(mine[body.buffer])
        body = body.body
    named = _renaming(body, mine, taken)
    loops = {s.var.name for s in walk_stmts(body) if isinstance(s, For)}
    if len({named(name) for name in loops}) < len(loops):
        return None
    variables = {a: b for a, b in pairs if isinstance(a, Var) and isinstance(b, Var)}
    new = Remade(variables, mine, named).stmt(body)
    steps = tuple([_renamed(step, named) for step in made.steps])
    return Renewed(excerpt, new, frozenset(excerpt.own) - kept, steps)


def _renaming(body: Stmt, mine: Mapping[Buffer, Buffer], taken: set[str]) -> Callable[[str], str]:
    """The names in the whole of what has names in an excerpt.

    A buffer that is new gets the name that it would have got in the whole.
    """
    known = {a.name: b.name for a, b in mine.items()}
    made = [s.buffer.name for s in walk_stmts(body) if isinstance(s, Allocate)]
    new = dict.fromkeys(name for name in made if name not in known)
    for name in new:
        stem = re.sub("_[0-9]+$", "", name)
        base = stem if stem in new else name
        known[name] = fresh_name(_replaced(base, known), taken)

    @cache
    def named(text: str) -> str:
        return _replaced(text, known) if "«" in text else text

    return named


def _replaced(text: str, known: Mapping[str, str]) -> str:
    """`text` with names of buffers replaced where they are whole words, the longest first."""
    longest = sorted((name for name in known if name in text), key=len, reverse=True)
    if not longest:
        return text
    inside = "|".join(map(re.escape, longest))
    return re.sub(rf"(?<!\w)({inside})(?!\w)", lambda m: known[m[1]], text)


def _renamed(step: Step, named: Callable[[str], str]) -> Step:
    def value(x: Value) -> Value:
        if isinstance(x, tuple):
            return tuple(named(t) if isinstance(t, str) else t for t in x)  # type: ignore[return-value]
        return named(x) if isinstance(x, str) else x

    args = tuple(
        LoopRef(named(a.stage), named(a.loop)) if isinstance(a, LoopRef) else value(a)
        for a in step.args
    )
    options = {k: value(v) for k, v in step.options.items()}
    return Step(step.primitive, args, options, tuple(map(named, step.made)), named(step.group))


def put_back(outline: Outline, parts: Sequence[Renewed]) -> Program:
    """The program with new statements for several excerpts, which have no nest in common."""
    spine = outline.spine
    gone = {b for part in parts for b in part.gone}
    edits: dict[int, list[tuple[int, int, Stmt]]] = {}
    for part in parts:
        first, last = part.excerpt.places
        ends = spine.times[first][-1], spine.times[last][-1]
        edits.setdefault(spine.blocks[first], []).append((*ends, part.stmt))
    below: Stmt | None = None
    for depth in range(len(spine.path) - 1, -1, -1):
        parent = spine.path[depth]
        if isinstance(parent, Allocate):
            assert below is not None, "a spine ends with a block"
            if parent.buffer not in gone:
                below = allocated(parent, below)
            continue
        assert isinstance(parent, Block), "nothing else is in a spine"
        stmts: list[Stmt] = list(parent.stmts)
        if below is not None:
            inside = spine.path[depth + 1]
            stmts[next(d for d, s in enumerate(stmts) if s is inside)] = below
        for start, stop, new in sorted(edits.get(depth, ()), key=lambda e: e[0], reverse=True):
            stmts[start : stop + 1] = [new]
        below = block(stmts)
    assert below is not None, "a spine is not empty"
    return with_body(outline.program, below)
