"""From tensors, schedules, programs and training steps to functions that run, print and export."""

from tensorc.driver.compile import Compilable, ScheduleLike, StepLike, compile
from tensorc.driver.function import CompiledFunction

__all__ = ["Compilable", "CompiledFunction", "ScheduleLike", "StepLike", "compile"]
