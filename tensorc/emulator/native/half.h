// float16 and bfloat16: conversions with PTX's rounding modes, arithmetic rounded once.
//
// A sum, difference or product of two such numbers is exact in float64 but for sums of very unlike
// ones, which round to odd there; so rounding that result again rounds the exact one.
#pragma once

#include "scalar.h"

namespace tcemu {

TCEMU_INLINE float bf16_to_f32(uint16_t value) { return bits_of<float>((uint32_t)value << 16); }

TCEMU_INLINE float f16_to_f32(uint16_t value) {
#ifdef __FLT16_MAX__
  return (float)bits_of<_Float16>(value);
#else
  uint32_t sign = (uint32_t)(value & 0x8000) << 16, magnitude = value & 0x7fff;
  if (magnitude >= 0x7c00) return bits_of<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  if (magnitude >= 0x400) return bits_of<float>(sign | ((magnitude << 13) + 0x38000000));
  float tiny = (float)magnitude * 5.9604644775390625e-8f;  // 2^-24
  return sign ? -tiny : tiny;
#endif
}

// Rounds a finite float64 to a format of `digits` significant bits whose smallest normal exponent
// is `emin`, overflowing at `limit` (the first power of two that is too large).
static inline double round_to_format(double value, int digits, int emin, double limit,
                                     double largest, Rounding mode) {
  uint64_t bits = bits_of<uint64_t>(value);
  int exponent = (int)(bits >> 52 & 2047) - 1023;
  if (exponent < emin) exponent = emin;
  double unit = __builtin_ldexp(1.0, exponent - (digits - 1));
  double scaled = value / unit, whole = 0;
  switch (mode) {
    case kNearest: whole = __builtin_rint(scaled); break;
    case kTowardZero: whole = __builtin_trunc(scaled); break;
    case kDown: whole = __builtin_floor(scaled); break;
    case kUp: whole = __builtin_ceil(scaled); break;
  }
  double result = __builtin_copysign(whole * unit, value);
  if (__builtin_fabs(result) >= limit) {
    bool stays = mode == kTowardZero || (mode == kDown && value > 0) || (mode == kUp && value < 0);
    return __builtin_copysign(stays ? largest : __builtin_inf(), value);
  }
  return result;
}

static inline double f64_to_f32(double value, Rounding mode) {
  if (is_nan(value) || __builtin_fabs(value) == __builtin_inf()) return value;
  return round_to_format(value, 24, -126, 0x1p128, 0x1.fffffep127, mode);
}

// An integer rounded to `digits` significant bits.
template <class T>
static inline double integer_to_float(T value, int digits, Rounding mode) {
  bool negative = value < 0;
  uint64_t magnitude = negative ? 0 - (uint64_t)value : (uint64_t)value;
  int length = magnitude ? 64 - __builtin_clzll(magnitude) : 0, dropped = length - digits;
  if (dropped > 0) {
    uint64_t kept = magnitude >> dropped, rest = magnitude & ((uint64_t(1) << dropped) - 1);
    uint64_t half = uint64_t(1) << (dropped - 1);
    bool up = mode == kNearest ? rest > half || (rest == half && kept & 1)
              : mode == kDown  ? negative && rest
              : mode == kUp    ? !negative && rest
                               : false;
    double rounded = __builtin_ldexp((double)(kept + up), dropped);
    return negative ? -rounded : rounded;
  }
  return negative ? -(double)magnitude : (double)magnitude;
}

static inline uint16_t f64_to_f16(double value, Rounding mode) {
  uint16_t sign = __builtin_signbit(value) ? 0x8000 : 0;
  if (is_nan(value)) return 0x7fff;
  double rounded = __builtin_fabs(value) == __builtin_inf()
                       ? value
                       : round_to_format(value, 11, -14, 65536.0, 65504.0, mode);
  double magnitude = __builtin_fabs(rounded);
  if (magnitude == __builtin_inf()) return sign | 0x7c00;
  if (magnitude < 6.103515625e-5) return sign | (uint16_t)(magnitude * 16777216.0);
  uint64_t bits = bits_of<uint64_t>(magnitude);
  return sign | (uint16_t)(((bits >> 52) - 1023 + 15) << 10 | (bits >> 42 & 0x3ff));
}

static inline uint16_t f64_to_bf16(double value, Rounding mode) {
  if (is_nan(value)) return 0x7fff;
  double rounded = __builtin_fabs(value) == __builtin_inf()
                       ? value
                       : round_to_format(value, 8, -126, 0x1p128, 0x1.fep127, mode);
  return (uint16_t)(bits_of<uint32_t>((float)rounded) >> 16);
}

TCEMU_INLINE uint16_t f32_to_f16(float value) {
#ifdef __FLT16_MAX__
  if (is_nan(value)) return 0x7fff;
  return bits_of<uint16_t>((_Float16)value);
#else
  return f64_to_f16(value, kNearest);
#endif
}

TCEMU_INLINE uint16_t f32_to_bf16(float value) {
  uint32_t bits = bits_of<uint32_t>(value);
  if (is_nan(value)) return 0x7fff;
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

TCEMU_INLINE uint32_t f32_to_tf32(float value, bool nearest_even) {
  uint32_t bits = bits_of<uint32_t>(value);
  if (is_nan(value)) return 0x7fffffff;
  if ((bits & 0x7f800000) == 0x7f800000) return bits;
  uint32_t half = nearest_even ? 0xfff + (bits >> 13 & 1) : 0x1000;  // rna: ties away from zero
  return (bits + half) & 0xffffe000u;
}

struct Half {
  static float widen(uint16_t v) { return f16_to_f32(v); }
  static uint16_t narrow(double v) { return f64_to_f16(v, kNearest); }
  static uint16_t narrow32(float v) { return f32_to_f16(v); }
};

struct Bfloat {
  static float widen(uint16_t v) { return bf16_to_f32(v); }
  static uint16_t narrow(double v) { return f64_to_bf16(v, kNearest); }
  static uint16_t narrow32(float v) { return f32_to_bf16(v); }
};

// a + b in float64, rounded to odd: keeps a later rounding to a narrow format right.
TCEMU_INLINE double add_to_odd(double a, double b) {
  double sum = a + b;
  if (is_nan(sum) || __builtin_fabs(sum) == __builtin_inf()) return sum;
  double part = sum - a;
  double lost = (a - (sum - part)) + (b - part);
  uint64_t bits = bits_of<uint64_t>(sum);
  if (lost == 0 || bits & 1) return sum;
  bool away = (lost > 0) == (sum > 0);
  return bits_of<double>(away ? bits + 1 : bits - 1);
}

template <class H> TCEMU_INLINE uint16_t add_half(uint16_t a, uint16_t b) {
  return H::narrow(add_to_odd(H::widen(a), H::widen(b)));
}
template <class H> TCEMU_INLINE uint16_t sub_half(uint16_t a, uint16_t b) {
  return H::narrow(add_to_odd(H::widen(a), -(double)H::widen(b)));
}
template <class H> TCEMU_INLINE uint16_t mul_half(uint16_t a, uint16_t b) {
  return H::narrow((double)H::widen(a) * (double)H::widen(b));
}
template <class H> TCEMU_INLINE uint16_t fma_half(uint16_t a, uint16_t b, uint16_t c) {
  return H::narrow(add_to_odd((double)H::widen(a) * (double)H::widen(b), H::widen(c)));
}
template <class H> TCEMU_INLINE uint16_t neg_half(uint16_t a) { return a ^ 0x8000; }
template <class H> TCEMU_INLINE uint16_t abs_half(uint16_t a) { return a & 0x7fff; }
template <class H> TCEMU_INLINE uint16_t min_half(uint16_t a, uint16_t b) {
  return H::narrow32(min_float(H::widen(a), H::widen(b)));
}
template <class H> TCEMU_INLINE uint16_t max_half(uint16_t a, uint16_t b) {
  return H::narrow32(max_float(H::widen(a), H::widen(b)));
}
template <class H> TCEMU_INLINE uint16_t min_nan_half(uint16_t a, uint16_t b) {
  return H::narrow32(min_nan(H::widen(a), H::widen(b)));
}
template <class H> TCEMU_INLINE uint16_t max_nan_half(uint16_t a, uint16_t b) {
  return H::narrow32(max_nan(H::widen(a), H::widen(b)));
}
template <class H> TCEMU_INLINE uint16_t saturate_half(uint16_t a) {
  return H::narrow32(saturate(H::widen(a)));
}
template <class H> TCEMU_INLINE uint16_t relu_half(uint16_t a) {  // NaN becomes the canonical NaN.
  float wide = H::widen(a);
  return is_nan(wide) ? 0x7fff : wide > 0 ? a : 0;
}
template <class H> TCEMU_INLINE uint16_t flush_half(uint16_t a) {
  return (a & 0x7c00) == 0 ? a & 0x8000 : a;
}
template <class H> TCEMU_INLINE uint16_t ex2_half(uint16_t a) {
  return H::narrow(__builtin_exp2((double)H::widen(a)));
}
template <class H> TCEMU_INLINE uint16_t tanh_half(uint16_t a) {
  return H::narrow(__builtin_tanh((double)H::widen(a)));
}

TCEMU_INLINE uint16_t low_half(uint32_t pair) { return (uint16_t)pair; }
TCEMU_INLINE uint16_t high_half(uint32_t pair) { return (uint16_t)(pair >> 16); }
TCEMU_INLINE uint32_t pair_of(uint16_t low, uint16_t high) { return (uint32_t)high << 16 | low; }

}  // namespace tcemu
