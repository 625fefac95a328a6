"""What the automatic schedules ask of a GPU: registers, memory, instructions; all without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from codegen.cuda.programs import emitted
from tensorc import ops
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.driver.cuda.function import CudaCompiledFunction
from tensorc.schedule.auto import auto_schedule
from tensorc.target import Target
from tensorc.te.build import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor


def x(*shape: int, name: str = "x") -> Tensor:
    return tc.placeholder(shape, name=name)


def weight_gradient() -> Tensor:
    weights = x(64, 64, 3, 3, name="W")
    loss = ops.sum(ops.conv2d(x(8, 64, 56, 56), weights, padding=1))
    return tc.grad(loss, [weights])[0]


LARGE: dict[str, Callable[[], Tensor]] = {
    "product": lambda: ops.relu(
        x(4096, 4096, name="A") @ x(4096, 4096, name="B") + x(4096, name="b")
    ),
    "convolution": lambda: ops.conv2d(x(8, 64, 56, 56), x(64, 64, 3, 3, name="W"), padding=1),
    "softmax": lambda: ops.softmax(x(8192, 1024)),
    "layer norm": lambda: ops.layer_norm(x(8192, 4096)),
    "attention": lambda: ops.attention(
        x(32, 512, 64), x(32, 512, 64, name="k"), x(32, 512, 64, name="v")
    ),
    "gradient of a convolution": lambda: weight_gradient(),
    "argmax": lambda: ops.argmax(x(8192, 1024), axis=1),
    "sum of everything": lambda: ops.sum(x(4096, 4096)),
    "column sums": lambda: ops.sum(x(4096, 4096), axis=0),
}


@pytest.mark.parametrize("arch", ["sm_75", "sm_90"])
@pytest.mark.parametrize("name", LARGE)
def test_no_kernel_spills_registers(name: str, arch: str) -> None:
    s = auto_schedule(build([LARGE[name]()]), Target("cuda", arch=arch))
    binary = compile_cuda(emitted(s.program, arch).source, arch)
    for kernel, taken in binary.resources.items():
        assert (taken.spill_stores, taken.spill_loads) == (0, 0), kernel
        assert taken.registers <= 168, "three blocks of 128 threads on a multiprocessor"


@pytest.mark.parametrize("arch", ["sm_80", "sm_89", "sm_90"])
def test_a_large_product_is_multiply_adds_for_the_most_part(arch: str) -> None:
    """Of one step: 16 times 8x8 results, and for each of the 16 four loads of 16 bytes."""
    s = auto_schedule(build([LARGE["product"]()]), Target("cuda", arch=arch))
    binary = compile_cuda(emitted(s.program, arch).source, arch)
    (mix,) = instruction_mix(disassemble(binary.cubin)).values()
    assert mix["FFMA"] == 16 * 64
    assert 16 * 4 <= mix["LDS"] <= 16 * 4 + 8, "four for each step, and what opens the loop"
    assert mix["LDGSTS"] >= 10, "copied asynchronously, not through registers"
    assert mix["LDL"] == mix["STL"] == 0
    (taken,) = binary.resources.values()
    assert taken.registers <= 128, "256 threads twice on a multiprocessor"


@pytest.mark.parametrize(
    ("shapes", "make", "shared"),
    [
        (((128, 64), (64, 128)), lambda a, b: a @ b, 1.0),
        (((64, 128), (64, 128)), lambda a, b: ops.transpose(a) @ b, 1.0),
        (((128, 64), (128, 64)), lambda a, b: a @ ops.transpose(b), 1.0),
        (((16, 512),), ops.softmax, 1.0),
        (((64, 128),), lambda a: ops.sum(a, axis=0), 1.0),
    ],
)
def test_memory_is_accessed_in_whole_sectors_and_with_few_conflicts(
    shapes: tuple[tuple[int, int], ...], make: Callable[..., Tensor], shared: float
) -> None:
    """On one multiprocessor, which gets the tiles of a large product."""
    inputs = [x(*shape, name=f"x{k}") for k, shape in enumerate(shapes)]
    f = tc.compile([make(*inputs)], inputs=inputs, target=Target("cuda-emu", sms=1))
    assert isinstance(f, CudaCompiledFunction)
    profile = f.profile_memory(*(np.ones(shape, np.float32) for shape in shapes))
    assert profile.ratio("global") == 1.0
    assert profile.ratio("shared") <= shared
