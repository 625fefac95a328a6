"""The signature of a compiled function as data: what its arguments are, and how to call it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from tensorc_runtime import sizes
from tensorc_runtime.errors import LoadError

if TYPE_CHECKING:
    from tensorc_runtime.sizes import Size

FORMAT = "tensorc-manifest"
ABI_VERSION = 1

ROLES = ("in", "out", "inout")
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64"),
)


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """One argument of the native function.

    `role` is "in" (read), "out" (written whole) or "inout" (updated in place). A `state` argument
    is bound once, and a call does not pass it: weights, optimizer state.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...]
    role: str
    state: bool = False


@dataclass(frozen=True, slots=True)
class DimInfo:
    """A symbolic size of at least `lower`."""

    name: str
    lower: int = 0


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """The machine that the code was made for.

    `requires` holds the processor features that the code may use, as LLVM names them.
    """

    triple: str
    cpu: str
    features: str = ""
    threads: int = 1
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file beside the manifest, and what its bytes must be."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The signature of one compiled function.

    `checks` are the messages of the checks that a call makes on values, by index.

    Raises:
        LoadError: the parts contradict each other (two arguments of one name, an unknown dtype or
            role, a size over a name that is no dim...).
    """

    name: str
    params: tuple[ParamInfo, ...]
    dims: tuple[DimInfo, ...]
    checks: tuple[str, ...]
    target: TargetInfo
    shared_library: FileInfo | None = None
    state: FileInfo | None = None
    abi: int = ABI_VERSION

    def __post_init__(self) -> None:
        def refuse(why: str) -> None:
            raise LoadError(f"manifest of {self.name!r}: {why}")

        if not self.name.isidentifier() or not self.name.isascii():
            refuse("the name is no C identifier")
        if self.abi != ABI_VERSION:
            refuse(f"made for version {self.abi} of the C interface, this is {ABI_VERSION}")
        known = {d.name: 1 for d in self.dims}
        for what, found in (("arguments", self.params), ("dims", self.dims)):
            seen = [x.name for x in found]
            twice = next((n for i, n in enumerate(seen) if n in seen[:i]), None)
            if twice is not None:
                refuse(f"two {what} are named {twice!r}")
        for p in self.params:
            if p.role not in ROLES:
                refuse(f"argument {p.name!r} has role {p.role!r}; there are {', '.join(ROLES)}")
            if p.dtype not in DTYPES:
                refuse(f"argument {p.name!r} has the unknown dtype {p.dtype!r}")
            if p.state and p.role == "out":
                refuse(f"argument {p.name!r} is state, so its role cannot be 'out'")
            for size in p.shape:
                try:
                    value = sizes.evaluate(size, known)
                except ValueError as error:
                    refuse(f"argument {p.name!r}: {error}")
                if isinstance(size, int) and value < 0:
                    refuse(f"argument {p.name!r} has the negative size {size}")

    @property
    def entry_symbol(self) -> str:
        """The C function that checks its arguments."""
        return self.name

    @property
    def run_symbol(self) -> str:
        """The C function without checks."""
        return f"{self.name}_run"

    @property
    def workspace_symbol(self) -> str:
        """The C function that says how much scratch memory a call needs."""
        return f"{self.name}_workspace"

    def to_json(self) -> str:
        """The manifest as JSON text, with the names of its C symbols for the reader."""
        symbols = [self.entry_symbol, self.run_symbol, self.workspace_symbol]
        return json.dumps({"format": FORMAT, "symbols": symbols, **asdict(self)}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """The manifest in JSON text.

        Raises:
            LoadError: it is not JSON, or not a manifest, or of another version.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LoadError(f"not JSON: {error}") from None
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise LoadError(f'not a manifest: there is no "format": "{FORMAT}"')
        abi = data.get("abi")
        if abi != ABI_VERSION:
            raise LoadError(f"made for version {abi} of the C interface, this is {ABI_VERSION}")
        data.pop("symbols", None)
        return Manifest(
            name=_text(data.get("name"), "name"),
            params=tuple(_record(ParamInfo, p) for p in _list(data.get("params"), "params")),
            dims=tuple(_record(DimInfo, d) for d in _list(data.get("dims"), "dims")),
            checks=tuple(_text(c, "checks") for c in _list(data.get("checks"), "checks")),
            target=_record(TargetInfo, data.get("target")),
            shared_library=None
            if not data.get("shared_library")
            else _record(FileInfo, data["shared_library"]),
            state=None if not data.get("state") else _record(FileInfo, data["state"]),
        )


T = TypeVar("T", ParamInfo, DimInfo, TargetInfo, FileInfo)

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "tuple[Size, ...]": (int, str),
    "tuple[str, ...]": (str,),
}


def _record(kind: type[T], data: Any) -> T:
    """A record from a JSON object whose values have the types that its fields declare."""
    if not isinstance(data, dict):
        raise LoadError(f"{kind.__name__}: expected an object, got {data!r}")
    declared = {f.name: str(f.type) for f in fields(kind)}
    for key, value in data.items():
        if key not in declared:
            raise LoadError(f"{kind.__name__} has no field {key!r}")
        types = _KINDS[declared[key]]
        parts = value if declared[key].startswith("tuple") else [value]
        if not isinstance(parts, list) or any(type(part) not in types for part in parts):
            raise LoadError(f"{kind.__name__}: {key} is {value!r}")
    frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    try:
        return kind(**frozen)
    except TypeError as error:
        raise LoadError(f"{kind.__name__}: {error}") from None


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise LoadError(f"{what}: expected a list, got {value!r}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise LoadError(f"{what}: expected a text, got {value!r}")
    return value
