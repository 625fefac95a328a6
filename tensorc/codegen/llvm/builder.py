"""The text of one function: fresh names, blocks, scoped caches, and the module it stands in."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.llvm.known import KnownMemory, Spot
from tensorc.codegen.llvm.pattern import known_mask, lanes_on, linear, pattern_name
from tensorc.codegen.llvm.types import LANE, Key, Poly, Val, Value, number, scalar_type, symbol
from tensorc.dtypes import DType, bool_, int64

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tensorc.lower.features import Features


@dataclass(frozen=True, slots=True)
class Helper:
    """A function that nests call: its type and name, those of its arguments, and its body."""

    name: str
    types: tuple[str, ...]
    text: str

    def definition(self, linkage: str) -> str:
        """The function."""
        return f"define {linkage} {self.name}{self.text}"

    def declaration(self) -> str:
        """What a module says that calls it, where it is of another."""
        return f"declare hidden {self.name}({', '.join(self.types)})"


class Module:
    """What the functions of one module share: declarations, features, metadata numbers."""

    def __init__(self, features: Features) -> None:
        """Start an empty module."""
        self.features = features
        self.declarations: dict[str, str] = {}
        self.helpers: list[Helper] = []
        self.metadata: list[str] = []
        self._shared: dict[str, str] = {}

    def declare(self, name: str, result: str, args: Sequence[str], linkage: str = "") -> str:
        """Declare a function once; gives its name."""
        prefix = f"{linkage} " if linkage else ""
        self.declarations[name] = f"declare {prefix}{result} @{name}({', '.join(args)})"
        return name

    def define(self, helper: Helper) -> None:
        """Add a function that nests call, once."""
        if helper not in self.helpers:
            self.helpers.append(helper)

    def meta_once(self, text: str) -> str:
        """The name of a metadata node with this text, which all its users share."""
        if text not in self._shared:
            self._shared[text] = self.meta(text)
        return self._shared[text]

    def meta(self, text: str) -> str:
        """Add a metadata node; `{self}` in the text stands for its own name."""
        name = f"!{len(self.metadata)}"
        self.metadata.append(f"{name} = {text.replace('{self}', name)}")
        return name


class Builder:
    """Emits the instructions of one function.

    `lanes` is the width of the vector loop that is open, 0 outside one. Every value that was
    computed from names alone is cached in the scope it was made in; a scope is a region whose
    first instruction dominates the rest, so a cached name may be used wherever it is found.
    """

    def __init__(self, module: Module) -> None:
        """Start an empty function."""
        self.module = module
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.count = 0
        self.current = "entry"
        self.lanes = 0
        self.nontemporal = False  # Whether vector stores go around the caches, where they can.
        self.ahead = 0  # Vectors that are read from memory also ask for the line so many bytes on.
        self.depth: dict[str, int] = {}
        self.level = 0
        self.varying: set[str] = {LANE}
        self.patterns: dict[str, tuple[int, ...]] = {}  # Values in the lanes, by name.
        self.caches: list[dict[object, object]] = [{}]
        self.memory = KnownMemory()

    # --- text ------------------------------------------------------------------------------

    def fresh(self, hint: str = "") -> str:
        """An SSA name that nothing else has."""
        self.count += 1
        return f"%{hint}{self.count}" if hint else f"%v{self.count}"

    def line(self, text: str) -> None:
        """Append an instruction without a result."""
        self.lines.append("  " + text)

    def op(self, text: str) -> str:
        """Append an instruction; gives the name of its result."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def pure(self, text: str) -> str:
        """`op` of an instruction that depends on its operands alone: emitted once a scope."""
        found = self.cached(("op", text))
        if found is None:
            found = self.op(text)
            self.remember(("op", text), found)
        return str(found)

    def label(self, name: str) -> None:
        """Open the block of that label."""
        self.lines.append(f"{name[1:]}:")
        self.current = name[1:]
        self.memory.clear()

    def new_label(self, hint: str) -> str:
        """A label for a block to come."""
        return self.fresh(hint + ".")

    def jump(self, label: str) -> None:
        """End the block, going to `label`."""
        self.line(f"br label {label}")

    def branch(self, cond: str, on_true: str, on_false: str) -> None:
        """End the block, going by an i1."""
        self.line(f"br i1 {cond}, label {on_true}, label {on_false}")

    def alloca(self, type_: str, count: int = 1, align: int = 0) -> str:
        """Stack space in the entry block, of `count` elements."""
        name = self.fresh("slot")
        array = f"[{count} x {type_}]" if count != 1 else type_
        self.entry.append(f"  {name} = alloca {array}" + (f", align {align}" if align else ""))
        return name

    def body(self) -> list[str]:
        """All lines of the function, the entry block first."""
        return ["entry:", *self.entry, *self.lines]

    # --- scopes ----------------------------------------------------------------------------

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Within, caches are new on top of those outside."""
        self.caches.append({})
        yield
        self.caches.pop()

    def cached(self, key: object) -> object | None:
        """What is remembered under `key` in the open scopes."""
        for cache in reversed(self.caches):
            if key in cache:
                return cache[key]
        return None

    def remember(self, key: object, value: object) -> None:
        """Cache a value in the innermost scope."""
        self.caches[-1][key] = value

    def held(self, spot: Spot, type_: str) -> str | None:
        """What a loop around read there, once for all of its iterations."""
        found = self.cached(("held", spot, type_))
        return None if found is None else str(found)

    # --- types and vectors -----------------------------------------------------------------

    def vector(self, element: str, varying: bool = True) -> str:
        """The type of an element in every lane, or of one."""
        return f"<{self.lanes} x {element}>" if varying else element

    def type_of(self, value: Val) -> str:
        """The LLVM type of a value."""
        return self.vector(scalar_type(value.dtype), value.varying)

    def splat(self, value: Val) -> Val:
        """The value in every lane, as a vector."""
        if value.varying:
            return value
        element = scalar_type(value.dtype)
        if value.is_literal:
            return Val(f"splat ({element} {value.text})", value.dtype, True)
        key = ("splat", value.text, self.lanes)
        text = self.cached(key)
        if text is None:
            vec = self.vector(element)
            one = self.op(f"insertelement {vec} poison, {element} {value.text}, i64 0")
            text = self.op(
                f"shufflevector {vec} {one}, {vec} poison, <{self.lanes} x i32> zeroinitializer"
            )
            self.remember(key, text)
        return Val(str(text), value.dtype, True)

    def together(self, *values: Val) -> tuple[Val, ...]:
        """The values, all splat where one of them varies."""
        if any(v.varying for v in values):
            return tuple(self.splat(v) for v in values)
        return values

    def lane(self, value: Val, index: int) -> Val:
        """The scalar value of one lane."""
        if not value.varying:
            return value
        text = self.op(f"extractelement {self.type_of(value)} {value.text}, i64 {index}")
        return Val(text, value.dtype)

    # --- integers --------------------------------------------------------------------------

    def named(self, name: str, *, varying: bool = False) -> Poly:
        """An SSA integer as a polynomial; it is as deep as the loops that are open now."""
        self.depth[name] = self.level
        if varying:
            self.varying.add(name)
        return symbol(name)

    def argument(self, name: str) -> Poly:
        """An integer argument of the function: it is outside all loops."""
        self.depth[name] = 0
        return symbol(name)

    def as_val(self, value: Value) -> Val:
        """A value in a register."""
        return self.integer(value) if isinstance(value, Poly) else value

    def as_poly(self, value: Value) -> Poly:
        """An int64 value as a polynomial."""
        if isinstance(value, Poly):
            return value
        assert value.dtype == int64, f"{value.dtype} is not an index"
        if value.is_literal and not value.varying:
            return number(int(value.text))
        return self.named(value.text, varying=value.varying)

    def is_varying(self, poly: Poly) -> bool:
        """Whether `poly` may differ between lanes."""
        return any(name in self.varying for key in poly.terms for name in key)

    def lane_stride(self, poly: Poly) -> int | None:
        """The constant by which `poly` grows from lane to lane; None where there is none."""
        stride = 0
        for key, c in poly.terms.items():
            if key == (LANE,):
                stride = c
            elif any(name in self.varying for name in key):
                return None
        return stride

    def pattern(self, values: Sequence[int]) -> Poly:
        """A number that has these values in the lanes."""
        found = linear(values)
        if found is not None:
            return found
        name = pattern_name(values)
        self.patterns[name] = tuple(values)
        return self.named(name, varying=True)

    def lane_offsets(self, poly: Poly) -> tuple[int, ...] | None:
        """What the lanes of `poly` add to its uniform part; None where that is not constant."""
        total = [0] * self.lanes
        for key, c in poly.terms.items():
            values = self._values(key[0]) if len(key) == 1 else None
            if values is not None:
                total = [t + c * v for t, v in zip(total, values, strict=True)]
            elif any(name in self.varying for name in key):
                return None
        return tuple(total)

    def _values(self, name: str) -> Sequence[int] | None:
        """The constants that a name stands for in the lanes."""
        return range(self.lanes) if name == LANE else self.patterns.get(name)

    def uniform_part(self, poly: Poly) -> Poly:
        """`poly` less what varies: the value in lane 0, if the stride is constant."""
        varying = self.varying
        return Poly({k: c for k, c in poly.terms.items() if not any(n in varying for n in k)})

    def integer(self, poly: Poly) -> Val:
        """`poly` in a register."""
        if poly.const is not None:
            return Val(str(poly.const), int64)
        fixed = {k: c for k, c in poly.terms.items() if not any(n in self.varying for n in k)}
        moving = {k: c for k, c in poly.terms.items() if k not in fixed}
        total = self._sum(fixed)
        if not moving:
            return total
        result = None if total.text == "0" else self.splat(total)
        for key, c in moving.items():
            term = self._vector_term(key, c)
            if result is None:
                result = term
            else:
                text = self.op(f"add {self.type_of(term)} {result.text}, {term.text}")
                result = Val(text, int64, True)
        assert result is not None
        return result

    def _vector_term(self, key: Key, c: int) -> Val:
        values = self._values(key[0]) if len(key) == 1 else None
        if values is not None:
            lanes = ", ".join(f"i64 {c * v}" for v in values)
            return Val(f"<{lanes}>", int64, True)
        cache_key = ("term", key, c, self.lanes)
        text = self.cached(cache_key)
        if text is None:
            vec = self.vector("i64")
            text = ""
            for name in key:
                factor = self._vector_name(name)
                text = self.op(f"mul {vec} {text}, {factor}") if text else factor
            if c != 1:
                text = self.op(f"mul {vec} {text}, splat (i64 {c})")
            self.remember(cache_key, text)
        return Val(str(text), int64, True)

    def _vector_name(self, name: str) -> str:
        values = self._values(name)
        if values is not None:
            return "<" + ", ".join(f"i64 {v}" for v in values) + ">"
        return name if name in self.varying else self.splat(Val(name, int64)).text

    def _sum(self, terms: dict[Key, int]) -> Val:
        """Uniform terms, those of outer loops first, each partial sum computed once a scope."""
        const = terms.get((), 0)
        order = sorted(
            (k for k in terms if k), key=lambda k: (max(self.depth.get(n, 0) for n in k), k)
        )
        sofar: tuple[tuple[Key, int], ...] = ()
        text = ""
        for key in order:
            sofar = (*sofar, (key, terms[key]))
            text = self._partial(sofar, text)
        if not text:
            return Val(str(const), int64)
        if const:
            cache_key = ("sum", sofar, const)
            found = self.cached(cache_key)
            if found is None:
                found = self.op(f"add i64 {text}, {const}")
                self.remember(cache_key, found)
            text = str(found)
        return Val(text, int64)

    def _partial(self, terms: tuple[tuple[Key, int], ...], before: str) -> str:
        cache_key = ("sum", terms)
        found = self.cached(cache_key)
        if found is not None:
            return str(found)
        key, c = terms[-1]
        text = self._product(key)
        if c != 1:
            text = self.op(f"mul i64 {text}, {c}")
        if before:
            text = self.op(f"add i64 {before}, {text}")
        self.remember(cache_key, text)
        return text

    def _product(self, key: Key) -> str:
        if len(key) == 1:
            return key[0]
        found = self.cached(("product", key))
        if found is None:
            found = self.op(f"mul i64 {self._product(key[:-1])}, {key[-1]}")
            self.remember(("product", key), found)
        return str(found)

    # --- conditions ------------------------------------------------------------------------

    def all_true(self) -> Val:
        """The mask with every lane on."""
        return Val("splat (i1 true)", bool_, True)

    def both(self, a: Val | None, b: Val) -> Val:
        """The conjunction of two lane masks; None stands for all lanes."""
        if a is None:
            return b
        x, y = self.together(a, b)
        one, other = lanes_on(x.text), lanes_on(y.text)
        if one is not None and other is not None:
            return Val(known_mask([p and q for p, q in zip(one, other, strict=True)]), bool_, True)
        text = self.pure(f"and {self.type_of(x)} {x.text}, {y.text}")
        return Val(text, bool_, x.varying)

    def negated(self, a: Val) -> Val:
        """Not `a`."""
        if not a.varying and a.is_literal:
            return Val("false" if a.text == "true" else "true", bool_)
        known = lanes_on(a.text)
        if known is not None:
            return Val(known_mask([not bit for bit in known]), bool_, True)
        ones = "splat (i1 true)" if a.varying else "true"
        return Val(self.op(f"xor {self.type_of(a)} {a.text}, {ones}"), bool_, a.varying)

    def any_lane(self, mask: Val) -> str:
        """Whether some lane of a mask is on, as an i1."""
        if not mask.varying:
            return mask.text
        vec = self.type_of(mask)
        name = self.module.declare(f"llvm.vector.reduce.or.v{self.lanes}i1", "i1", [vec])
        return self.pure(f"call i1 @{name}({vec} {mask.text})")

    def intrinsic(self, name: str, dtype: DType, values: Sequence[Val], extra: str = "") -> Val:
        """Call an LLVM intrinsic overloaded on the one type of `values`."""
        args = self.together(*values)
        varying = args[0].varying
        type_ = self.type_of(args[0])
        full = f"llvm.{name}.{self.suffix(scalar_type(args[0].dtype), varying)}"
        extra_types = ["i1"] if extra else []
        self.module.declare(full, type_, [type_] * len(args) + extra_types)
        texts = [f"{type_} {a.text}" for a in args] + ([extra] if extra else [])
        return Val(self.op(f"call {type_} @{full}({', '.join(texts)})"), dtype, varying)

    def suffix(self, element: str, varying: bool) -> str:
        """How LLVM names a type in an intrinsic's name."""
        name = {"float": "f32", "double": "f64", "ptr": "p0"}.get(element, element)
        return f"v{self.lanes}{name}" if varying else name
