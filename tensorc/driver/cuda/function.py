"""A function compiled for CUDA that knows how it came about: call it, inspect it, check it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from tensorc.codegen.cuda.inspect import disassemble
from tensorc.codegen.cuda.nvrtc import compile_cuda
from tensorc.driver.cuda.checked import watch
from tensorc.driver.cuda.stages import no_stage, plan_text
from tensorc.driver.cuda.systems import system_of
from tensorc.driver.function import CompiledFunction
from tensorc.driver.stages import timing_text
from tensorc.emulator import EmulatorReport, LaunchOptions
from tensorc.errors import CompileError
from tensorc.live import register
from tensorc_runtime.cuda.function import CudaFunction
from tensorc_runtime.cuda.plan import CudaImage, CudaPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tensorc.driver.artifact import Artifact
    from tensorc.emulator import EmulatedDriver, MemoryProfile
    from tensorc.target import Target
    from tensorc_runtime.cuda.mirror import Mirror
    from tensorc_runtime.manifest import Manifest


ORDERS = ("forward", "reverse", "random")


class CudaCompiledFunction(CudaFunction, CompiledFunction):
    """A function that `compile` made for CUDA. Calls are those of `CudaFunction`."""

    def __init__(
        self,
        manifest: Manifest,
        state: Mapping[str, object] | None,
        *,
        artifact: Artifact,
        target: Target,
        timing: dict[str, float],
        definitions: Callable[[], str] | None,
    ) -> None:
        """Made by `compile`."""
        ptx, cubin = artifact.objects
        plan = CudaPlan.from_json(artifact.texts["plan"])
        image = CudaImage(artifact.texts["cuda"], ptx, cubin or None)
        CudaFunction.__init__(self, manifest, plan, image, partial(system_of, target), state)
        self._artifact = artifact
        self._target = target
        self._timing = timing
        self._definitions = definitions
        self._lined: CudaImage | None = None

    @property
    def source(self) -> str:
        """The CUDA C of all kernels."""
        return self._image.source

    def attach(self, state: Mapping[str, object]) -> CudaCompiledFunction:
        """The same function on other state: host arrays, or device arrays that calls update.

        Raises:
            ArgumentError: an array is missing, unknown, or does not fit.
        """
        return self._again(state)

    def _again(self, state: Mapping[str, object] | None) -> CudaCompiledFunction:
        made = type(self)(
            self.manifest,
            state or None,
            artifact=self._artifact,
            target=self._target,
            timing=self._timing,
            definitions=self._definitions,
        )
        made._device_index, made._module = self._device_index, self._module
        return made

    def _observe(self, mirror: Mirror) -> None:
        register(mirror.host, mirror)  # A model's parameters are read through it.

    def inspect(self, stage: str) -> str:
        """How the function looked at a stage of its compilation, as text.

        Stages: te, program, trace, loops, lowered, memory, plan, cuda, barriers, ptx, sass,
        resources, timing.

        Raises:
            CompileError: there is no such stage, the function did not pass through it, or the tool
                that shows it is not there.
        """
        texts = self._artifact.texts
        made: dict[str, Callable[[], str]] = {
            "plan": lambda: plan_text(self.plan, self.manifest),
            "ptx": lambda: self._image.ptx.decode().rstrip("\0"),
            "sass": lambda: disassemble(self._artifact.objects[1]),
            "timing": lambda: timing_text(self._timing),
        }
        if self._definitions is not None:
            made["te"] = self._definitions
        if stage in made:
            return made[stage]()
        if stage in texts:
            return texts[stage]
        raise no_stage(self.name, stage, {**texts, **made})

    def check(self, /, *inputs: Any, **named: Any) -> EmulatorReport:
        """Run a call in the emulator on copies of all arrays, and look for mistakes of the kernels.

        Races, accesses outside of an array, reads of what nobody has written, misaligned accesses,
        divergent barriers; in three orders of threads. Needs a C++ compiler, and no GPU.

        Returns:
            What was found; `ok` says that it is nothing. As text it quotes lines of `source`.

        Raises:
            ArgumentError: an argument does not fit.
            CompileError: there is no C++ compiler.
            CudaError: a kernel ended early for a reason that is no finding.
        """
        report = EmulatorReport()
        for order in ORDERS:
            options = LaunchOptions(checked=True, order=order)
            report.add(self._watch(inputs, named, options).report.findings)
        return report

    def profile_memory(self, /, *inputs: Any, **named: Any) -> MemoryProfile:
        """Run a call in the emulator on copies of all arrays, and count how memory is accessed.

        Returns:
            For each access of `source`: transactions of global memory (32 bytes) and passes over
            shared memory, beside the fewest that would do.

        Raises:
            ArgumentError: an argument does not fit.
            CompileError: there is no C++ compiler.
            CudaError: a kernel ended early.
        """
        return self._watch(inputs, named, LaunchOptions(profile=True)).profile

    def _watch(
        self, inputs: Sequence[Any], named: Mapping[str, Any], options: LaunchOptions
    ) -> EmulatedDriver:
        if named:
            inputs = self._signature.place(inputs, named)
        self.sync_state()
        return watch(self.manifest, self.plan, self._with_lines(), inputs, self._given, options)

    def _with_lines(self) -> CudaImage:
        """The image whose PTX names the lines of the source."""
        if self._target.kind == "cuda-emu":
            return self._image
        if self._lined is None:
            binary = compile_cuda(self.source, self._target.arch, lines=True)
            self._lined = CudaImage(self.source, binary.ptx)
        return self._lined

    def export(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: what is exported runs on a CPU.

        Raises:
            CompileError: always.
        """
        raise CompileError(
            f"{self.name}: export writes C libraries, and code for {self._target.arch} cannot be "
            "in one; inspect('cuda') and inspect('ptx') are its kernels, inspect('plan') how to "
            "launch them; or compile it with target='cpu' to export it"
        )
