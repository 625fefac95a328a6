"""Hold the arguments of a call against a manifest, and say in the caller's words what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc_runtime import sizes
from tensorc_runtime.dlpack import dtype_of, from_dlpack
from tensorc_runtime.errors import ArgumentError, CheckFailed

if TYPE_CHECKING:
    import numpy.typing as npt

    from tensorc_runtime.manifest import Manifest, ParamInfo
    from tensorc_runtime.sizes import Size

Array: TypeAlias = "npt.NDArray[Any]"

# The codes of tensorc.h that a call without checks of its own can give.
CHECK_FAILED = 10
_CODE_NAMES = (
    *("ok", "null argument", "argument is not in CPU memory", "wrong number of dimensions"),
    *("wrong dtype", "wrong size of a dimension", "not compact and row-major", "misaligned data"),
    *(
        "workspace is null, too small or misaligned",
        "a written argument overlaps another",
    ),
    *("a check on values failed", "a symbolic size is below its lower bound"),
)
_SCALARS = {"b": (bool, np.bool_), "i": (int,), "u": (int,), "f": (int, float)}


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call works on: an array for each parameter, in order, and the symbolic sizes.

    `results` are what the caller gets for the outputs: what it passed, or the new arrays.
    """

    arrays: list[Array]
    dims: dict[str, int]
    results: list[Any]


class Signature:
    """The checks that one manifest asks for."""

    def __init__(self, manifest: Manifest) -> None:
        """Sort the parameters of `manifest` into inputs, outputs and state."""
        self.manifest = manifest
        self.dtypes = [dtype_of(p.dtype) for p in manifest.params]
        positions = range(len(manifest.params))
        self.state = [i for i in positions if manifest.params[i].state]
        self.outputs = [i for i in positions if manifest.params[i].role == "out"]
        self.inputs = [i for i in positions if i not in self.state and i not in self.outputs]

    def place(self, inputs: Sequence[object], named: Mapping[str, object]) -> tuple[object, ...]:
        """All inputs in their order, `named` after those given by position.

        Raises:
            ArgumentError: a name that is no input, one that is given twice, or one that is missing.
        """
        names = [self.manifest.params[i].name for i in self.inputs]
        for name in named:
            if name not in names:
                known = ", ".join(map(repr, [*names, "out"]))
                raise self._error(f"no argument {name!r}; there are {known}")
            if names.index(name) < len(inputs):
                raise self._error(f"argument {name!r} is given by position and by name")
        rest = names[len(inputs) :]
        for name in rest:
            if name not in named:
                raise self._error(f"takes {self._names(self.inputs)}; {name!r} is missing")
        return (*inputs, *(named[name] for name in rest))

    def check(self, inputs: Sequence[object], out: object, state: Mapping[int, Array]) -> Arguments:
        """The arrays of a call, all of them fit to be passed on; nothing is written yet.

        Raises:
            ArgumentError: an argument does not fit.
        """
        if len(inputs) != len(self.inputs):
            raise self._error(f"takes {self._names(self.inputs)}, got {len(inputs)}")
        if len(state) != len(self.state):
            raise self._error(f"has no state yet: attach() {self._names(self.state)} first")
        given = dict(state)
        for i, value in zip(self.inputs, inputs, strict=True):
            given[i] = self._as_array(i, value)
        passed = self._split_out(out)
        for i, value in passed.items():
            given[i] = self._as_array(i, value)
        dims, origin = self.bind_dims(given)
        for i, array in given.items():
            self._check_one(i, array, dims, origin)
        for i in self.outputs:
            if i not in given:
                shape = self._shape(i, dims, origin)
                try:
                    given[i] = self._new(shape, self.dtypes[i], given)
                except ValueError as error:
                    raise self._error(f"{self.label(i)}: shape {shape}: {error}") from None
        self._check_overlap(given)
        results = [passed.get(i, given[i]) for i in self.outputs]
        return Arguments([given[i] for i in range(len(given))], dims, results)

    def check_state(self, arrays: Mapping[str, object]) -> dict[int, Array]:
        """The arrays of the state by position, fit to be updated in place.

        Raises:
            ArgumentError: one is missing, unknown, or does not fit.
        """
        wanted = {self.manifest.params[i].name: i for i in self.state}
        unknown = [name for name in arrays if name not in wanted]
        missing = [name for name in wanted if name not in arrays]
        if unknown or missing:
            wrong = f"no state {unknown[0]!r}" if unknown else f"state {missing[0]!r} is missing"
            raise self._error(f"{wrong}; the state is {', '.join(map(repr, wanted)) or 'empty'}")
        found = {i: self._as_array(i, arrays[name]) for name, i in wanted.items()}
        dims, origin = self.bind_dims(found)
        for i, array in found.items():
            self._check_one(i, array, dims, origin)
        self._check_overlap(found)
        return found

    def bind_dims(self, given: Mapping[int, Array]) -> tuple[dict[str, int], dict[str, str]]:
        """The symbolic sizes that the shapes of `given` fix, and which argument fixed each.

        A size is fixed by the first argument that has it alone as one of its dimensions, else by
        the first with a formula in it that can be solved, such as `2 * n + 1`.
        """
        dims: dict[str, int] = {}
        origin: dict[str, str] = {}
        order = [i for i in (*self.inputs, *self.state, *self.outputs) if i in given]
        for alone in (True, False):
            for i in order:
                shape = self.manifest.params[i].shape
                if len(shape) != given[i].ndim:
                    continue
                for size, actual in zip(shape, given[i].shape, strict=True):
                    found = sizes.names(size)
                    if len(found) != 1 or found[0] in dims or (size == found[0]) is not alone:
                        continue
                    value = actual if alone else _solve(size, actual)
                    if value is not None:
                        dims[found[0]], origin[found[0]] = value, self.label(i)
        for d in self.manifest.dims:
            if d.name in dims and dims[d.name] < d.lower:
                raise self._error(
                    f"{origin[d.name]}: size {d.name} = {dims[d.name]}, must be at least {d.lower}"
                )
        return dims, origin

    def label(self, position: int) -> str:
        """How messages name a parameter."""
        param = self.manifest.params[position]
        if position in self.inputs:
            return (
                f"argument {param.name!r} ({self.inputs.index(position) + 1} of {len(self.inputs)})"
            )
        return f"{'state' if param.state else 'output'} {param.name!r}"

    def native_error(self, code: int, info: Sequence[int]) -> ArgumentError:
        """The error that a native function reports by `code` and its error_info."""
        name = self.manifest.name
        if code == CHECK_FAILED and 0 <= info[0] < len(self.manifest.checks):
            message = self.manifest.checks[info[0]]
            for i, value in enumerate(info[1:]):
                message = message.replace(f"{{{i}}}", str(value))
            return CheckFailed(f"{name}: {message}")
        text = _CODE_NAMES[code] if 0 <= code < len(_CODE_NAMES) else f"unknown code {code}"
        where = ""
        if code != CHECK_FAILED and 0 <= info[0] < len(self.manifest.params):
            where = f"{self.label(info[0])}: "
        return ArgumentError(
            f"{name}: {where}{text} (dimension {info[1]}, got {info[2]}, expected {info[3]})"
        )

    def _error(self, text: str) -> ArgumentError:
        return ArgumentError(f"{self.manifest.name}: {text}")

    def _names(self, positions: Sequence[int]) -> str:
        params = [self.manifest.params[i] for i in positions]
        plural = "" if len(params) == 1 else "s"
        listed = ", ".join(f"{p.name}: {describe(p)}" for p in params)
        return f"{len(params)} argument{plural}" + (f" ({listed})" if listed else "")

    def _as_array(self, position: int, value: object) -> Array:
        """`value` as an array over its own memory; a number becomes a new one where that fits."""
        param, dtype = self.manifest.params[position], self.dtypes[position]
        if _is_masked(value):
            raise self._mismatch(position, "a masked array", {}, {}, "; fill it first")
        if isinstance(value, np.ndarray):
            return value if type(value) is np.ndarray else value.view(np.ndarray)
        if param.role == "in" and not param.shape:
            if isinstance(value, np.generic):
                return np.asarray(value)
            kind = "f" if param.dtype == "bfloat16" else np.dtype(param.dtype).kind
            if type(value) in _SCALARS[kind]:
                return self._scalar(position, value, dtype)
        if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
            try:
                return from_dlpack(value)
            except ValueError as error:
                text = f"{self.label(position)}: this {_kind(value)} {error}"
                raise self._error(text) from None
        listed = isinstance(value, Sequence | bytearray) and not isinstance(value, str | bytes)
        if hasattr(value, "__array__") and not isinstance(value, np.generic):
            listed = True
        hint = "; pass numpy.asarray of it" if listed else ""
        raise self._mismatch(position, _kind(value), {}, {}, hint)

    def _scalar(self, position: int, value: Any, dtype: np.dtype[Any]) -> Array:
        if self.manifest.params[position].dtype == "bfloat16" and dtype.kind == "u":
            high = np.asarray(value, np.float32).view(np.uint32)
            rounded = (high + 0x7FFF + ((high >> 16) & 1)) >> 16  # To nearest, ties to even.
            return np.asarray(rounded.astype(np.uint16))
        try:
            with np.errstate(over="raise"):
                return np.asarray(value, dtype)
        except (OverflowError, FloatingPointError):
            text = str(value)
            shown = text if len(text) <= 30 else f"{text[:10]}...{text[-10:]}"
            raise self._error(
                f"{self.label(position)}: {shown} is out of range for {dtype.name}"
            ) from None

    def _split_out(self, out: object) -> dict[int, Any]:
        """The outputs that the caller passed, by position."""
        names = [self.manifest.params[i].name for i in self.outputs]
        if out is None:
            return {}
        if isinstance(out, Mapping):
            unknown = [key for key in out if key not in names]
            if unknown:
                known = ", ".join(map(repr, names)) or "none"
                raise self._error(f"out: no output {unknown[0]!r}; there is {known}")
            return {i: out[n] for i, n in zip(self.outputs, names, strict=True) if n in out}
        values = list(out) if isinstance(out, tuple | list) else [out]
        if len(values) != len(names):
            listed = f" ({', '.join(names)})" if names else ""
            raise self._error(f"out: expected {len(names)} arrays{listed}, got {len(values)}")
        return dict(zip(self.outputs, values, strict=True))

    def _check_one(
        self, position: int, array: Array, dims: dict[str, int], origin: dict[str, str]
    ) -> None:
        param, dtype = self.manifest.params[position], self.dtypes[position]
        fits = array.dtype == dtype or (
            array.dtype.name == param.dtype and array.dtype.isnative and not array.dtype.hasobject
        )
        if (
            not fits
            or array.ndim != len(param.shape)
            or array.shape != self._shape(position, dims, origin)
        ):
            got = f"{_dtype_text(array.dtype)} of shape {array.shape}"
            hint = ""
            if array.dtype.hasobject:
                hint = "; an array of Python objects cannot be compiled code's input"
            raise self._mismatch(position, got, dims, origin, hint)
        label = self.label(position)
        if not array.flags.c_contiguous:
            raise self._error(
                f"{label}: must be C-contiguous, got strides {array.strides} for shape "
                f"{array.shape} of {_dtype_text(array.dtype)}; {self._compact_hint(array)}"
            )
        if not array.flags.aligned:
            raise self._error(
                f"{label}: its data must be aligned to {self._alignment(array)} bytes; pass a copy"
            )
        if param.role != "in" and not array.flags.writeable:
            raise self._error(f"{label}: is written, but the array is read-only; pass a copy")

    def _new(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], _given: Mapping[int, Array]
    ) -> Array:
        """An array for an output, uninitialized."""
        return np.empty(shape, dtype)

    def _start(self, array: Array) -> int:
        return address(array)

    def _alignment(self, array: Array) -> int:
        return array.dtype.alignment

    def _compact_hint(self, _array: Array) -> str:
        return "pass numpy.ascontiguousarray of it"

    def _shape(
        self, position: int, dims: dict[str, int], origin: dict[str, str]
    ) -> tuple[int, ...]:
        """The shape that a parameter must have, once the symbolic sizes are known."""
        param = self.manifest.params[position]
        result = []
        for size in param.shape:
            free = [n for n in sizes.names(size) if n not in dims]
            if free:
                raise self._error(
                    f"{self.label(position)}: its size {size} is not fixed by the other "
                    f"arguments, which do not tell {free[0]}; pass out="
                    if param.role == "out"
                    else f"{self.label(position)}: {free[0]} in its size {size} is not fixed by "
                    "the shape of any argument"
                )
            value = sizes.evaluate(size, dims)
            if value < 0:
                raise self._error(
                    f"{self.label(position)}: its size {size} is {value}{_with(dims, origin, size)}"
                )
            result.append(value)
        return tuple(result)

    def _mismatch(
        self,
        position: int,
        got: str,
        dims: dict[str, int],
        origin: dict[str, str],
        hint: str = "",
    ) -> ArgumentError:
        param = self.manifest.params[position]
        known = _with(dims, origin, *param.shape, besides=self.label(position))
        return self._error(
            f"{self.label(position)}: expected {param.dtype} of shape {shape_text(param.shape)}"
            f"{known}, got {got}{hint}"
        )

    def _check_overlap(self, given: Mapping[int, Array]) -> None:
        """Refuse memory that is written and is also another argument's."""
        starts = {i: self._start(a) for i, a in given.items()}
        spans = {i: (start, start + given[i].nbytes) for i, start in starts.items()}
        for i, (start, stop) in spans.items():
            if self.manifest.params[i].role == "in":
                continue
            for j, (other_start, other_stop) in spans.items():
                if i != j and max(start, other_start) < min(stop, other_stop):
                    raise self._error(
                        f"{self.label(i)} is written, and overlaps {self.label(j)} in memory; "
                        "pass a copy of one"
                    )


def address(array: Array) -> int:
    """Where the first element is."""
    return int(array.__array_interface__["data"][0])


def describe(param: ParamInfo) -> str:
    """A parameter's type as in `float32[n, 16]`."""
    return f"{param.dtype}[{', '.join(map(str, param.shape))}]"


def shape_text(shape: Sequence[Size]) -> str:
    """A shape as Python writes it, formulas and all."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _with(
    dims: Mapping[str, int], origin: Mapping[str, str], *shape: Size, besides: str = ""
) -> str:
    """What the symbolic sizes in a shape are, and which argument says so."""
    names = dict.fromkeys(n for size in shape for n in sizes.names(size) if n in dims)
    known = [f"{n} = {dims[n]} from {origin[n]}" for n in names if origin[n] != besides]
    return f" with {', '.join(known)}" if known else ""


def _solve(size: Size, actual: int) -> int | None:
    """The n >= 0 for which a formula over n alone, linear in it, gives `actual`."""
    (name,) = sizes.names(size)
    zero, one, two = (sizes.evaluate(size, {name: n}) for n in range(3))
    if one == zero or two - one != one - zero:
        return None
    n = (actual - zero) // (one - zero)
    return n if n >= 0 and sizes.evaluate(size, {name: n}) == actual else None


def _is_masked(value: object) -> bool:
    # NumPy imports this module only when someone names it, which takes milliseconds.
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, masked.MaskedArray)


def _dtype_text(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.isnative else f"{dtype.name} in foreign byte order"


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
