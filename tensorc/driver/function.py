"""A compiled function that knows how it came about: call it, inspect it, export it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tensorc.codegen.llvm import compile_object
from tensorc.driver.c_names import is_c_name, is_of_the_c_library
from tensorc.driver.export import write_export
from tensorc.driver.stages import stage_text, timing_text
from tensorc.errors import CompileError
from tensorc_runtime.function import Function

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from tensorc.driver.artifact import Artifact
    from tensorc.target import Target
    from tensorc_runtime.function import NativeCode
    from tensorc_runtime.manifest import Manifest


class CompiledFunction(Function):
    """A function that `compile` made. Calls are those of `tensorc_runtime.Function`."""

    def __init__(
        self,
        manifest: Manifest,
        code: NativeCode,
        state: Mapping[str, object] | None,
        *,
        artifact: Artifact,
        target: Target,
        opt_level: int,
        timing: dict[str, float],
        definitions: Callable[[], str] | None,
        named: bool,
    ) -> None:
        """Made by `compile`."""
        super().__init__(manifest, code, state)
        self._artifact = artifact
        self._target = target
        self._opt_level = opt_level
        self._timing = timing
        self._definitions = definitions
        self._named = named

    @property
    def timing(self) -> dict[str, float]:
        """Seconds by phase that this compilation took; few where the cache had it.

        LLVM compiles while code is emitted and texts are made: its phase is what was left then.
        """
        return dict(self._timing)

    def attach(self, state: Mapping[str, object]) -> CompiledFunction:
        """The same function on other state, whose arrays every call updates in place.

        Raises:
            ArgumentError: an array is missing, unknown, or does not fit.
        """
        return type(self)(
            self.manifest,
            self._code,
            state,
            artifact=self._artifact,
            target=self._target,
            opt_level=self._opt_level,
            timing=self._timing,
            definitions=self._definitions,
            named=self._named,
        )

    def inspect(self, stage: str) -> str:
        """How the function looked at a stage of its compilation, as text.

        Stages: te, program, trace, loops, lowered, memory, llvm, optimized, asm, timing.

        Raises:
            CompileError: there is no such stage, or the function did not pass through it.
        """
        if stage == "te" and self._definitions is not None:
            return self._definitions()
        if stage == "timing":
            return timing_text(self._timing)
        return stage_text(stage, self.name, self._artifact, self._target, self._opt_level)

    def export(
        self, directory: str | os.PathLike[str], name: str | None = None, *, library: bool = True
    ) -> list[Path]:
        """Write NAME.h, NAME.o, libNAME.so, NAME.json, tensorc.h, and NAME.state for a step.

        `tensorc_runtime.load(directory)` gives the function back without the compiler; C includes
        NAME.h. State is written as it is now.

        Args:
            directory: made where it is missing; what an earlier export of NAME left is replaced.
            name: of the C symbols and files; by default the function's where one was chosen, else
                the directory's.
            library: whether to link libNAME.so, which needs a linker.

        Returns:
            The files written.

        Raises:
            CompileError: the name is no C name or one of the C library's, the directory cannot be
                written, or there is no linker for the target; then all but the library is there.
        """
        if name is None:
            folder = Path(directory).absolute().name
            name = folder if not self._named and is_c_name(folder) else self.name
        if not is_c_name(name):
            raise CompileError(f"export: {name!r} cannot be the name of a C function; give name=")
        if is_of_the_c_library(name):
            raise CompileError(
                f"export: the C library has a function {name!r}, which the exported one would "
                "replace in a program; give name="
            )
        manifest = replace(self.manifest, name=name)
        # What is called from Python lacks the entry, and NAME.o is one file.
        text = _renamed(self._artifact.texts["llvm"], self.name, name)
        code = compile_object(text, self._target, self._opt_level)
        if self._lock is None:
            return write_export(directory, manifest, code, {}, library)
        with self._lock:
            return write_export(directory, manifest, code, self.state, library)


class ForeignFunction(CompiledFunction):
    """A function for another machine: to inspect and export."""

    def __call__(self, *_inputs: Any, **_options: Any) -> NoReturn:
        """Refused.

        Raises:
            CompileError: always.
        """
        raise CompileError(
            f"{self.name} is compiled for {self._target.triple}, processor {self._target.cpu}, "
            "and cannot run here; export it, or compile it with target='cpu'"
        )

    def bind(self, *inputs: Any, **options: Any) -> NoReturn:
        """Refused, as a call is.

        Raises:
            CompileError: always.
        """
        self(*inputs, **options)

    def workspace_bytes(self, **dims: int) -> NoReturn:
        """Refused, as a call is; `inspect("memory")` tells.

        Raises:
            CompileError: always.
        """
        self(**dims)


def _renamed(llvm: str, old: str, new: str) -> str:
    """The module with its functions called after `new`: NAME, NAME_run, NAME.body and so on."""
    return re.sub(rf"@{re.escape(old)}(?=\(|_run\(|_workspace\(|\.)", f"@{new}", llvm)
