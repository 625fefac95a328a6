// PTX's scalar instructions where C++ has no operator of the same meaning.
#pragma once

#include "abi.h"

#define TCEMU_INLINE static inline __attribute__((always_inline))

namespace tcemu {

template <class T> struct Traits;
#define TCEMU_TRAITS(T, U, S, W, sgn) \
  template <> struct Traits<T> { \
    typedef U Unsigned; typedef S Signed; typedef W Wide; \
    static const bool is_signed = sgn; static const int bits = sizeof(T) * 8; }
TCEMU_TRAITS(uint8_t, uint8_t, int8_t, uint16_t, false);
TCEMU_TRAITS(int8_t, uint8_t, int8_t, int16_t, true);
TCEMU_TRAITS(uint16_t, uint16_t, int16_t, uint32_t, false);
TCEMU_TRAITS(int16_t, uint16_t, int16_t, int32_t, true);
TCEMU_TRAITS(uint32_t, uint32_t, int32_t, uint64_t, false);
TCEMU_TRAITS(int32_t, uint32_t, int32_t, int64_t, true);
TCEMU_TRAITS(uint64_t, uint64_t, int64_t, unsigned __int128, false);
TCEMU_TRAITS(int64_t, uint64_t, int64_t, __int128, true);
#undef TCEMU_TRAITS

template <class To, class From>
TCEMU_INLINE To bits_of(From value) {
  static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
  To result;
  __builtin_memcpy(&result, &value, sizeof(To));
  return result;
}

template <class T>
TCEMU_INLINE T load(uintptr_t address) {
  T value;
  __builtin_memcpy(&value, (const void*)address, sizeof(T));
  return value;
}

template <class T>
TCEMU_INLINE void store(uintptr_t address, T value) {
  __builtin_memcpy((void*)address, &value, sizeof(T));
}

// ---- Integers

template <class T> TCEMU_INLINE T min_int(T a, T b) { return a < b ? a : b; }
template <class T> TCEMU_INLINE T max_int(T a, T b) { return a > b ? a : b; }
template <class T> TCEMU_INLINE T abs_int(T a) { return a < 0 ? T(0 - a) : a; }

// x / 0 is unspecified in PTX, and never a trap.
template <class T>
TCEMU_INLINE T div_int(T a, T b) {
  if (b == 0) return T(-1);
  return Traits<T>::is_signed && b == T(-1) ? T(0 - a) : T(a / b);
}

template <class T>
TCEMU_INLINE T rem_int(T a, T b) {
  if (b == 0) return a;
  return Traits<T>::is_signed && b == T(-1) ? T(0) : T(a % b);
}

template <class T>
TCEMU_INLINE T mul_hi(T a, T b) {
  typedef typename Traits<T>::Wide W;
  return T(W(W(a) * W(b)) >> Traits<T>::bits);
}

template <class T>
TCEMU_INLINE T add_saturated(T a, T b) {
  typedef typename Traits<T>::Wide W;
  W sum = W(a) + W(b), low = -(W(1) << (Traits<T>::bits - 1)), high = -(low + 1);
  return T(sum < low ? low : sum > high ? high : sum);
}

template <class T>
TCEMU_INLINE T sub_saturated(T a, T b) {
  typedef typename Traits<T>::Wide W;
  W sum = W(a) - W(b), low = -(W(1) << (Traits<T>::bits - 1)), high = -(low + 1);
  return T(sum < low ? low : sum > high ? high : sum);
}

TCEMU_INLINE int32_t mad_hi_saturated(int32_t a, int32_t b, int32_t c) {
  return add_saturated<int32_t>(mul_hi<int32_t>(a, b), c);
}

template <class T>
TCEMU_INLINE T mul24_lo(T a, T b) {  // The low 24 bits of each, with their sign.
  int64_t x = Traits<T>::is_signed ? (int64_t)((int32_t)((uint32_t)a << 8) >> 8) : a & 0xffffff;
  int64_t y = Traits<T>::is_signed ? (int64_t)((int32_t)((uint32_t)b << 8) >> 8) : b & 0xffffff;
  return T(x * y);
}

template <class T>
TCEMU_INLINE T mul24_hi(T a, T b) {
  int64_t x = Traits<T>::is_signed ? (int64_t)((int32_t)((uint32_t)a << 8) >> 8) : a & 0xffffff;
  int64_t y = Traits<T>::is_signed ? (int64_t)((int32_t)((uint32_t)b << 8) >> 8) : b & 0xffffff;
  return T((x * y) >> 16);
}

template <class T>
TCEMU_INLINE T shl(T value, uint32_t count) {
  return count >= (uint32_t)Traits<T>::bits ? T(0) : T(value << count);
}

template <class T>
TCEMU_INLINE T shr(T value, uint32_t count) {
  if (count >= (uint32_t)Traits<T>::bits) return value < 0 ? T(-1) : T(0);
  return T(value >> count);
}

// The 64 bits high:low shifted; a count above 32 clamps or wraps.
TCEMU_INLINE uint32_t shf_l(uint32_t low, uint32_t high, uint32_t count, bool wrap) {
  count = wrap ? count & 31 : min_int(count, 32u);
  return count == 0 ? high : count == 32 ? low : high << count | low >> (32 - count);
}

TCEMU_INLINE uint32_t shf_r(uint32_t low, uint32_t high, uint32_t count, bool wrap) {
  count = wrap ? count & 31 : min_int(count, 32u);
  return count == 0 ? low : count == 32 ? high : low >> count | high << (32 - count);
}

template <class T>  // PTX uses the low 8 bits of start and length.
TCEMU_INLINE T bfe(T value, uint32_t start, uint32_t length) {
  typedef typename Traits<T>::Unsigned U;
  const uint32_t bits = Traits<T>::bits;
  start &= 255;
  length &= 255;
  if (length == 0) return 0;
  uint32_t end = min_int(start + length - 1, bits - 1);
  U sign = Traits<T>::is_signed ? U(value) >> end & 1 : 0;
  U field = shr<U>(U(value), start);
  if (length < bits) field &= (U(1) << length) - 1;
  uint32_t kept = start >= bits ? 0 : min_int(length, bits - start);
  if (sign) field |= kept >= bits ? U(0) : U(~U(0)) << kept;
  return T(field);
}

template <class U>
TCEMU_INLINE U bfi(U value, U into, uint32_t start, uint32_t length) {
  const uint32_t bits = Traits<U>::bits;
  start &= 255;
  length &= 255;
  U ones = length >= bits ? U(~U(0)) : U((U(1) << length) - 1);
  U mask = shl<U>(ones, start);
  return (into & ~mask) | (shl<U>(value, start) & mask);
}

TCEMU_INLINE uint32_t bmsk(uint32_t start, uint32_t width, bool wrap) {
  if (wrap) start &= 31, width &= 31;
  uint32_t ones = width >= 32 ? ~0u : (1u << width) - 1;
  return start >= 32 ? 0 : ones << start;
}

template <class T>
TCEMU_INLINE T szext(T value, uint32_t width, bool wrap) {
  if (wrap) width &= 31;
  if (width >= 32) return value;
  if (width == 0) return 0;
  uint32_t up = (uint32_t)value << (32 - width);
  return Traits<T>::is_signed ? T((int32_t)up >> (32 - width)) : T(up >> (32 - width));
}

template <class T>
TCEMU_INLINE uint32_t popc(T value) {
  return __builtin_popcountll(typename Traits<T>::Unsigned(value));
}

template <class T>
TCEMU_INLINE uint32_t clz(T value) {
  typename Traits<T>::Unsigned u = value;
  return u ? __builtin_clzll(u) - (64 - Traits<T>::bits) : Traits<T>::bits;
}

template <class T>
TCEMU_INLINE uint32_t bfind(T value, bool shift_amount) {
  typename Traits<T>::Unsigned u = value < 0 ? ~value : value;
  if (!u) return ~0u;
  return shift_amount ? clz(u) : Traits<T>::bits - 1 - clz(u);
}

template <class U>
TCEMU_INLINE U brev(U value) {
  U result = 0;
  for (int i = 0; i < Traits<U>::bits; i++) result = result << 1 | (value >> i & 1);
  return result;
}

TCEMU_INLINE uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t result = 0;
  for (int i = 0; i < 8; i++) {
    uint32_t term = (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    result |= table >> i & 1 ? term : 0;
  }
  return result;
}

TCEMU_INLINE uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector) {
  uint64_t bytes = (uint64_t)b << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; i++) {
    uint32_t nibble = selector >> (4 * i) & 15;
    uint32_t byte = bytes >> (8 * (nibble & 7)) & 255;
    if (nibble & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}

// Modes f4e, b4e, rc8, ecl, ecr, rc16, numbered as here.
TCEMU_INLINE uint32_t prmt_mode(uint32_t a, uint32_t b, uint32_t selector, int mode) {
  static const uint16_t table[6][4] = {{0x3210, 0x4321, 0x5432, 0x6543},
                                       {0x5670, 0x6701, 0x7012, 0x0123},
                                       {0x0000, 0x1111, 0x2222, 0x3333},
                                       {0x3210, 0x3211, 0x3222, 0x3333},
                                       {0x0000, 0x1110, 0x2210, 0x3210},
                                       {0x1010, 0x3232, 0x1010, 0x3232}};
  return prmt(a, b, table[mode][selector & 3]);
}

template <class A, class B>  // Four products of bytes, added to c.
TCEMU_INLINE uint32_t dp4a(uint32_t a, uint32_t b, uint32_t c) {
  for (int i = 0; i < 4; i++) c += (int32_t)(A)(a >> (8 * i)) * (int32_t)(B)(b >> (8 * i));
  return c;
}

template <class A, class B>
TCEMU_INLINE uint32_t dp2a(uint32_t a, uint32_t b, uint32_t c, bool high) {
  for (int i = 0; i < 2; i++)
    c += (int32_t)(A)(a >> (16 * i)) * (int32_t)(B)(b >> (8 * i + (high ? 16 : 0)));
  return c;
}

// Addition and subtraction through the carry flag of the thread.
template <class U>
TCEMU_INLINE U add_carry(U a, U b, uint32_t in, uint32_t* out) {
  unsigned __int128 sum = (unsigned __int128)a + b + in;
  *out = (uint32_t)(sum >> Traits<U>::bits) & 1;
  return U(sum);
}

template <class U>
TCEMU_INLINE U sub_borrow(U a, U b, uint32_t in, uint32_t* out) {
  unsigned __int128 difference = (unsigned __int128)a - b - in;
  *out = (uint32_t)(difference >> Traits<U>::bits) & 1;
  return U(difference);
}

// ---- Floats

TCEMU_INLINE float copysign_of(float sign, float value) {
  return __builtin_copysignf(value, sign);
}
TCEMU_INLINE double copysign_of(double sign, double value) {
  return __builtin_copysign(value, sign);
}

TCEMU_INLINE float fma_of(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
TCEMU_INLINE double fma_of(double a, double b, double c) { return __builtin_fma(a, b, c); }
TCEMU_INLINE float sqrt_of(float a) { return __builtin_sqrtf(a); }
TCEMU_INLINE double sqrt_of(double a) { return __builtin_sqrt(a); }
TCEMU_INLINE float abs_of(float a) { return __builtin_fabsf(a); }
TCEMU_INLINE double abs_of(double a) { return __builtin_fabs(a); }

template <class F>
TCEMU_INLINE bool is_nan(F a) { return a != a; }

TCEMU_INLINE float quiet_nan(float) { return bits_of<float>(0x7fffffffu); }
TCEMU_INLINE double quiet_nan(double) { return bits_of<double>((uint64_t)0x7fffffffffffffffull); }

// The other operand where one is NaN; -0 is below +0.
template <class F>
TCEMU_INLINE F min_float(F a, F b) {
  if (is_nan(a)) return is_nan(b) ? quiet_nan(a) : b;
  if (is_nan(b)) return a;
  if (a == b) return __builtin_signbit(a) ? a : b;
  return a < b ? a : b;
}

template <class F>
TCEMU_INLINE F max_float(F a, F b) {
  if (is_nan(a)) return is_nan(b) ? quiet_nan(a) : b;
  if (is_nan(b)) return a;
  if (a == b) return __builtin_signbit(a) ? b : a;
  return a > b ? a : b;
}

template <class F>  // min.NaN: NaN where one operand is.
TCEMU_INLINE F min_nan(F a, F b) { return is_nan(a) || is_nan(b) ? quiet_nan(a) : min_float(a, b); }
template <class F>
TCEMU_INLINE F max_nan(F a, F b) { return is_nan(a) || is_nan(b) ? quiet_nan(a) : max_float(a, b); }

TCEMU_INLINE float xor_sign(float a, float b, float magnitude) {
  bool differ = __builtin_signbit(a) != __builtin_signbit(b);
  return __builtin_copysignf(magnitude, differ ? -1.0f : 1.0f);
}

TCEMU_INLINE float low_float(uint64_t pair) { return bits_of<float>((uint32_t)pair); }
TCEMU_INLINE float high_float(uint64_t pair) { return bits_of<float>((uint32_t)(pair >> 32)); }
TCEMU_INLINE uint64_t two_floats(float low, float high) {
  return (uint64_t)bits_of<uint32_t>(high) << 32 | bits_of<uint32_t>(low);
}

TCEMU_INLINE float flush(float a) {  // .ftz: subnormal numbers become zeros of their sign.
  return __builtin_fabsf(a) < 1.17549435e-38f ? __builtin_copysignf(0.0f, a) : a;
}

template <class F>
TCEMU_INLINE F saturate(F a) { return a > 0 ? (a < 1 ? a : F(1)) : F(0); }  // NaN gives 0.

TCEMU_INLINE float nearest_int(float a) { return __builtin_rintf(a); }
TCEMU_INLINE double nearest_int(double a) { return __builtin_rint(a); }
TCEMU_INLINE float trunc_of(float a) { return __builtin_truncf(a); }
TCEMU_INLINE double trunc_of(double a) { return __builtin_trunc(a); }
TCEMU_INLINE float floor_of(float a) { return __builtin_floorf(a); }
TCEMU_INLINE double floor_of(double a) { return __builtin_floor(a); }
TCEMU_INLINE float ceil_of(float a) { return __builtin_ceilf(a); }
TCEMU_INLINE double ceil_of(double a) { return __builtin_ceil(a); }

// PTX saturates, and NaN gives 0 (of 64-bit targets and NaN: the sign bit alone on hardware,
// which the manual leaves open).
template <class Int, class Float>
TCEMU_INLINE Int float_to_int(Float value) {
  const int bits = Traits<Int>::bits;
  const bool is_signed = Traits<Int>::is_signed;
  const Float high = Float(2) * Float(uint64_t(1) << (bits - 1 - (is_signed ? 1 : 0)));
  const Int largest = is_signed ? Int(~(uint64_t(1) << (bits - 1))) : Int(~uint64_t(0));
  const Int smallest = is_signed ? Int(uint64_t(1) << (bits - 1)) : Int(0);
  if (is_nan(value)) return 0;
  if (value >= high) return largest;
  if (value <= (is_signed ? -high : Float(0))) return smallest;
  return Int(value);
}

template <class To, class From>  // cvt.sat between integers
TCEMU_INLINE To saturate_int(From value) {
  __int128 wide = value;
  const __int128 one = 1;
  const int bits = Traits<To>::bits;
  const __int128 low = Traits<To>::is_signed ? -(one << (bits - 1)) : 0;
  const __int128 high = Traits<To>::is_signed ? (one << (bits - 1)) - 1 : (one << bits) - 1;
  return To(wide < low ? low : wide > high ? high : wide);
}

// Hardware's sin, cos, tanh, ex2, lg2, rcp, sqrt and rsqrt approximate; these are libm's.
TCEMU_INLINE float rcp_of(float a) { return 1.0f / a; }
TCEMU_INLINE double rcp_of(double a) { return 1.0 / a; }
TCEMU_INLINE float rsqrt_of(float a) { return (float)(1.0 / __builtin_sqrt((double)a)); }
TCEMU_INLINE double rsqrt_of(double a) { return 1.0 / __builtin_sqrt(a); }
TCEMU_INLINE float ex2_of(float a) { return __builtin_exp2f(a); }
TCEMU_INLINE float lg2_of(float a) { return __builtin_log2f(a); }
TCEMU_INLINE float sin_of(float a) { return __builtin_sinf(a); }
TCEMU_INLINE float cos_of(float a) { return __builtin_cosf(a); }
TCEMU_INLINE float tanh_of(float a) { return __builtin_tanhf(a); }

}  // namespace tcemu
