"""What one call of a compiled CUDA function does: launches in order, and where temporaries lie.

Code generation writes a plan, the runtime follows it. Sizes are numbers or formulas over the
symbolic sizes of the function, as in `tensorc_runtime.sizes`.

The checks of a call report through the status words, `STATUS_WORDS` of int32 in device memory. A
check that fails, where none has failed before, stores 1 + its index into word 0, and the values
that its message shows as int64 from word 2 on, at most `STATUS_VALUES` of them; word 1 is the
generated code's own. In a plan with checks every launch takes the status words, and leaves all
buffers alone where word 0 is not zero when it starts: so nothing runs after a check has failed, in
this call or in those queued behind it, until the runtime has reported it and cleared the words.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from tensorc_runtime import sizes
from tensorc_runtime.errors import LoadError

if TYPE_CHECKING:
    from tensorc_runtime.sizes import Dims, Size

FORMAT = "tensorc-cuda-plan"
VERSION = 2

ARENA_ALIGNMENT = 256
PARAM_ALIGNMENT = 16  # Kernels may take it for granted of every parameter's address.
STATUS_VALUES = 3
STATUS_WORDS = 8

KINDS = ("param", "temp", "dim", "status", "map")

# Element types of tensor maps, and their bytes.
MAP_TYPES = {
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "int32": 4, "int64": 8, "uint8": 1,
}  # fmt: skip
MAP_SWIZZLES = (0, 32, 64, 128)
MAP_RANK = 5
MAP_BOX = 256


@dataclass(frozen=True, slots=True)
class KernelArg:
    """One argument of a kernel.

    `kind` says what is passed: "param", the device pointer of the function's parameter number
    `index`; "temp", that of a temporary in the arena; "dim", a symbolic size as int64 by value;
    "status", the device pointer of the status words, whose index is 0; "map", a tensor map of the
    plan, 128 bytes by value.
    """

    kind: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch; where a size of the grid is 0 there is none.

    Attributes:
        kernel: the name of the `extern "C"` function.
        grid: blocks in x, y and z.
        block: threads of a block in x, y and z.
        shared: bytes of dynamic shared memory, besides what the kernel declares.
        args: the kernel's arguments, in order.
    """

    kernel: str
    grid: tuple[Size, Size, Size]
    block: tuple[int, int, int]
    shared: int = 0
    args: tuple[KernelArg, ...] = ()


@dataclass(frozen=True, slots=True)
class Temp:
    """A temporary: how many bytes, and where in the arena; several may share an address."""

    name: str
    bytes: Size
    offset: Size


@dataclass(frozen=True, slots=True)
class TensorMap:
    """How the copy engine of sm_90 sees a row-major array, of which it moves boxes.

    Attributes:
        source: the array, a "param" or a "temp".
        dtype: of its elements, one of `MAP_TYPES`.
        sizes: of the array, its last dimension first.
        box: elements of a box along each of them, at most `MAP_BOX`.
        swizzle: bytes of the pattern in which shared memory holds a box, one of `MAP_SWIZZLES`.
    """

    source: KernelArg
    dtype: str
    sizes: tuple[Size, ...]
    box: tuple[int, ...]
    swizzle: int = 0


@dataclass(frozen=True, slots=True)
class CudaPlan:
    """The launches of one call, in order.

    Attributes:
        arch: the architecture that the kernels are compiled for, such as "sm_80".
        launches: what runs, one after the other.
        temps: the temporaries, at offsets that are multiples of `ARENA_ALIGNMENT`.
        arena: the bytes that hold all temporaries.
        checks: the messages of the checks that kernels make, by index.
        params: how many parameters the function has.
        dims: the symbolic sizes, in the order of the manifest.
        maps: the tensor maps that launches pass.

    Raises:
        LoadError: the parts contradict each other.
    """

    arch: str
    launches: tuple[Launch, ...]
    temps: tuple[Temp, ...]
    arena: Size
    checks: tuple[str, ...]
    params: int
    dims: tuple[str, ...] = ()
    maps: tuple[TensorMap, ...] = ()

    def __post_init__(self) -> None:
        known = dict.fromkeys(self.dims, 1)
        _check_size("the arena", self.arena, known)
        for temp in self.temps:
            _check_size(f"temporary {temp.name!r}", temp.bytes, known)
            _check_size(f"temporary {temp.name!r}", temp.offset, known)
            if isinstance(temp.offset, int) and temp.offset % ARENA_ALIGNMENT:
                _refuse(
                    f"temporary {temp.name!r} lies at {temp.offset}, which is no multiple of "
                    f"{ARENA_ALIGNMENT}"
                )
        counts = {
            "param": self.params,
            "temp": len(self.temps),
            "dim": len(self.dims),
            "status": 1,
            "map": len(self.maps),
        }
        for number, tensor_map in enumerate(self.maps):
            _check_map(f"tensor map {number}", tensor_map, known, counts)
        for launch in self.launches:
            _check_launch(launch, known, counts)

    def check_room(self, dims: Dims) -> None:
        """Hold every temporary against the arena, for these sizes.

        Raises:
            LoadError: one lies outside of it, or is misaligned.
        """
        arena = sizes.evaluate(self.arena, dims)
        for temp in self.temps:
            start = sizes.evaluate(temp.offset, dims)
            size = sizes.evaluate(temp.bytes, dims)
            if start < 0 or start % ARENA_ALIGNMENT or start + size > arena:
                _refuse(
                    f"temporary {temp.name!r} has {size} bytes at {start} of an arena of {arena}"
                )

    def to_json(self) -> str:
        """The plan as JSON text."""
        head = {"format": FORMAT, "version": VERSION}
        return json.dumps({**head, **asdict(self)}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> CudaPlan:
        """The plan in JSON text.

        Raises:
            LoadError: it is not JSON, or no plan, or of another version.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LoadError(f"not JSON: {error}") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise LoadError(f'not a CUDA plan: there is no "format": "{FORMAT}"')
        if data.get("version") != VERSION:
            raise LoadError(f"CUDA plan of version {data.get('version')}, this is {VERSION}")
        return CudaPlan(
            arch=_text(data.get("arch"), "arch"),
            launches=tuple(map(_launch, _list(data.get("launches"), "launches"))),
            temps=tuple(map(_temp, _list(data.get("temps"), "temps"))),
            arena=_size(data.get("arena"), "arena"),
            checks=tuple(_text(c, "checks") for c in _list(data.get("checks"), "checks")),
            params=_number(data.get("params"), "params"),
            dims=tuple(_text(d, "dims") for d in _list(data.get("dims"), "dims")),
            maps=tuple(map(_map, _list(data.get("maps"), "maps"))),
        )


@dataclass(frozen=True, slots=True)
class CudaImage:
    """The compiled kernels of a function.

    Attributes:
        source: the CUDA C text.
        ptx: what the emulator loads.
        cubin: what a GPU loads; None where it was not made, and the driver compiles `ptx`.
    """

    source: str
    ptx: bytes
    cubin: bytes | None = None


def _check_launch(launch: Launch, known: dict[str, int], counts: dict[str, int]) -> None:
    label = f"launch of {launch.kernel!r}"
    if not launch.kernel.isidentifier() or not launch.kernel.isascii():
        _refuse(f"{label}: the name is no C identifier")
    if len(launch.grid) != 3 or len(launch.block) != 3:
        _refuse(f"{label}: grid and block have three sizes each")
    for size in launch.grid:
        _check_size(f"{label}: its grid", size, known)
    if min(launch.block) < 1 or launch.shared < 0:
        _refuse(f"{label}: block {launch.block} with {launch.shared} bytes of shared memory")
    for arg in launch.args:
        if arg.kind not in counts:
            _refuse(f"{label}: argument of kind {arg.kind!r}; there are {', '.join(KINDS)}")
        if not 0 <= arg.index < counts[arg.kind]:
            _refuse(f"{label}: there is no {arg.kind} {arg.index}, the plan has {counts[arg.kind]}")


def _check_map(
    label: str, tensor_map: TensorMap, known: dict[str, int], counts: dict[str, int]
) -> None:
    source, box = tensor_map.source, tensor_map.box
    if source.kind not in ("param", "temp") or not 0 <= source.index < counts[source.kind]:
        _refuse(f"{label}: there is no {source.kind} {source.index} to map")
    if tensor_map.dtype not in MAP_TYPES:
        _refuse(f"{label}: dtype {tensor_map.dtype!r}; there are {', '.join(MAP_TYPES)}")
    if not 1 <= len(box) <= MAP_RANK or len(tensor_map.sizes) != len(box):
        _refuse(f"{label}: {len(tensor_map.sizes)} sizes and a box of rank {len(box)}")
    for size in tensor_map.sizes:
        _check_size(label, size, known)
    row = box[0] * MAP_TYPES[tensor_map.dtype]
    if min(box) < 1 or max(box) > MAP_BOX or row % 16:
        _refuse(f"{label}: a box of {box}, whose rows have {row} bytes")
    if tensor_map.swizzle not in MAP_SWIZZLES or 0 < tensor_map.swizzle < row:
        _refuse(f"{label}: rows of {row} bytes in a pattern of {tensor_map.swizzle}")


def _check_size(label: str, size: Size, known: dict[str, int]) -> None:
    try:
        value = sizes.evaluate(size, known)
    except ValueError as error:
        _refuse(f"{label}: {error}")
    if isinstance(size, int) and value < 0:
        _refuse(f"{label}: negative size {size}")


def _refuse(why: str) -> NoReturn:
    raise LoadError(f"CUDA plan: {why}")


def _launch(data: Any) -> Launch:
    fields = _object(data, "launch", ("kernel", "grid", "block", "shared", "args"))
    return Launch(
        _text(fields["kernel"], "kernel"),
        _three(fields["grid"], "grid", _size),
        _three(fields["block"], "block", _number),
        _number(fields["shared"], "shared"),
        tuple(map(_arg, _list(fields["args"], "args"))),
    )


def _arg(data: Any) -> KernelArg:
    fields = _object(data, "argument", ("kind", "index"))
    return KernelArg(_text(fields["kind"], "kind"), _number(fields["index"], "index"))


def _map(data: Any) -> TensorMap:
    fields = _object(data, "tensor map", ("source", "dtype", "sizes", "box", "swizzle"))
    return TensorMap(
        _arg(fields["source"]),
        _text(fields["dtype"], "dtype"),
        tuple(_size(v, "sizes") for v in _list(fields["sizes"], "sizes")),
        tuple(_number(v, "box") for v in _list(fields["box"], "box")),
        _number(fields["swizzle"], "swizzle"),
    )


def _temp(data: Any) -> Temp:
    fields = _object(data, "temporary", ("name", "bytes", "offset"))
    return Temp(
        _text(fields["name"], "name"),
        _size(fields["bytes"], "bytes"),
        _size(fields["offset"], "offset"),
    )


def _object(data: Any, what: str, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(data, dict) or set(data) != set(names):
        _refuse(f"{what}: expected an object of {', '.join(names)}, got {data!r}")
    return data


def _three(data: Any, what: str, read: Any) -> tuple[Any, Any, Any]:
    x, y, z = (read(v, what) for v in _list(data, what, 3))
    return x, y, z


def _list(data: Any, what: str, length: int | None = None) -> list[Any]:
    if not isinstance(data, list) or len(data) != (len(data) if length is None else length):
        many = "a list" if length is None else f"{length} values"
        _refuse(f"{what}: expected {many}, got {data!r}")
    return data


def _size(data: Any, what: str) -> Size:
    if isinstance(data, str):
        return data
    return _number(data, what)


def _number(data: Any, what: str) -> int:
    if isinstance(data, bool) or not isinstance(data, int):
        _refuse(f"{what}: expected an integer, got {data!r}")
    return data


def _text(data: Any, what: str) -> str:
    if not isinstance(data, str):
        _refuse(f"{what}: expected a text, got {data!r}")
    return data
