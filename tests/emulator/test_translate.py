"""PTX to C++: the text, what is refused, and how PTX's names and variables are read."""

from __future__ import annotations

import pytest

from emulator.harness import built
from tensorc.emulator import EmulatedModule, UnsupportedPtxError
from tensorc.emulator.ptx import parse_ptx
from tensorc.emulator.translate import translate
from tensorc.errors import ArgumentError

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"

SCALE = (
    HEAD
    + """
.visible .entry scale(
	.param .u64 .ptr .align 1 scale_param_0,
	.param .u32 scale_param_1
)
.maxntid 256, 1, 1
{
	.reg .pred 	%p<2>;
	.reg .b32 	%r<4>;
	.reg .f32 	%f<3>;
	.reg .b64 	%rd<4>;
	.loc	1 3 1
	ld.param.u64 	%rd1, [scale_param_0];
	ld.param.u32 	%r2, [scale_param_1];
	mov.u32 	%r1, %tid.x;
	setp.ge.u32 	%p1, %r1, %r2;
	@%p1 bra 	$L__BB0_2;
	.loc	1 5 3
	mul.wide.u32 	%rd2, %r1, 4;
	add.s64 	%rd3, %rd1, %rd2;
	ld.global.f32 	%f1, [%rd3+4]; // a comment
	fma.rn.f32 	%f2, %f1, 0f40000000, 0f3F800000;
	st.global.f32 	[%rd3], %f2;
$L__BB0_2:
	ret;
}
"""
)

EXPECTED = """\
#include "kernel.h"

using namespace tcemu;

TCEMU_KERNEL tcemu_kernel_0(Thread* self) {
  uint32_t carry = 0; (void)carry;
  bool r_p0 = 0, r_p1 = 0;
  uint32_t r_r0 = 0, r_r1 = 0, r_r2 = 0, r_r3 = 0;
  float r_f0 = 0.0f, r_f1 = 0.0f, r_f2 = 0.0f;
  uint64_t r_rd0 = 0, r_rd1 = 0, r_rd2 = 0, r_rd3 = 0;
  { uintptr_t a_ = ((uintptr_t)((uintptr_t)self->params[0])); \
uint64_t v0_ = load<uint64_t>(a_ + 0); r_rd1 = v0_; }
  { uintptr_t a_ = ((uintptr_t)((uintptr_t)self->params[1])); \
uint32_t v0_ = load<uint32_t>(a_ + 0); r_r2 = v0_; }
  { r_r1 = (uint32_t)self->tid[0]; }
  { r_p1 = (r_r1 >= r_r2); }
  if (r_p1) { goto b__S_L__BB0_2; }
  { r_rd2 = (uint64_t)r_r1 * (uint64_t)(uint32_t)4ull; }
  { r_rd3 = (uint64_t)(int64_t)((int64_t)r_rd1 + (int64_t)r_rd2); }
  { uintptr_t a_ = ((uintptr_t)(r_rd3 + (4))); TCEMU_CHECK(a_, 4, kRead, 7); \
float v0_ = load<float>(a_ + 0); r_f1 = v0_; }
  { r_f2 = fma_of(r_f1, bits_of<float>((uint32_t)0x40000000u), \
bits_of<float>((uint32_t)0x3F800000u)); }
  { uintptr_t a_ = ((uintptr_t)(r_rd3)); TCEMU_CHECK(a_, 4, kWrite, 9); \
store<float>(a_ + 0, r_f2); }
  b__S_L__BB0_2:;
  { return; }
}
"""


def test_each_instruction_becomes_one_statement() -> None:
    translation = translate(SCALE)
    assert translation.text == EXPECTED
    kernel = translation.kernels["scale"]
    assert (kernel.param_bytes, kernel.max_threads) == ((8, 4), 256)
    assert [site.source_line for site in translation.sites][-3:] == [5, 5, 5]
    assert translation.sites[7].text == "ld.global.f32 %f1, [%rd3+4]"
    assert translation.sites[7].ptx_line == 24


def kernel(body: str) -> str:
    registers = ".reg .pred %p<4>; .reg .b32 %r<8>; .reg .f32 %f<8>; .reg .b64 %rd<8>;"
    return f"{HEAD}.visible .entry k(.param .u64 a)\n{{\n{registers}\n{body}\n}}\n"


REFUSED = {
    "wmma.load.a.sync %r1;": "no instruction wmma",
    "add.rn.sat.brand_new.f32 %f1, %f2, %f3;": "add with .brand_new",
    "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r2}, {%f1};": (
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32"
    ),
    "ld.global.f8 %r1, [%rd1];": "type .f8",
    "mov.u32 %r1, %unheard;": "operand %unheard",
    "add.s32 %r1, %r2;": "this form of add",
    "@%q bra DONE;": "predicate %q",
    "call.uni helper, (a);": "call of helper; make it __forceinline__",
    ".banner x;": "directive .banner",
    "shfl.up.b32 %r1, %r2, 1, 0;": "shfl without .sync",
    "cvt.rn.satfinite.e4m3x2.f32 %r1, %f1, %f2;": "cvt.satfinite.e4m3x2.f32",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_translated_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(UnsupportedPtxError) as caught:
        translate(kernel(text))
    assert str(caught.value) == (
        f"PTX line 7: {text[:-1]}\n  the emulator does not translate this: {REFUSED[text]}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is not PTX: there is no .target"),
        ("int main() {}", "PTX line 1: this is not a declaration of PTX: int main() {}"),
        (HEAD + ".entry k() {", "the PTX ends inside of a { } block"),
        (HEAD + ".global .texref t;", "declaration .global .texref t"),
        (HEAD + ".global .u32 x = y;", "initial value y"),
    ],
)
def test_a_text_that_is_not_ptx_is_refused(text: str, message: str) -> None:
    with pytest.raises(UnsupportedPtxError) as caught:
        translate(text)
    assert str(caught.value) == message


def test_names_of_inline_assembly_are_unique_in_each_scope() -> None:
    scope = "{ .reg .b32 t<2>; again: add.s32 t0, t0, 1; @%p1 bra again; mov.b32 %r1, t0; }"
    module = parse_ptx(kernel(f"{scope}\n{scope}\nret;"))
    texts = [statement.text for statement in module.kernels[0].statements][4:]
    assert texts == [
        ".reg .b32 t0__s1, t1__s1",
        "again__s1:",
        "add.s32 t0__s1, t0__s1, 1",
        "@%p1 bra again__s1",
        "mov.b32 %r1, t0__s1",
        ".reg .b32 t0__s2, t1__s2",
        "again__s2:",
        "add.s32 t0__s2, t0__s2, 1",
        "@%p1 bra again__s2",
        "mov.b32 %r1, t0__s2",
        "ret",
    ]


def test_variables_have_the_bytes_of_their_initial_values() -> None:
    module = parse_ptx(
        HEAD
        + ".visible .global .align 4 .u32 a[2] = {1, 0x10};\n"
        + ".const .align 8 .f64 b = 0d3FF0000000000000;\n"
        + ".global .align 1 .b8 $str[3] = {104, 105};\n"
        + ".extern .shared .align 16 .b8 tile[];\n"
        + ".shared .align 4 .f32 box[4][2];\n"
    )
    variables = {v.name: (v.space, v.align, v.size, v.initial) for v in module.variables.values()}
    assert variables == {
        "a": ("global", 4, 8, b"\1\0\0\0\x10\0\0\0"),
        "b": ("const", 8, 8, b"\0\0\0\0\0\0\xf0\x3f"),
        "$str": ("global", 1, 3, b"hi\0"),
        "tile": ("shared", 16, None, b""),
        "box": ("shared", 4, 32, b""),
    }


SHARED = """
extern "C" __global__ void k(float* out) {
  __shared__ __align__(16) float a[5];
  __shared__ __align__(16) float b[6];
  extern __shared__ __align__(1024) float c[];
  a[threadIdx.x % 5] = b[threadIdx.x % 6] = c[threadIdx.x] = out[0];
  __syncthreads();
  out[threadIdx.x] = a[0] + b[1] + c[2];
}
"""


def test_checked_modules_leave_gaps_between_arrays_in_the_same_banks() -> None:
    fast, checked = (built(SHARED, checked=c).kernels["k"] for c in (False, True))
    assert fast.static_bytes == checked.static_bytes == 32 + 24
    assert [array.name for array in checked.shared] == [array.name for array in fast.shared]
    for plain, spaced in zip(fast.shared, checked.shared, strict=True):
        assert plain.offset % 128 == spaced.offset % 128
    ends = [array.offset + array.bytes for array in checked.shared]
    starts = [array.offset for array in checked.shared[1:]] + [checked.dynamic_offset]
    assert all(start - end >= 128 for start, end in zip(starts, ends, strict=True))
    assert checked.dynamic_offset % 1024 == fast.dynamic_offset % 1024 == 0


def test_a_launch_refuses_what_does_not_fit_the_kernel() -> None:
    module = EmulatedModule(SCALE)
    for params, block, message in (
        ([b"12345678"], 32, r"scale takes parameters of \(8, 4\) bytes, got \(8,\)"),
        ([b"12345678", b"1234"], 2000, r"a block has 1 to 1024 threads, got \(2000, 1, 1\)"),
    ):
        with pytest.raises(ArgumentError, match=message):
            module.launch("scale", (1, 1, 1), (block, 1, 1), params)
