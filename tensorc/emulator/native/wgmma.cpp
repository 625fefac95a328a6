// wgmma: each warp of a warpgroup computes 16 of the 64 rows, from shared memory through matrix
// descriptors, at the issue. What it reads counts as read until the wait.
//
// Layouts: the PTX manual, "Asynchronous warpgroup level matrix shared memory layout". In 16-byte
// units K-major operands are ((8, m), (T, 2)) : ((pitch, stride), (1, leading)), and M- or N-major
// ones the transpose; the swizzle is a function of the address.
#include "state.h"

namespace tcemu {

struct WgmmaOperand {
  const WgmmaShape* shape;
  void* d;
  uint64_t a, b;
  const uint32_t* a_registers;
  int accumulate;
};

struct Descriptor {
  uint32_t start, leading, stride, pitch;  // pitch: bytes of a row of the pattern; 16: no swizzle
  uint32_t row_bits;
  bool transposed;
  int bytes;  // of an element
};

static int element_bytes(ElementFormat format) {
  return format == kF16 || format == kBf16 ? 2 : format == kTf32 ? 4 : 1;
}

static Descriptor decode(uint64_t bits, ElementFormat format, bool transposed, int site) {
  static const uint32_t pitches[4] = {16, 128, 64, 32}, rows[4] = {0, 7, 3, 1};
  uint32_t mode = bits >> 62;
  if (bits >> 49 & 7) fail_here(kMisuse, site, "a matrix descriptor with a base offset");
  if (transposed && element_bytes(format) != 2) {
    fail_here(kMisuse, site, "wgmma transposes operands of 16 bits alone");
  }
  return {(uint32_t)(bits & 0x3fff) << 4, (uint32_t)(bits >> 16 & 0x3fff) << 4,
          (uint32_t)(bits >> 32 & 0x3fff) << 4, pitches[mode], rows[mode], transposed,
          element_bytes(format)};
}

// The address of element (row of M or N, k).
static uintptr_t address_of(const Descriptor& d, int row, int k) {
  uint32_t offset;
  if (!d.transposed) {
    uint32_t byte = k * d.bytes;
    offset = row / 8 * d.stride + row % 8 * d.pitch;
    offset += d.pitch == 16 ? byte / 16 * d.leading + byte % 16 : byte;
  } else {
    uint32_t byte = row * d.bytes;
    bool plain = d.pitch == 16;
    offset = k % 8 * d.pitch + k / 8 * (plain ? d.leading : d.stride);
    offset += byte / d.pitch * (plain ? d.stride : d.leading) + byte % d.pitch;
  }
  uint32_t address = d.start + offset;
  address ^= (address >> 7 & d.row_bits) << 4;
  return (uintptr_t)shared_window + address;
}

static float float_at(uintptr_t address, ElementFormat format) {
  switch (format) {
    case kF16: return f16_to_f32(load<uint16_t>(address));
    case kBf16: return bf16_to_f32(load<uint16_t>(address));
    case kTf32: return bits_of<float>(load<uint32_t>(address) & 0xffffe000u);
    case kS8: return load<int8_t>(address);
    default: return load<uint8_t>(address);
  }
}

// Fragments of A in registers are laid out as those of mma.m16n8k16.
static float a_from_registers(void** operands, const WgmmaShape& shape, int row, int k) {
  int bytes = element_bytes(shape.a), per = 4 / bytes, span = 4 * per;
  int lane = row % 8 * 4 + k % span / per, r = row / 8 + 2 * (k / span);
  uint32_t bits = ((WgmmaOperand*)operands[lane])->a_registers[r];
  uint32_t element = bits >> (8 * bytes * (k % per));
  return float_at((uintptr_t)&element, shape.a);
}

static void run_wgmma(void** operands, uint32_t) {
  auto& first = *(WgmmaOperand*)operands[0];
  const WgmmaShape& shape = *first.shape;
  int warp = (int)(current->thread.warp % 4);
  static float a[16][32], b[32][256], product[16][256];
  Descriptor a_tile = decode(first.a, shape.a, shape.trans_a, current->site);
  Descriptor b_tile = decode(first.b, shape.a, shape.trans_b, current->site);
  float sign = (float)(shape.scale_a * shape.scale_b);
  for (int row = 0; row < 16; row++) {
    for (int k = 0; k < shape.k; k++) {
      a[row][k] = sign * (first.a_registers
                              ? a_from_registers(operands, shape, row, k)
                              : float_at(address_of(a_tile, warp * 16 + row, k), shape.a));
    }
  }
  for (int k = 0; k < shape.k; k++) {
    for (int n = 0; n < shape.n; n++) b[k][n] = float_at(address_of(b_tile, n, k), shape.a);
  }
  for (int row = 0; row < 16; row++) {
    for (int n = 0; n < shape.n; n++) product[row][n] = 0;
    for (int k = 0; k < shape.k; k++) {
      for (int n = 0; n < shape.n; n++) product[row][n] += a[row][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < kWarp; lane++) {
    auto& own = *(WgmmaOperand*)operands[lane];
    for (int i = 0; i < shape.n / 2; i++) {
      float term = product[lane / 4 + i % 4 / 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2];
      if (shape.d == kF16) {
        uint16_t& d = ((uint16_t*)own.d)[i];
        d = f32_to_f16(own.accumulate ? f16_to_f32(d) + term : term);
      } else if (shape.d == kS32) {
        int32_t& d = ((int32_t*)own.d)[i];
        d = own.accumulate ? d + (int32_t)term : (int32_t)term;
      } else {
        float& d = ((float*)own.d)[i];
        d = own.accumulate ? d + term : term;
      }
    }
  }
}

// The bytes that this warp reads, in runs of 16: rows of A its own, of B all.
static void add_runs(TileReads& tile, const Descriptor& d, int first_row, int rows, int depth) {
  int per = 16 / d.bytes;
  int row_step = d.transposed ? per : 1, k_step = d.transposed ? 1 : per;
  for (int row = first_row; row < first_row + rows; row += row_step) {
    for (int k = 0; k < depth; k += k_step) tile.runs.push_back({address_of(d, row, k), 16});
  }
}

static void begin_reads(Fiber& self, const WgmmaShape& shape, uint64_t a, bool a_registers,
                        uint64_t b, int site) {
  self.site = site;
  // One lane stands for the warp: the others' waits are the same instruction.
  if (self.thread.lane != 0) return;
  self.tiles.open.emplace_back();
  TileReads& tile = self.tiles.open.back();
  tile.site = site;
  tile.flight = begin_read_flight();
  int warp = (int)(self.thread.warp % 4);
  if (!a_registers) add_runs(tile, decode(a, shape.a, shape.trans_a, site), warp * 16, 16, shape.k);
  add_runs(tile, decode(b, shape.a, shape.trans_b, site), 0, shape.n, shape.k);
  for (auto& [address, bytes] : tile.runs) {
    mark_read_flight(self, tile.flight, address, (int)bytes, site);
  }
}

static void wgmma(Thread* thread, const WgmmaShape* shape, void* d, uint64_t a,
                  const uint32_t* a_registers, uint64_t b, int accumulate, int site) {
  Fiber& self = fiber_of(thread);
  if (thread_count < (int)(thread->warp / 4 * 4 + 4) * kWarp) {
    fail_here(kMisuse, site, "wgmma needs a warpgroup of 128 threads");
  }
  if (config.checked) begin_reads(self, *shape, a, a_registers != nullptr, b, site);
  WgmmaOperand operand{shape, d, a, b, a_registers, accumulate};
  self.site = self.wgmma_site = site;
  warp_operation(self, ~0u, &operand, run_wgmma, site);
}

static void wgmma_fence(Thread*, int) {}

static void wgmma_commit(Thread* thread, int) {
  fiber_of(thread).tiles.commit();
  fiber_of(thread).wgmma_committed++;
}

static uint32_t wgmma_group(Thread* thread) { return fiber_of(thread).wgmma_committed + 1; }

static void wgmma_read(Thread* thread, uint32_t group, int site) {
  const Fiber& self = fiber_of(thread);
  if (group <= self.wgmma_done) return;
  Finding finding = finding_here(kUnwaitedRead, site);
  finding.range = kAccumulators;
  finding.other_site = self.wgmma_site;
  finding.other_thread = thread->index;
  finding.other_block = block_index;
  finding.bytes = 4;
  add_finding(finding);
}

static void wgmma_wait(Thread* thread, int groups_left, int) {
  Fiber& self = fiber_of(thread);
  auto& committed = self.tiles.committed;
  size_t done = committed.size() > (size_t)groups_left ? committed.size() - groups_left : 0;
  self.wgmma_done = self.wgmma_committed - (uint32_t)(committed.size() - done);
  for (size_t i = 0; i < done; i++) {
    for (const TileReads& tile : committed[i]) {
      for (auto& [address, bytes] : tile.runs) {
        end_read_flight(self, tile.flight, address, (int)bytes, tile.site);
      }
    }
  }
  committed.erase(committed.begin(), committed.begin() + done);
}

void table_wgmma(Runtime& table) {
  table.wgmma = wgmma;
  table.wgmma_fence = wgmma_fence;
  table.wgmma_commit = wgmma_commit;
  table.wgmma_wait = wgmma_wait;
  table.wgmma_group = wgmma_group;
  table.wgmma_read = wgmma_read;
}

}  // namespace tcemu
