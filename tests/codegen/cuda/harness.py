"""Emitted kernels run in the emulator, and compared with the interpreter."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING

import numpy as np

from codegen.cuda.programs import lowered
from codegen.programs import arrays_for
from tensorc.codegen.cuda import CudaModule, compile_cuda, emit_cuda
from tensorc.emulator import EmulatedModule, Finding, LaunchOptions, MemoryProfile
from tensorc.emulator.heap import DeviceHeap, note_written
from tensorc.emulator.tensor_map import encode_tensor_map
from tensorc.ir import interp
from tensorc.ir.stmt import Program, Role
from tensorc.lower.memory import plan_arena
from tensorc.target import Target
from tensorc_runtime import sizes
from tensorc_runtime.cuda.plan import MAP_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from codegen.harness import Array
    from tensorc_runtime.cuda.plan import TensorMap
    from tensorc_runtime.sizes import Dims

ORDERS = (
    LaunchOptions(checked=True),
    LaunchOptions(checked=True, order="reverse"),
    LaunchOptions(checked=True, order="random", seed=7),
)
PROFILED = LaunchOptions(profile=True)
CAPACITY = 1 << 30


class Run:
    """One call of a program's kernels, on copies of arrays."""

    def __init__(
        self,
        module: CudaModule,
        kernels: EmulatedModule,
        program: Program,
        arrays: Mapping[str, Array],
        dims: Mapping[str, int],
        options: LaunchOptions,
    ) -> None:
        self.heap = DeviceHeap(CAPACITY)
        self.findings: list[Finding] = []
        self.profile = MemoryProfile()
        self.results = {k: v.copy() for k, v in arrays.items()}
        plan = module.plan
        params = [
            self._copied(p.buffer.name, self.results[p.buffer.name], p.role is not Role.OUT)
            for p in program.params
        ]
        arena = self._room("arena", sizes.evaluate(plan.arena, dims))
        self.status = np.zeros(8, np.int32)
        status = self._copied("status", self.status, True)
        try:
            for launch in plan.launches:
                x, y, z = (sizes.evaluate(g, dims) for g in launch.grid)
                values: dict[str, Callable[[int], int]] = {
                    "param": lambda i: params[i],
                    "temp": lambda i: arena + sizes.evaluate(plan.temps[i].offset, dims),
                    "dim": lambda i: dims[plan.dims[i]],
                    "status": lambda _: status,
                }
                args = [
                    _encoded(plan.maps[a.index], values, dims)
                    if a.kind == "map"
                    else values[a.kind](a.index).to_bytes(8, "little")
                    for a in launch.args
                ]
                if x * y * z:
                    done = kernels.launch(
                        launch.kernel, (x, y, z), launch.block, args, launch.shared, options
                    )
                    self.findings += done.findings
                    self.profile.add(done.accesses)
                    assert not done.error, done.describe()
            for p, address in zip(program.params, params, strict=True):
                array = self.results[p.buffer.name]
                ctypes.memmove(array.ctypes.data, address, array.nbytes)
            ctypes.memmove(self.status.ctypes.data, status, self.status.nbytes)
        finally:
            self.heap.clear()

    def _room(self, name: str, size: int) -> int:
        allocation = self.heap.allocate(max(size, 1))
        assert allocation is not None
        self.heap.name(allocation.address, name)
        return int(allocation.address)

    def _copied(self, name: str, array: Array, written: bool) -> int:
        address = self._room(name, array.nbytes)
        ctypes.memmove(address, array.ctypes.data, array.nbytes)
        if written:
            note_written(address, array.nbytes)
        return address


def _encoded(m: TensorMap, values: Mapping[str, Callable[[int], int]], dims: Dims) -> bytes:
    """A tensor map as the emulated driver makes it."""
    extents, item = [sizes.evaluate(s, dims) for s in m.sizes], MAP_TYPES[m.dtype]
    strides = [item * math.prod(extents[: d + 1]) for d in range(len(extents) - 1)]
    address = values[m.source.kind](m.source.index)
    return encode_tensor_map(
        address, extents, strides, m.box, item, "", (0, 32, 64, 128).index(m.swizzle)
    )


class Emulated:
    """A program, its kernels, and the kernels as the emulator runs them."""

    def __init__(self, text: str | Program, arch: str = "sm_80", drop: int | None = None) -> None:
        target = Target("cuda-emu", arch=arch)
        self.program = lowered(text, target)
        self.module = emit_cuda(self.program, target, plan_arena(self.program), drop_barrier=drop)
        self.binary = compile_cuda(self.module.source, arch, lines=True)
        self.kernels = EmulatedModule(self.binary.ptx, checked=True)

    def run(
        self, arrays: Mapping[str, Array], options: LaunchOptions = ORDERS[0], **dims: int
    ) -> Run:
        return Run(self.module, self.kernels, self.program, arrays, dims, options)


def check(
    text: str | Program,
    arrays: Mapping[str, Array] | None = None,
    *,
    arch: str = "sm_80",
    orders: Sequence[LaunchOptions] = ORDERS,
    bound: float = 0.0,
    **dims: int,
) -> Emulated:
    """Compare the kernels with the interpreter: bit for bit, or within `bound` of it.

    The interpreter runs what the passes left, so that expansions of functions are the same. A
    bound is relative to the largest result, for floats that are folded in another order.
    """
    emulated = Emulated(text, arch)
    given = arrays if arrays is not None else arrays_for(emulated.program, dims)
    expected = {k: v.copy() for k, v in given.items()}
    with np.errstate(all="ignore"):
        interp.run(emulated.program, expected, dims)
    for options in orders:
        run = emulated.run(given, options, **dims)
        assert not run.findings, "\n".join(str(f) for f in run.findings)
        assert run.status[0] == 0
        for name, want in expected.items():
            assert_equal(run.results[name], want, bound, name)
    return emulated


def assert_equal(got: Array, want: Array, bound: float, name: str) -> None:
    if want.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want, err_msg=name)
        return
    with np.errstate(invalid="ignore"):  # Signalling NaNs.
        wide, other = got.astype(np.float64), want.astype(np.float64)
    if not bound:
        np.testing.assert_array_equal(wide, other, err_msg=name)
        return
    scale = float(np.max(np.abs(other), initial=0.0))
    np.testing.assert_allclose(wide, other, rtol=0, atol=bound * scale, err_msg=name)
