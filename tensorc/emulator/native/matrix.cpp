// ldmatrix, stmatrix, movmatrix and mma.sync. The layouts of fragments are those of the PTX
// manual: lane = 4 group + member, where group is a row (of A and D) or a column (of B), and
// member picks columns.
#include <cmath>

#include "state.h"

namespace tcemu {

struct MatrixOperand {
  uint32_t* registers;
  uintptr_t row;  // of lane 8 m + r: the address of row r of the m-th 8 x 8 matrix
  int count, transposed;
};

static uintptr_t row_address(void** operands, int matrix, int row) {
  return ((MatrixOperand*)operands[matrix * 8 + row])->row;
}

// Where the 16-bit element `half` of a lane's register lies in its 8 x 8 matrix.
static void element_of(int lane, int half, int transposed, int* row, int* column) {
  *row = lane / 4;
  *column = lane % 4 * 2 + half;
  if (transposed) std::swap(*row, *column);
}

static void run_ldmatrix(void** operands, uint32_t) {
  for (int lane = 0; lane < kWarp; lane++) {
    auto& own = *(MatrixOperand*)operands[lane];
    for (int matrix = 0; matrix < own.count; matrix++) {
      uint16_t pair[2];
      for (int half = 0; half < 2; half++) {
        int row, column;
        element_of(lane, half, own.transposed, &row, &column);
        pair[half] = load<uint16_t>(row_address(operands, matrix, row) + column * 2);
      }
      own.registers[matrix] = pair_of(pair[0], pair[1]);
    }
  }
}

static void run_stmatrix(void** operands, uint32_t) {
  for (int lane = 0; lane < kWarp; lane++) {
    auto& own = *(MatrixOperand*)operands[lane];
    for (int matrix = 0; matrix < own.count; matrix++) {
      for (int half = 0; half < 2; half++) {
        int row, column;
        element_of(lane, half, own.transposed, &row, &column);
        store<uint16_t>(row_address(operands, matrix, row) + column * 2,
                        (uint16_t)(own.registers[matrix] >> (16 * half)));
      }
    }
  }
}

static void whole_warp(Fiber& self, const char* what, int site) {
  if (thread_count - (int)self.thread.warp * kWarp < kWarp) {
    fail_here(kMisuse, site, "%s needs a whole warp, and warp %u has %d threads", what,
              self.thread.warp, thread_count - (int)self.thread.warp * kWarp);
  }
}

static void move_matrix(Thread* thread, uint32_t* registers, int count, uintptr_t row,
                        int transposed, int kind, WarpFunction run, int site) {
  Fiber& self = fiber_of(thread);
  whole_warp(self, kind == kRead ? "ldmatrix" : "stmatrix", site);
  if ((int)thread->lane < count * 8) {
    if (row % 16 && !config.checked) fail_here(kFault, site, "a row that is not 16-byte aligned");
    if (config.checked) check_access(self, row, 16, kind, site);
  }
  MatrixOperand operand{registers, row, count, transposed};
  warp_operation(self, ~0u, &operand, run, site);
}

static void ldmatrix(Thread* thread, uint32_t* out, int count, uintptr_t row, int transposed,
                     int site) {
  move_matrix(thread, out, count, row, transposed, kRead, run_ldmatrix, site);
}

static void stmatrix(Thread* thread, const uint32_t* in, int count, uintptr_t row, int transposed,
                     int site) {
  move_matrix(thread, (uint32_t*)in, count, row, transposed, kWrite, run_stmatrix, site);
}

static void run_movmatrix(void** operands, uint32_t) {
  uint32_t before[kWarp];
  for (int lane = 0; lane < kWarp; lane++) before[lane] = *(uint32_t*)operands[lane];
  for (int lane = 0; lane < kWarp; lane++) {
    uint16_t pair[2];
    for (int half = 0; half < 2; half++) {
      int row, column;
      element_of(lane, half, 1, &row, &column);
      pair[half] = (uint16_t)(before[row * 4 + column / 2] >> (16 * (column % 2)));
    }
    *(uint32_t*)operands[lane] = pair_of(pair[0], pair[1]);
  }
}

static uint32_t movmatrix(Thread* thread, uint32_t value, int site) {
  whole_warp(fiber_of(thread), "movmatrix", site);
  warp_operation(fiber_of(thread), ~0u, &value, run_movmatrix, site);
  return value;
}

// ---- mma.sync

struct MmaOperand {
  const MmaShape* shape;
  void* d;
  const void *a, *b;
};

static int elements_per_register(ElementFormat format) {
  return format == kF16 || format == kBf16 ? 2 : format == kS8 || format == kU8 ? 4 : 1;
}

static float float_element(ElementFormat format, uint32_t bits, int index) {
  switch (format) {
    case kF16: return f16_to_f32((uint16_t)(bits >> (16 * index)));
    case kBf16: return bf16_to_f32((uint16_t)(bits >> (16 * index)));
    default: return bits_of<float>(bits & 0xffffe000u);  // tf32: hardware drops what is below
  }
}

static int32_t int_element(ElementFormat format, uint32_t bits, int index) {
  uint8_t byte = (uint8_t)(bits >> (8 * index));
  return format == kS8 ? (int8_t)byte : byte;
}

// Spreads the fragments of 32 lanes into A (16 x k) and B (k x 8).
template <class T, class Element>
static void gather(void** operands, const MmaShape& shape, T (*a)[32], T (*b)[8], Element element) {
  int per = elements_per_register(shape.a), span = 4 * per;
  for (int lane = 0; lane < kWarp; lane++) {
    auto& own = *(MmaOperand*)operands[lane];
    int group = lane / 4, member = lane % 4;
    for (int r = 0; r < 2 * shape.k / span; r++) {
      for (int e = 0; e < per; e++) {
        a[group + 8 * (r & 1)][(r >> 1) * span + member * per + e] =
            element(shape.a, ((const uint32_t*)own.a)[r], e);
      }
    }
    for (int r = 0; r < shape.k / span; r++) {
      for (int e = 0; e < per; e++) {
        b[r * span + member * per + e][group] = element(shape.b, ((const uint32_t*)own.b)[r], e);
      }
    }
  }
}

template <class T>
static void multiply(const T (*a)[32], const T (*b)[8], int k_extent, T (*d)[8]) {
  for (int row = 0; row < 16; row++) {
    T sums[8];
    for (int n = 0; n < 8; n++) sums[n] = 0;
    for (int k = 0; k < k_extent; k++) {
      for (int n = 0; n < 8; n++) sums[n] += a[row][k] * b[k][n];
    }
    for (int n = 0; n < 8; n++) d[row][n] = sums[n];
  }
}

static void run_mma_float(void** operands, uint32_t) {
  const MmaShape& shape = *((MmaOperand*)operands[0])->shape;
  float a[16][32], b[32][8], product[16][8];
  gather(operands, shape, a, b, float_element);
  multiply(a, b, shape.k, product);
  for (int lane = 0; lane < kWarp; lane++) {
    auto& own = *(MmaOperand*)operands[lane];
    for (int i = 0; i < 4; i++) {
      float term = product[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
      if (shape.d == kF16) {
        uint16_t& d = ((uint16_t*)own.d)[i];
        d = f32_to_f16(f16_to_f32(d) + term);
      } else {
        ((float*)own.d)[i] += term;
      }
    }
  }
}

static void run_mma_int(void** operands, uint32_t) {
  const MmaShape& shape = *((MmaOperand*)operands[0])->shape;
  int32_t a[16][32], b[32][8], product[16][8];
  gather(operands, shape, a, b, int_element);
  multiply(a, b, shape.k, product);
  for (int lane = 0; lane < kWarp; lane++) {
    auto* d = (uint32_t*)((MmaOperand*)operands[lane])->d;
    for (int i = 0; i < 4; i++) {
      d[i] += (uint32_t)product[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    }
  }
}

static void run_mma_double(void** operands, uint32_t) {  // m8n8k4
  double a[8][4], b[4][8];
  for (int lane = 0; lane < kWarp; lane++) {
    auto& own = *(MmaOperand*)operands[lane];
    a[lane / 4][lane % 4] = *(const double*)own.a;
    b[lane % 4][lane / 4] = *(const double*)own.b;
  }
  for (int lane = 0; lane < kWarp; lane++) {
    auto* d = (double*)((MmaOperand*)operands[lane])->d;
    for (int i = 0; i < 2; i++) {
      for (int k = 0; k < 4; k++) d[i] = std::fma(a[lane / 4][k], b[k][lane % 4 * 2 + i], d[i]);
    }
  }
}

static void mma(Thread* thread, const MmaShape* shape, void* d, const void* a, const void* b,
                int site) {
  whole_warp(fiber_of(thread), "mma", site);
  MmaOperand operand{shape, d, a, b};
  WarpFunction run = shape->a == kF64                        ? run_mma_double
                     : shape->a == kS8 || shape->a == kU8 ? run_mma_int
                                                             : run_mma_float;
  warp_operation(fiber_of(thread), ~0u, &operand, run, site);
}

void table_matrix(Runtime& table) {
  table.ldmatrix = ldmatrix;
  table.stmatrix = stmatrix;
  table.movmatrix = movmatrix;
  table.mma = mma;
}

}  // namespace tcemu
