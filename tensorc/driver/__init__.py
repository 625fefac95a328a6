"""From tensors, schedules, programs and training steps to functions that run, print and export."""

from tensorc.driver.compile import compile
from tensorc.driver.function import CompiledFunction
from tensorc.driver.source import Compilable, ScheduleLike, StepLike

__all__ = ["Compilable", "CompiledFunction", "ScheduleLike", "StepLike", "compile"]
