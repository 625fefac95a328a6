"""Between tensor expressions and sympy: formulas become kernels, definitions become formulas.

sympy is imported with the first use: it takes 0.3 s, and is an extra that few installations need.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tensorc.errors import IRError, TensorcError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Cast,
    Compare,
    CompareOp,
    Const,
    Dim,
    Expr,
    ExprBase,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
    shorten,
)
from tensorc.ir.printer import builtin_name, show
from tensorc.ir.walk import substitute
from tensorc.te import math as te
from tensorc.te.axis import IterVar
from tensorc.te.scan import Scan
from tensorc.te.tensor import Compute, Tensor, elementwise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@cache
def _sympy(what: str) -> Any:
    try:
        return import_module("sympy")
    except ImportError:
        raise TensorcError(
            f"{what} needs sympy, which is not installed: pip install 'tensorc[sympy]'"
        ) from None


# --- from sympy ------------------------------------------------------------------------------


def from_sympy(expr: Any, tensors: Mapping[Any, Tensor], name: str = "formula") -> Tensor:
    """The tensor whose elements are `expr` of those of `tensors`, broadcast against each other.

    Numbers are rounded to the dtype of what they stand beside. The result is an ordinary tensor:
    `compile` makes a kernel of it, `grad` its derivatives.

        x, a = sympy.symbols("x a")
        y = tc.from_sympy(sympy.exp(-a * x**2), {x: X, a: A})

    Args:
        expr: a scalar sympy expression.
        tensors: the tensor that each symbol, or name of one, stands for.
        name: of the result.

    Raises:
        IRError: a symbol without a tensor, or a function that has no counterpart here.
        TensorcError: sympy is not installed.
    """
    sympy = _sympy("from_sympy")
    tree = sympy.sympify(expr)
    given = {sympy.Symbol(k) if isinstance(k, str) else k: t for k, t in tensors.items()}
    by_name = {k.name: t for k, t in given.items()}
    symbols = sorted(tree.free_symbols, key=lambda s: s.name)
    missing = [s.name for s in symbols if s not in given and s.name not in by_name]
    if missing:
        raise IRError(
            f"from_sympy: {tree} has {', '.join(missing)}, and tensors are given for "
            f"{', '.join(by_name) or 'nothing'}"
        )
    used = [given[s] if s in given else by_name[s.name] for s in symbols]
    if not used:
        raise IRError(f"from_sympy: {tree} has no symbol, so it has no shape; use tc.compute")

    def value(*elements: Expr) -> Any:
        return _Importer(sympy, dict(zip(symbols, elements, strict=True))).of(tree)

    return elementwise(value, *used, name=name)


class _Importer:
    """The way from one sympy tree to an expression; equal parts are one object."""

    def __init__(self, sympy: Any, elements: dict[Any, Expr]) -> None:
        self.sympy = sympy
        self.known: dict[Any, Any] = dict(elements)

    def of(self, node: Any) -> Any:
        """The expression of `node`; a Python number where it is one."""
        if node not in self.known:
            self.known[node] = self.built(node)
        return self.known[node]

    def built(self, node: Any) -> Any:
        sympy = self.sympy
        if node in (sympy.true, sympy.false):
            return bool(node)
        if node.is_number:
            if not node.is_extended_real:
                raise IRError(f"from_sympy: {node} is no real number")
            return int(node) if node.is_Integer else float(node)
        if node.is_Add or node.is_Mul:
            return self.folded(node)
        if node.is_Pow:
            return self.power(*node.as_base_exp())
        if isinstance(node, sympy.Piecewise):
            return self.pieces(list(node.args))
        made = _FROM.get(type(node).__name__)
        if made is None:
            raise IRError(
                f"from_sympy: {type(node).__name__} in {node} has no counterpart; there are "
                f"{', '.join(sorted(_FROM))}"
            )
        return made(*map(self.of, node.args))

    def folded(self, node: Any) -> Any:
        """A sum or product, what is divided by gathered in one denominator."""
        if node.is_Add:
            total = self.of(node.args[0])
            for part in node.args[1:]:
                sign, rest = part.as_coeff_Mul()
                negative = sign.is_number and sign.is_negative
                total = total - self.of(-part) if negative and rest != 1 else total + self.of(part)
            return total
        above, below = [], []
        for part in node.args:
            divides = part.is_Pow and part.exp.is_number and part.exp.is_negative
            below.append(1 / part) if divides else above.append(part)
        result = None
        for part in above:
            result = self.of(part) if result is None else result * self.of(part)
        for part in below:
            result = (1.0 if result is None else result) / self.of(part)
        return result

    def power(self, base: Any, exponent: Any) -> Any:
        sympy = self.sympy
        if base == sympy.E:
            return te.exp(self.of(exponent))
        if base == 2:
            return te.exp2(self.of(exponent))
        value = self.of(base)
        if exponent == sympy.Rational(1, 2):
            return te.sqrt(value)
        if exponent == sympy.Rational(-1, 2):
            return te.rsqrt(value)
        if exponent.is_Integer and 0 < abs(int(exponent)) <= 8:
            result = value
            for _ in range(abs(int(exponent)) - 1):
                result = result * value
            return result if exponent > 0 else 1.0 / result
        return te.pow_(value, self.of(exponent))

    def pieces(self, pieces: list[Any]) -> Any:
        """A `Piecewise`, its last piece for every point that is left; NaN where there is none."""
        *others, (value, cond) = pieces
        rest = self.of(value)
        if cond != self.sympy.true:
            rest = te.where(self.of(cond), rest, float("nan"))
        for value, cond in reversed(others):
            rest = te.where(self.of(cond), self.of(value), rest)
        return rest


def _fold(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def folded(first: Any, *others: Any) -> Any:
        for other in others:
            first = function(first, other)
        return first

    return folded


_FROM: dict[str, Callable[..., Any]] = {
    "exp": te.exp,
    "log": te.log,
    "sin": te.sin,
    "cos": te.cos,
    "tan": lambda x: te.sin(x) / te.cos(x),
    "tanh": te.tanh,
    "sinh": lambda x: 0.5 * (te.exp(x) - te.exp(-x)),
    "cosh": lambda x: 0.5 * (te.exp(x) + te.exp(-x)),
    "erf": te.erf,
    "erfc": lambda x: 1.0 - te.erf(x),
    "Abs": te.abs_,
    "sign": te.sign,
    "floor": te.floor,
    "ceiling": te.ceil,
    "Max": _fold(te.maximum),
    "Min": _fold(te.minimum),
    "And": _fold(lambda a, b: a & b),
    "Or": _fold(lambda a, b: a | b),
    "Not": lambda a: ~a,
    "Equality": lambda a, b: a == b,
    "Unequality": lambda a, b: a != b,
    "StrictLessThan": lambda a, b: a < b,
    "LessThan": lambda a, b: a <= b,
    "StrictGreaterThan": lambda a, b: a > b,
    "GreaterThan": lambda a, b: a >= b,
    "Heaviside": lambda x, at=0.5: te.where(x > 0.0, 1.0, te.where(x < 0.0, 0.0, at)),
}


# --- to sympy --------------------------------------------------------------------------------


def to_sympy(what: Tensor | Expr, *, expand: bool = True) -> Any:
    """A tensor's element at its axes, or an expression, as sympy sees it.

    Elements of tensors are `Indexed`, sums and products are `Sum` and `Product` over symbols named
    as the axes, conditions are `Piecewise`. Numbers with a fraction are `Float`s of 17 digits.

    Args:
        what: a tensor, or a scalar expression over axes.
        expand: put definitions in place of the tensors that they define, down to placeholders and
            recurrences.

    Raises:
        IRError: an operation that sympy has no word for: a reducer of the user's own, a maximum
            over a symbolic range, an operation on bits.
        TensorcError: sympy is not installed.
    """
    exporter = _Exporter(_sympy("to_sympy"), expand)
    if isinstance(what, Tensor):
        if not isinstance(what.op, Compute) or isinstance(what.op, Scan):
            axes = tuple(Var(f"i{d}", IterVar("i").dtype) for d in range(what.ndim))
            return exporter.element(what, [exporter.of(a) for a in axes])
        return exporter.of(what.body)
    if not isinstance(what, ExprBase):
        raise IRError(f"to_sympy: a tensor or an expression is needed, got {shorten(what)}")
    return exporter.of(what)


class _Exporter:
    def __init__(self, sympy: Any, expand: bool) -> None:
        self.sympy = sympy
        self.expand = expand

    def of(self, expr: Expr) -> Any:
        """`expr` as a sympy expression."""
        sympy = self.sympy
        match expr:
            case Const(value):
                return self.number(value)
            case Dim(name):
                return sympy.Symbol(name, integer=True, nonnegative=True)
            case Var(name):
                return sympy.Symbol(name, integer=True) if expr.dtype.is_int else sympy.Symbol(name)
            case Unary(op, x):
                return -self.of(x) if op is UnaryOp.NEG else sympy.Not(self.of(x))
            case Binary(op, a, b):
                return self.binary(op, a, b, expr)
            case Compare(op, a, b):
                return _RELATIONS[op](sympy)(self.of(a), self.of(b))
            case Cast(x, dtype):
                return self.cast(x, dtype.is_int and x.dtype.is_float)
            case Call(name, args):
                return self.call(name, args, expr)
            case Load(buffer, indices):
                return self.element(buffer, [self.of(i) for i in indices])
            case Select(cond, a, b) | Where(cond, a, b):
                return sympy.Piecewise((self.of(a), self.of(cond)), (self.of(b), True))
            case Let(var, value, body):
                return self.of(substitute(body, {var: value}))
            case Reduce():
                return self.reduce(expr)

    def number(self, value: Any) -> Any:
        if isinstance(value, bool):
            return self.sympy.true if value else self.sympy.false
        if float(value).is_integer():
            return self.sympy.Integer(int(value))
        return self.sympy.Float(float(value), 17)

    def cast(self, x: Expr, to_int: bool) -> Any:
        inner = self.of(x)
        if x.dtype.is_bool:
            return self.sympy.Piecewise((1, inner), (0, True))
        return self.sympy.sign(inner) * self.sympy.floor(abs(inner)) if to_int else inner

    def binary(self, op: BinaryOp, a: Expr, b: Expr, whole: Expr) -> Any:
        made = _BINARY.get(op)
        if made is None:
            raise IRError(f"to_sympy: {show(whole)} works on bits, and sympy has no word for that")
        return made(self.sympy, self.of(a), self.of(b))

    def call(self, name: str, args: tuple[Expr, ...], whole: Expr) -> Any:
        made = _CALLS.get(name)
        if made is None:
            raise IRError(f"to_sympy: sympy has no word for {name} in {show(whole)}")
        return made(self.sympy, *map(self.of, args))

    def element(self, buffer: Any, indices: list[Any]) -> Any:
        sympy = self.sympy
        op = buffer.op if isinstance(buffer, Tensor) else None
        if self.expand and isinstance(op, Compute) and not isinstance(op, Scan):
            # Symbols of sums inside must not meet those of the indices: both are renamed apart.
            dummies = [sympy.Dummy(a.name, integer=True) for a in op.axes]
            body = self.of(op.bodies[buffer.component])
            own = dict(zip((self.of(a) for a in op.axes), dummies, strict=True))
            body = body.subs(own, simultaneous=True)
            inner = [s for total in body.atoms(sympy.Sum, sympy.Product) for s in total.variables]
            clash = {s for i in indices for s in i.free_symbols}.intersection(inner)
            for s in sorted(clash, key=lambda s: s.name):
                body = body.replace(
                    lambda e, s=s: isinstance(e, sympy.Sum | sympy.Product) and s in e.variables,
                    lambda e, s=s: e.xreplace({s: sympy.Dummy(s.name, integer=True)}),
                )
            return body.subs(dict(zip(dummies, indices, strict=True)), simultaneous=True)
        name = buffer.name.replace(".", "_")
        return sympy.IndexedBase(name)[tuple(indices)] if indices else sympy.Symbol(name)

    def reduce(self, node: Reduce) -> Any:
        sympy, name = self.sympy, builtin_name(node.reducer)
        value = self.of(node.values[node.index])
        if name in ("sum", "prod"):
            if node.where is not None:
                unit = 0 if name == "sum" else 1
                value = sympy.Piecewise((value, self.of(node.where)), (unit, True))
            fold = sympy.Sum if name == "sum" else sympy.Product
            return fold(value, *(self.limits(a) for a in reversed(node.axes)))
        if name in ("max", "min") and node.where is None:
            for axis in node.axes:
                var, low, high = self.limits(axis)
                if not (low.is_Integer and high.is_Integer):
                    raise IRError(
                        f"to_sympy: {name} over {axis.name}, from {low} to {high}: sympy takes a "
                        "maximum of so many values as are known"
                    )
                fold = sympy.Max if name == "max" else sympy.Min
                value = fold(*(value.subs(var, k) for k in range(int(low), int(high) + 1)))
            return value
        raise IRError(f"to_sympy: sympy has no word for {show(node)}")

    def limits(self, axis: Var) -> tuple[Any, Any, Any]:
        assert isinstance(axis, IterVar), "a reduce axis has a range"
        start = self.of(axis.start)
        return self.of(axis), start, start + self.of(axis.extent) - 1


_RELATIONS: dict[CompareOp, Callable[[Any], Any]] = {
    CompareOp.EQ: lambda s: s.Eq,
    CompareOp.NE: lambda s: s.Ne,
    CompareOp.LT: lambda s: s.Lt,
    CompareOp.LE: lambda s: s.Le,
    CompareOp.GT: lambda s: s.Gt,
    CompareOp.GE: lambda s: s.Ge,
}
_BINARY: dict[BinaryOp, Callable[..., Any]] = {
    BinaryOp.ADD: lambda _, a, b: a + b,
    BinaryOp.SUB: lambda _, a, b: a - b,
    BinaryOp.MUL: lambda _, a, b: a * b,
    BinaryOp.DIV: lambda _, a, b: a / b,
    BinaryOp.FLOORDIV: lambda s, a, b: s.floor(a / b),
    BinaryOp.MOD: lambda s, a, b: s.Mod(a, b),
    BinaryOp.MIN: lambda s, a, b: s.Min(a, b),
    BinaryOp.MAX: lambda s, a, b: s.Max(a, b),
    BinaryOp.AND: lambda s, a, b: s.And(a, b),
    BinaryOp.OR: lambda s, a, b: s.Or(a, b),
}
_CALLS: dict[str, Callable[..., Any]] = {
    "exp": lambda s, x: s.exp(x),
    "exp2": lambda s, x: s.Integer(2) ** x,
    "expm1": lambda s, x: s.exp(x) - 1,
    "log": lambda s, x: s.log(x),
    "log2": lambda s, x: s.log(x) / s.log(2),
    "log1p": lambda s, x: s.log(1 + x),
    "sqrt": lambda s, x: s.sqrt(x),
    "rsqrt": lambda s, x: 1 / s.sqrt(x),
    "sin": lambda s, x: s.sin(x),
    "cos": lambda s, x: s.cos(x),
    "tanh": lambda s, x: s.tanh(x),
    "sigmoid": lambda s, x: 1 / (1 + s.exp(-x)),
    "erf": lambda s, x: s.erf(x),
    "pow": lambda _, a, b: a**b,
    "abs": lambda s, x: s.Abs(x),
    "sign": lambda s, x: s.sign(x),
    "floor": lambda s, x: s.floor(x),
    "ceil": lambda s, x: s.ceiling(x),
    "trunc": lambda s, x: s.sign(x) * s.floor(s.Abs(x)),
    "fma": lambda _, a, b, c: a * b + c,
    "stop_gradient": lambda _, x: x,
    "tf32": lambda _, x: x,
}
