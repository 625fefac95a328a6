"""CUDA C through NVRTC: what it makes, what it refuses, what is kept, what a kernel takes."""

from __future__ import annotations

import sys

import pytest

from codegen.cuda.programs import ARCHS, ROW_SUMS, emitted, gemm
from tensorc.codegen.cuda import nvrtc
from tensorc.codegen.cuda.inspect import disassemble, instruction_mix, resources_text
from tensorc.codegen.cuda.nvrtc import compile_cuda, nvrtc_version, supported_archs
from tensorc.codegen.cuda.resources import (
    CudaWarning,
    Resources,
    occupancy,
    parse_cubin,
    parse_log,
    warn_of,
)
from tensorc.errors import CompileError
from tensorc.target import ARCHS as TABLE

PLAIN = 'extern "C" __global__ void k(float* a) {\n  a[threadIdx.x] = 1.0f;\n}\n'


@pytest.mark.parametrize("arch", ARCHS)
def test_log_and_machine_code_agree_on_what_kernels_take(arch: str) -> None:
    for text in (gemm(), ROW_SUMS):
        binary = compile_cuda(emitted(text, arch).source, arch)
        assert f".target {arch}".encode() in binary.ptx
        assert binary.cubin[:4] == b"\x7fELF"
        assert "warning" not in binary.log
        code = parse_cubin(binary.cubin)
        assert set(code) == set(binary.resources)
        for name, said in binary.resources.items():
            assert (code[name].registers, code[name].stack, code[name].shared) == (
                said.registers,
                said.stack,
                said.shared,
            )
            assert said.stack == said.spill_stores == said.spill_loads == 0
            assert said.registers > 0


def test_a_schedule_bounds_registers_by_the_blocks_that_it_wants() -> None:
    text = gemm()
    wanted = text.replace("for bj in block.x(8):", "for bj in block.x(8) {min_blocks: 4}:")
    assert "__launch_bounds__(256, 4)" in emitted(wanted).source
    free, bound = (compile_cuda(emitted(t).source, "sm_80").resources["gemm_C"].registers
                   for t in (text, wanted))  # fmt: skip
    assert bound <= 65536 // (4 * 256) < free


def test_an_empty_log_leaves_the_interpreter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # NVRTC writes a NUL where a buffer of one byte is given, and CPython shares such objects.
    monkeypatch.setattr(nvrtc, "OPTIONS", ("--std=c++17",))
    assert compile_cuda(PLAIN, "sm_80").log == ""
    assert bytes([32]) == b" "
    assert [bytes([i])[0] for i in range(256)] == list(range(256))


def test_a_refused_source_is_shown_with_its_lines() -> None:
    with pytest.raises(CompileError) as error:
        compile_cuda('extern "C" __global__ void k(int* a) {\n  a[0] = b;\n}\n', "sm_80")
    assert str(error.value) == (
        "NVRTC refused the source (NVRTC_ERROR_COMPILATION):\n"
        'kernels.cu(2): error: identifier "b" is undefined\n'
        "    a[0] = b;\n"
        "           ^\n\n"
        '1 error detected in the compilation of "kernels.cu".\n\n'
        '1 | extern "C" __global__ void k(int* a) {\n'
        "2 |   a[0] = b;\n"
        "3 | }"
    )


def test_an_architecture_that_nvrtc_does_not_know_is_refused() -> None:
    major, minor = nvrtc_version()
    with pytest.raises(CompileError) as error:
        compile_cuda(PLAIN, "sm_35")
    assert str(error.value) == (
        f"NVRTC {major}.{minor} does not compile for sm_35; it knows {', '.join(supported_archs())}"
        ": install another version of it, or choose one of these"
    )


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    nvrtc._bindings.cache_clear()
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(CompileError) as error:
        compile_cuda(PLAIN, "sm_80")
    assert str(error.value).startswith(
        "compiling CUDA C needs NVRTC and its Python bindings, and cuda.bindings is missing ("
    )
    assert str(error.value).endswith(
        "; install them with pip install 'tensorc[cuda13]' (or 'tensorc[cuda12]' for CUDA 12)"
    )
    monkeypatch.undo()
    nvrtc._bindings.cache_clear()
    assert compile_cuda(PLAIN, "sm_80").cubin


def test_the_log_of_an_older_assembler_is_read_too() -> None:
    log = (
        "ptxas info    : Compiling entry function 'k' for 'sm_80'\n"
        "ptxas info    : Function properties for k\n"
        "    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
        "ptxas info    : Used 40 registers, 48 bytes smem, 380 bytes cmem[0]\n"
    )
    assert parse_log(log) == {"k": Resources(40, 8, 12, 16, 48, 0, 380)}


def test_spills_and_lost_instructions_are_warnings() -> None:
    log = "ptxas warning : (C7510) Potential Performance Loss: wgmma ... in function 'k'\n"
    with pytest.warns(CudaWarning) as said:
        warn_of(log, {"spilled": Resources(255, 8, 12, 16)})
    assert [str(w.message) for w in said] == [
        "kernel spilled spills registers: 12 bytes stored, 16 loaded, with 255 registers; make its "
        "tiles in registers smaller",
        "kernel k: its wgmma instructions wait for each other (C7510)",
    ]


@pytest.mark.parametrize(
    ("arch", "threads", "registers", "shared", "expected"),
    [  # From the table of NVIDIA's occupancy calculator, by hand.
        ("sm_80", 256, 32, 0, "8 blocks, 64 of 64 warps (100 %), limited by warps"),
        ("sm_80", 256, 128, 0, "2 blocks, 16 of 64 warps (25 %), limited by registers"),
        ("sm_80", 128, 40, 49152, "3 blocks, 12 of 64 warps (19 %), limited by shared memory"),
        ("sm_86", 32, 16, 0, "16 blocks, 16 of 48 warps (33 %), limited by blocks"),
        ("sm_90", 1024, 64, 0, "1 blocks, 32 of 64 warps (50 %), limited by registers"),
    ],
)
def test_occupancy_follows_the_limits_of_the_architecture(
    arch: str, threads: int, registers: int, shared: int, expected: str
) -> None:
    assert str(occupancy(TABLE[arch], threads, registers, shared)) == expected


def test_what_a_kernel_takes_reads_as_a_table() -> None:
    module = emitted(ROW_SUMS)
    binary = compile_cuda(module.source, "sm_80")
    head, row = resources_text(binary, module.plan).splitlines()
    assert head.split()[:4] == ["kernel", "threads", "registers", "spilled"]
    assert row.split()[:2] == ["rows_S", "256"]
    assert row.endswith("limited by warps")


def test_machine_instructions_are_counted() -> None:
    mix = instruction_mix(disassemble(compile_cuda(emitted(gemm()).source, "sm_80").cubin))
    assert mix["gemm_C"]["FFMA"] == 16 * 64
    assert mix["gemm_C"]["BAR"] == 2
    with pytest.raises(CompileError, match="nvdisasm refused the machine code"):
        disassemble(b"no machine code")
