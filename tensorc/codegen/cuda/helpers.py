"""The small device functions that kernels use, each emitted only where it is used.

No header is included: NVRTC's packages bring none. Conversions of float16 and bfloat16 are PTX.
"""

from __future__ import annotations

import re

from tensorc.codegen.cuda import wgmma
from tensorc.codegen.cuda.hopper import HOPPER

_F = "__device__ __forceinline__"

# In the order in which they are emitted: later ones may use earlier ones.


def _product(depth: int, kind: str) -> tuple[str, str]:
    """A product of 16x8 results on tensor cores, and its name."""
    name = f"mma_m16n8k{depth}_{kind}"
    head = f"{_F} void {name}("
    return (
        name,
        f"""// c += a * b on tensor cores, 16x{depth} and {depth}x8 elements of {kind}.
{head}float& c0, float& c1, float& c2, float& c3,
{" " * len(head)}const unsigned (&a)[4], const unsigned (&b)[2]) {{
  asm volatile("mma.sync.aligned.m16n8k{depth}.row.col.f32.{kind}.{kind}.f32 "
               "{{%0, %1, %2, %3}}, {{%4, %5, %6, %7}}, {{%8, %9}}, {{%0, %1, %2, %3}};"
               : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}}""",
    )


def _copies(size: int) -> list[tuple[str, str]]:
    """Asynchronous copies of so many bytes, without and with a condition, and their names."""
    cache = "cg" if size == 16 else "ca"  # `cg` leaves out the nearest cache, and is for 16.
    addresses = '"r"((unsigned)__cvta_generic_to_shared(to)), "l"(__cvta_generic_to_global(from))'
    name = f"cp_async{size}"
    plain = f"""// Issue a copy of {size} bytes from global to shared memory.
{_F} void {name}(void* to, const void* from) {{
  asm volatile("cp.async.{cache}.shared.global [%0], [%1], {size};"
               :
               : {addresses}
               : "memory");
}}"""
    zeros = f"""// The same where `inside`; elsewhere write zeros, and read nothing.
{_F} void {name}_or_zeros(void* to, const void* from, bool inside) {{
  asm volatile("cp.async.{cache}.shared.global [%0], [%1], {size}, %2;"
               :
               : {addresses},
                 "r"(inside ? {size} : 0)
               : "memory");
}}"""
    return [(name, plain), (f"{name}_or_zeros", zeros)]


HELPERS: dict[str, str] = {
    "minimum": f"""// The lesser value; NaN where either is.
template <typename T> {_F} T minimum(T a, T b) {{
  return a < b || a != a ? a : b;
}}""",
    "maximum": f"""// The greater value; NaN where either is.
template <typename T> {_F} T maximum(T a, T b) {{
  return a > b || a != a ? a : b;
}}""",
    "floor_div": f"""// a / b rounded toward minus infinity; 0 where b is 0.
template <typename T> {_F} T floor_div(T a, T b) {{
  if (b == 0) return 0;
  if (T(-1) < T(0) && b == T(-1)) return T(-(unsigned long long)a);
  const T q = a / b, r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? q - 1 : q;
}}""",
    "floor_mod": f"""// a - b * floor(a / b), which has the sign of b; 0 where b is 0.
template <typename T> {_F} T floor_mod(T a, T b) {{
  if (b == 0 || (T(-1) < T(0) && b == T(-1))) return 0;
  const T r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}}""",
    "shift_left": f"""// a << b; 0 where b is no bit's number.
template <typename T> {_F} T shift_left(T a, T b) {{
  return b < 0 || b >= T(8 * sizeof(T)) ? T(0) : T((unsigned long long)a << b);
}}""",
    "shift_right": f"""// a >> b; all bits are shifted out where b is no bit's number.
template <typename T> {_F} T shift_right(T a, T b) {{
  return b < 0 || b >= T(8 * sizeof(T)) ? T(a < 0 ? -1 : 0) : T(a >> b);
}}""",
    "wrapping_add": f"""// a + b modulo 2^32 or 2^64: what C leaves undefined for signed integers.
{_F} int wrapping_add(int a, int b) {{ return (int)((unsigned)a + (unsigned)b); }}
{_F} long long wrapping_add(long long a, long long b) {{
  return (long long)((unsigned long long)a + (unsigned long long)b);
}}""",
    "wrapping_sub": f"""// a - b modulo 2^32 or 2^64.
{_F} int wrapping_sub(int a, int b) {{ return (int)((unsigned)a - (unsigned)b); }}
{_F} long long wrapping_sub(long long a, long long b) {{
  return (long long)((unsigned long long)a - (unsigned long long)b);
}}""",
    "wrapping_mul": f"""// a * b modulo 2^32 or 2^64.
{_F} int wrapping_mul(int a, int b) {{ return (int)((unsigned)a * (unsigned)b); }}
{_F} long long wrapping_mul(long long a, long long b) {{
  return (long long)((unsigned long long)a * (unsigned long long)b);
}}""",
    "half_to_float": f"""// The float16 of these bits.
{_F} float half_to_float(unsigned short h) {{
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}}""",
    "float_to_half": f"""// The bits of the nearest float16.
{_F} unsigned short float_to_half(float f) {{
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}}""",
    "double_to_half": f"""// The bits of the nearest float16, rounded once.
{_F} unsigned short double_to_half(double f) {{
  unsigned short h;
  asm("cvt.rn.f16.f64 %0, %1;" : "=h"(h) : "d"(f));
  return h;
}}""",
    "bfloat_to_float": f"""// The bfloat16 of these bits.
{_F} float bfloat_to_float(unsigned short b) {{
  return __uint_as_float((unsigned)b << 16);
}}""",
    "float_to_bfloat": f"""// The bits of the nearest bfloat16, ties to even; NaN stays NaN.
{_F} unsigned short float_to_bfloat(float f) {{
  const unsigned bits = __float_as_uint(f);
  const unsigned rounded = (bits + (bits >> 16 & 1u) + 0x7fffu) >> 16;
  return (unsigned short)(f != f ? bits >> 16 | 0x40u : rounded);
}}""",
    "round_half": f"""// The nearest float16, as a float.
{_F} float round_half(float f) {{ return half_to_float(float_to_half(f)); }}""",
    "round_bfloat": f"""// The nearest bfloat16, as a float.
{_F} float round_bfloat(float f) {{ return bfloat_to_float(float_to_bfloat(f)); }}""",
    "round_tf32": f"""// 10 bits of fraction: to nearest, ties away from zero.
{_F} float round_tf32(float f) {{
  const unsigned bits = __float_as_uint(f);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return finite ? __uint_as_float((bits + 0x1000u) & 0xffffe000u) : f;
}}""",
    "sign": f"""// -1, 0 or 1; zeros and NaN are themselves.
template <typename T> {_F} T sign(T a) {{ return a > T(0) ? T(1) : a < T(0) ? T(-1) : a; }}""",
    "magnitude": f"""// The absolute value; the least integer wraps to itself.
template <typename T> {_F} T magnitude(T a) {{
  return a < 0 ? T(-(unsigned long long)a) : a;
}}""",
    "copy16": f"""// 16 bytes at once; both addresses are multiples of 16.
template <typename T> {_F} void copy16(T* to, const T* from) {{
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
}}""",
    "copy8": f"""// 8 bytes at once; both addresses are multiples of 8.
template <typename T> {_F} void copy8(T* to, const T* from) {{
  *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(from);
}}""",
    "copy4": f"""// 4 bytes at once; both addresses are multiples of 4.
template <typename T> {_F} void copy4(T* to, const T* from) {{
  *reinterpret_cast<unsigned*>(to) = *reinterpret_cast<const unsigned*>(from);
}}""",
    "copy2": f"""// 2 bytes at once; both addresses are multiples of 2.
template <typename T> {_F} void copy2(T* to, const T* from) {{
  *reinterpret_cast<unsigned short*>(to) = *reinterpret_cast<const unsigned short*>(from);
}}""",
    "ldmatrix_x4": f"""// 4 matrices of 8x8 elements of 16 bits for a warp.
{_F} void ldmatrix_x4(unsigned (&to)[4], const void* row) {{
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%0, %1, %2, %3}}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}}""",
    "ldmatrix_x4_trans": f"""// 4 matrices of 8x8 elements of 16 bits for a warp, transposed.
{_F} void ldmatrix_x4_trans(unsigned (&to)[4], const void* row) {{
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {{%0, %1, %2, %3}}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}}""",
    "ldmatrix_x2": f"""// 2 matrices of 8x8 elements of 16 bits for a warp.
{_F} void ldmatrix_x2(unsigned (&to)[2], const void* row) {{
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {{%0, %1}}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}}""",
    "ldmatrix_x2_trans": f"""// 2 matrices of 8x8 elements of 16 bits for a warp, transposed.
{_F} void ldmatrix_x2_trans(unsigned (&to)[2], const void* row) {{
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {{%0, %1}}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}}""",
    **dict(_product(*form) for form in ((16, "bf16"), (16, "f16"), (8, "tf32"))),
    "tf32_bits": f"""// What tensor cores take as tf32: to nearest, ties away from zero.
{_F} unsigned tf32_bits(float f) {{
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(f));
  return bits;
}}""",
    "tf32_fragment": f"""// Round the float32 values of a fragment to tf32.
template <int n> {_F} void tf32_fragment(unsigned (&values)[n]) {{
#pragma unroll
  for (int i = 0; i < n; ++i) values[i] = tf32_bits(__uint_as_float(values[i]));
}}""",
    **{name: text for size in (16, 8, 4) for name, text in _copies(size)},
    "cp_async_commit": f"""// End a group of issued copies.
{_F} void cp_async_commit() {{ asm volatile("cp.async.commit_group;" ::: "memory"); }}""",
    "cp_async_wait": f"""// Wait until at most `left` groups are still on their way.
template <int left> {_F} void cp_async_wait() {{
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}}""",
    "has_failed": f"""// Whether a check has failed; others may be failing now.
{_F} bool has_failed(const int* status) {{
  int first;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];"
               : "=r"(first)
               : "l"(__cvta_generic_to_global(status))
               : "memory");
  return first != 0;
}}""",
    "fail": f"""// Report that check `number` failed; true if it is the first that did.
{_F} bool fail(int* status, int number) {{
  return atomicCAS(status, 0, number + 1) == 0;
}}""",
    **HOPPER,
}

_CALL = re.compile(r"\b([a-z][a-z0-9_]*)(?:<[a-z0-9, ]+>)?\(|\b(TensorMap)\b")


def helper_texts(source: str) -> list[str]:
    """The texts of the helpers that `source` calls, and of those that they call."""
    used: dict[str, str] = {}
    code = [line for line in source.splitlines() if not line.lstrip().startswith("//")]
    texts = ["\n".join(code)]
    while texts:
        names = {call or kind for call, kind in _CALL.findall(texts.pop())}
        new = {name: text for name in names - used.keys() if (text := _text(name)) is not None}
        used |= new
        texts += new.values()
    others = sorted(used.keys() - HELPERS.keys())
    return [used[name] for name in (*HELPERS, *others) if name in used]


def _text(name: str) -> str | None:
    """The text of a helper, if `name` is one."""
    return HELPERS.get(name) or wgmma.helper(name)
