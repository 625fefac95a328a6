"""Arrays in a device's memory, and the arrays of other libraries there, without a copy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc_runtime.cuda.api import LEGACY_STREAM
from tensorc_runtime.cuda.lend import DEVICES, KDL_CUDA, capsule_of
from tensorc_runtime.cuda.plan import PARAM_ALIGNMENT
from tensorc_runtime.cuda.stream import stream_number
from tensorc_runtime.dlpack import borrow
from tensorc_runtime.errors import ArgumentError

if TYPE_CHECKING:
    import numpy.typing as npt

    from tensorc_runtime.cuda.device import Device, Memory
    from tensorc_runtime.dlpack import Borrowed


class Flags:
    """What NumPy's `flags` would say of a device array; aligned is to `PARAM_ALIGNMENT` bytes."""

    __slots__ = ("aligned", "c_contiguous", "writeable")

    def __init__(self, c_contiguous: bool, aligned: bool, writeable: bool) -> None:
        """Facts of one array."""
        self.c_contiguous = c_contiguous
        self.aligned = aligned
        self.writeable = writeable


class DeviceArray:
    """An array in the memory of a CUDA device.

    Work on it is queued: only what needs values on the host (`numpy()`, `float()`, `item()`...)
    waits for it. Other libraries view it without a copy through DLPack or
    `__cuda_array_interface__`; the memory is freed when neither they nor Python refer to it.

    Attributes:
        device: where it is.
        shape: in elements.
        dtype: a NumPy dtype.
        strides: in bytes.
        flags: `c_contiguous`, `aligned` and `writeable`.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_memory",
        "_owner",
        "_watch",
        "device",
        "dtype",
        "flags",
        "shape",
        "strides",
    )

    # NumPy's operators would take the elements one by one: let them refuse instead.
    __array_ufunc__ = None

    def __init__(
        self,
        device: Device,
        address: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        memory: Memory | None = None,
        owner: object = None,
        strides: tuple[int, ...] | None = None,
        writeable: bool = True,
    ) -> None:
        """Made by `device_array`, `empty` and compiled functions.

        Args:
            device: where the memory is.
            address: of the first element.
            shape: in elements.
            dtype: of the elements.
            memory: where it is tensorc's own.
            owner: what keeps the memory where it is not.
            strides: in bytes; None is row-major.
            writeable: whether its owner lets others write.
        """
        self.device = device
        self._address = address
        self._memory = memory
        self._owner = owner
        self._watch: Any = None
        self.shape = shape
        self.dtype = dtype
        self.strides = compact_strides(shape, dtype.itemsize) if strides is None else strides
        self.flags = Flags(
            _is_compact(shape, self.strides, dtype.itemsize),
            address % PARAM_ALIGNMENT == 0 or 0 in shape,
            writeable,
        )

    # --- what it is ------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of the elements."""
        return self.size * self.dtype.itemsize

    @property
    def address(self) -> int:
        """Where the first element is, in the device's memory.

        Raises:
            ArgumentError: the array was freed.
        """
        if self._memory is not None and self._memory.freed:
            raise ArgumentError(f"{self!r} was freed")
        return self._address

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a device array without dimensions")
        return self.shape[0]

    def __repr__(self) -> str:
        freed = ", freed" if self._memory is not None and self._memory.freed else ""
        return f"DeviceArray({self.dtype.name}{list(self.shape)} on {self.device.place}{freed})"

    # --- values ----------------------------------------------------------------------------------

    def numpy(self, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """The values in a NumPy array, once all queued work on them is done.

        Args:
            out: where to put them; by default a new array.

        Raises:
            ArgumentError: the array was freed or is not row-major, or `out` does not fit.
            CheckFailed: a check of the call that makes the values failed.
            CudaError: the work failed, or the driver refuses the copy.
        """
        self._need_compact("numpy()")
        host = np.empty(self.shape, self.dtype) if out is None else out
        _need_fit(host, self, "numpy(out=)")
        stream = self.stream
        address = self.address
        with self.device.current():
            if self.nbytes:
                self.device.call(
                    "cuMemcpyDtoHAsync", host.ctypes.data, address, self.nbytes, stream
                )
            self.device.wait(stream)
        if self._watch is not None:
            self._watch.raise_failed()
        return host

    def copy_from(self, values: Any, stream: Any = None) -> DeviceArray:
        """Replace the values by those of a NumPy array or a device array of the same kind.

        Returns:
            This array.

        Raises:
            ArgumentError: `values` has another shape or dtype, or is on another device.
            CudaError: the driver refuses the copy.
        """
        self._need_compact("copy_from()")
        source = values if isinstance(values, DeviceArray) else np.asarray(values)
        _need_fit(source, self, "copy_from()")
        number = stream_number(stream)
        with self.device.current():
            target = self.address_on(number)
            if isinstance(source, DeviceArray):
                if source.device is not self.device:
                    raise ArgumentError(f"copy_from(): {source!r} is not on {self.device.place}")
                start = source.address_on(number)
                if self.nbytes:
                    self.device.call("cuMemcpyDtoDAsync", target, start, self.nbytes, number)
            elif self.nbytes:
                self.device.call(
                    "cuMemcpyHtoDAsync", target, source.ctypes.data, self.nbytes, number
                )
                # The driver reads pinned memory later, when the caller may have changed it.
                self.device.wait(number)
        return self

    def item(self) -> Any:
        """The only element as a Python number.

        Raises:
            ArgumentError: there is not exactly one.
        """
        if self.size != 1:
            raise ArgumentError(f"item(): {self!r} has {self.size} elements")
        return self.numpy().item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.numpy().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a device array's values cannot be seen by NumPy without a copy")
        values = self.numpy()
        return values if dtype is None else values.astype(dtype, copy=False)

    # --- memory ----------------------------------------------------------------------------------

    @property
    def stream(self) -> int:
        """The stream on which the array was used last."""
        return LEGACY_STREAM if self._memory is None else self._memory.use.stream

    def address_on(self, stream: int) -> int:
        """The address, for work on `stream` that comes after all earlier work on this array."""
        address = self.address
        if self._memory is not None:
            self._memory.use_on(stream)
        return address

    def free(self) -> None:
        """Free the memory when all queued work on it is done; the array cannot be used after.

        Raises:
            ArgumentError: the memory belongs to another library.
        """
        if self._memory is None:
            raise ArgumentError(f"free(): the memory of {self!r} belongs to its owner")
        self._memory.free()

    # --- other libraries -------------------------------------------------------------------------

    def __dlpack_device__(self) -> tuple[int, int]:
        return KDL_CUDA, self.device.index

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        try:
            self._lend("DLPack")
        except AttributeError as error:
            raise BufferError(str(error)) from None
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"{self!r} cannot be lent on DLPack device {tuple(dl_device)}")
        if copy:
            raise BufferError(f"{self!r} is lent as it is; copy it there")
        if not self.flags.writeable and not max_version:
            raise BufferError(f"{self!r} is read-only, which this consumer cannot be told")
        address = self.address
        if stream != -1:
            with self.device.current():
                address = self.address_on(stream_number(stream))
        item = max(self.dtype.itemsize, 1)
        return capsule_of(
            self,
            address,
            self.shape,
            tuple(s // item for s in self.strides),
            self.dtype.name,
            self.device.index,
            versioned=max_version is not None and max_version[0] >= 1,
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self._lend("__cuda_array_interface__")
        return {
            "shape": self.shape,
            "strides": None if self.flags.c_contiguous else self.strides,
            "typestr": self.dtype.str,
            "data": (self.address, not self.flags.writeable),
            "stream": self.stream,
            "version": 3,
        }

    def _lend(self, protocol: str) -> None:
        if self.device.system.emulated:
            raise AttributeError(
                f"{protocol}: {self!r} is in an emulated device, whose addresses mean nothing to "
                "other libraries; take its numpy()"
            )
        if self._memory is not None:
            self._memory.use.lent = True

    def _need_compact(self, what: str) -> None:
        if not self.flags.c_contiguous:
            raise ArgumentError(
                f"{what}: {self!r} has strides {self.strides}, and only row-major arrays are "
                "copied; make it contiguous where it comes from"
            )


def new_array(
    device: Device, shape: tuple[int, ...], dtype: np.dtype[Any], stream: int = LEGACY_STREAM
) -> DeviceArray:
    """An uninitialized array for use on `stream`; the device's context is current.

    Raises:
        OutOfDeviceMemory: there is not enough.
    """
    memory = device.allocate(math.prod(shape) * dtype.itemsize, stream)
    return DeviceArray(device, memory.address, shape, dtype, memory=memory)


def is_foreign(value: object) -> bool:
    """Whether `value` is another library's array in the memory of a CUDA device."""
    if hasattr(value, "__dlpack_device__") and hasattr(value, "__dlpack__"):
        try:
            return int(value.__dlpack_device__()[0]) in DEVICES
        except (TypeError, ValueError, RuntimeError, BufferError):
            return False
    return getattr(type(value), "__cuda_array_interface__", None) is not None


def view(value: Any, device: Device, stream: int = LEGACY_STREAM) -> DeviceArray:
    """Another library's array as one of ours over the same memory, ready on `stream`.

    Raises:
        ValueError: it is on another device, or its owner refuses to lend it.
    """
    if device.system.emulated:
        raise ValueError("is on a GPU, and this function runs in the emulator; pass it as NumPy")
    if hasattr(value, "__dlpack__"):
        number = int(value.__dlpack_device__()[1])
        if number != device.index:
            raise ValueError(f"is on CUDA device {number}, this function runs on {device.place}")
        return _adopt(device, borrow(value, stream=stream))
    interface = value.__cuda_array_interface__
    address, read_only = interface["data"]
    theirs = interface.get("stream")
    if theirs is not None:
        with device.current():
            device.order(stream_number(theirs), stream)
    return DeviceArray(
        device,
        int(address),
        tuple(interface["shape"]),
        np.dtype(interface["typestr"]),
        owner=value,
        strides=None if interface.get("strides") is None else tuple(interface["strides"]),
        writeable=not read_only,
    )


def _adopt(device: Device, lent: Borrowed) -> DeviceArray:
    return DeviceArray(
        device,
        lent.address,
        lent.shape,
        lent.dtype,
        owner=lent.owner,
        strides=lent.strides,
        writeable=not lent.read_only,
    )


def compact_strides(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    """The strides in bytes of a row-major array."""
    strides = []
    for size in reversed(shape):
        strides.append(item)
        item *= max(size, 1)
    return tuple(reversed(strides))


def _is_compact(shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> bool:
    if 0 in shape:
        return True
    wanted = compact_strides(shape, item)
    return all(n == 1 or a == b for n, a, b in zip(shape, strides, wanted, strict=True))


def _need_fit(array: Any, like: DeviceArray, what: str) -> None:
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ArgumentError(
            f"{what}: expected {like.dtype.name} of shape {like.shape}, got "
            f"{array.dtype.name} of shape {array.shape}"
        )
    if not array.flags.c_contiguous:
        raise ArgumentError(
            f"{what}: must be C-contiguous, got strides {array.strides} for shape {array.shape}"
        )
