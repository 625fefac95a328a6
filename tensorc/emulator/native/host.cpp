// What kernels ask of the host: rounding modes, printf, assert, the clock.
#include <cfenv>
#include <cmath>
#include <ctime>

#include "launch.h"

namespace tcemu {

std::string printed;

static int fenv_mode(int mode) {
  static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  return modes[mode];
}

// The volatile operands keep the compiler from computing under the usual mode.
template <class F>
static F rounded(int op, int mode, F a, F b, F c) {
  volatile F x = a, y = b, z = c, result = 0;
  int before = fegetround();
  fesetround(fenv_mode(mode));
  switch (op) {
    case kAdd: result = x + y; break;
    case kSub: result = x - y; break;
    case kMul: result = x * y; break;
    case kFma: result = std::fma((F)x, (F)y, (F)z); break;
    case kDiv: result = x / y; break;
    case kSqrt: result = std::sqrt((F)x); break;
  }
  fesetround(before);
  return result;
}

static uint64_t clock_now(Thread*) {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + time.tv_nsec;
}

static void append(const char* format, ...) {
  constexpr size_t kMost = 1 << 20;  // the size of a GPU's own buffer
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (printed.size() < kMost) printed += text;
}

// Arguments lie one behind the other, each aligned to its size; floats are doubles.
struct Arguments {
  uintptr_t next;

  template <class T>
  T take() {
    next = (next + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    T value = load<T>(next);
    next += sizeof(T);
    return value;
  }
};

static void print_one(const std::string& spec, char conversion, bool wide, Arguments& arguments) {
  std::string base = spec.substr(0, spec.find_first_of("hlzjt"));
  if (base.size() == spec.size()) base = spec.substr(0, spec.size() - 1);
  switch (conversion) {
    case 'd': case 'i':
      append((base + "lld").c_str(), wide ? (long long)arguments.take<int64_t>()
                                          : (long long)arguments.take<int32_t>());
      break;
    case 'u': case 'x': case 'X': case 'o':
      append((base + "ll" + conversion).c_str(),
             wide ? (unsigned long long)arguments.take<uint64_t>()
                  : (unsigned long long)arguments.take<uint32_t>());
      break;
    case 'c': append("%c", arguments.take<int32_t>()); break;
    case 'p': append("%p", (void*)arguments.take<uint64_t>()); break;
    case 's': append((base + "s").c_str(), (const char*)arguments.take<uint64_t>()); break;
    default: append((base + conversion).c_str(), arguments.take<double>());
  }
}

static int print(Thread*, uintptr_t format, uintptr_t given) {
  Arguments arguments{given};
  int count = 0;
  for (const char* c = (const char*)format; *c; c++) {
    if (*c != '%') {
      append("%c", *c);
    } else if (c[1] == '%') {
      append("%%");
      c++;
    } else {
      std::string spec = "%";
      bool wide = false;
      for (c++; *c && !strchr("diuxXocpseEfFgGaA", *c); c++) {
        wide |= (*c == 'l' || *c == 'z' || *c == 'j' || *c == 't');
        spec += *c;
      }
      if (!*c) break;
      print_one(spec + *c, *c, wide, arguments);
      count++;
    }
  }
  return count;
}

static void assert_fail(Thread*, uintptr_t message, uintptr_t file, uint32_t line,
                        uintptr_t function, int site) {
  fail_here(kAssert, site, "%s:%u: %s: assertion `%s` failed", (const char*)file, line,
            (const char*)function, (const char*)message);
}

void table_host(Runtime& table) {
  table.rounded32 = rounded<float>;
  table.rounded64 = rounded<double>;
  table.clock = clock_now;
  table.print = print;
  table.assert_fail = assert_fail;
}

}  // namespace tcemu
