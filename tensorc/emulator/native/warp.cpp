// Operations among the lanes of a warp. Each hands over its operand and runs once for all lanes.
#include "state.h"

namespace tcemu {

struct ShuffleOperand {
  int mode;
  uint32_t value, b, c;
  uint32_t result;
  bool in_range;
};

// `c` packs the clamp in bits 0 to 4 and the segment mask in bits 8 to 12, as in the PTX manual.
static int shuffle_source(const ShuffleOperand& own, int lane, bool* in_range) {
  int segment = own.c >> 8 & 31, clamp = own.c & 31, offset = own.b & 31;
  int first = lane & segment, limit = first | (clamp & ~segment & 31);
  int source = own.mode == kShuffleUp     ? lane - offset
               : own.mode == kShuffleDown ? lane + offset
               : own.mode == kShuffleBfly ? lane ^ offset
                                          : first | (offset & ~segment & 31);
  *in_range = own.mode == kShuffleUp ? source >= limit : source <= limit;  // there a minimum
  return *in_range ? source : lane;
}

static void run_shuffle(void** operands, uint32_t mask) {
  for (int lane = 0; lane < kWarp; lane++) {
    if (!(mask >> lane & 1)) continue;
    auto& own = *(ShuffleOperand*)operands[lane];
    int source = shuffle_source(own, lane, &own.in_range);
    // A lane that takes no part has no value to give; the runtime says so after the operation.
    own.result = mask >> source & 1 ? ((ShuffleOperand*)operands[source])->value : ~0u;
    if (!(mask >> source & 1)) own.mode = -1 - source;
  }
}

static uint32_t shuffle(Thread* thread, int mode, uint32_t value, uint32_t b, uint32_t c,
                        uint32_t mask, bool* in_range, int site) {
  ShuffleOperand operand{mode, value, b, c, 0, false};
  warp_operation(fiber_of(thread), mask, &operand, run_shuffle, site);
  if (operand.mode < 0) {
    fail_here(kMisuse, site, "a shuffle reads lane %d, which is not in its mask 0x%x",
              -1 - operand.mode, mask);
  }
  *in_range = operand.in_range;
  return operand.result;
}

struct ValueOperand {
  uint64_t value;
  uint32_t result;
  bool agrees;
  int kind, is_signed;
};

static void run_ballot(void** operands, uint32_t mask) {
  uint32_t result = 0;
  for (int lane = 0; lane < kWarp; lane++) {
    if (mask >> lane & 1 && ((ValueOperand*)operands[lane])->value) result |= 1u << lane;
  }
  for (int lane = 0; lane < kWarp; lane++) {
    if (mask >> lane & 1) ((ValueOperand*)operands[lane])->result = result;
  }
}

static void run_match(void** operands, uint32_t mask) {
  for (int lane = 0; lane < kWarp; lane++) {
    if (!(mask >> lane & 1)) continue;
    auto& own = *(ValueOperand*)operands[lane];
    own.result = 0;
    for (int other = 0; other < kWarp; other++) {
      if (!(mask >> other & 1)) continue;
      if (((ValueOperand*)operands[other])->value == own.value) own.result |= 1u << other;
    }
    own.agrees = own.result == mask;
  }
}

static uint32_t combine(int kind, int is_signed, uint32_t a, uint32_t b) {
  bool less = is_signed ? (int32_t)a < (int32_t)b : a < b;
  switch (kind) {
    case kReduceAdd: return a + b;
    case kReduceMin: return less ? a : b;
    case kReduceMax: return less ? b : a;
    case kReduceAnd: return a & b;
    case kReduceOr: return a | b;
    default: return a ^ b;
  }
}

static void run_reduce(void** operands, uint32_t mask) {
  bool first = true;
  uint32_t result = 0;
  for (int lane = 0; lane < kWarp; lane++) {
    if (!(mask >> lane & 1)) continue;
    auto& own = *(ValueOperand*)operands[lane];
    result = first ? (uint32_t)own.value
                   : combine(own.kind, own.is_signed, result, (uint32_t)own.value);
    first = false;
  }
  for (int lane = 0; lane < kWarp; lane++) {
    if (mask >> lane & 1) ((ValueOperand*)operands[lane])->result = result;
  }
}

static uint32_t ballot(Thread* thread, int predicate, uint32_t mask, int site) {
  ValueOperand operand{(uint64_t)predicate, 0, false, 0, 0};
  warp_operation(fiber_of(thread), mask, &operand, run_ballot, site);
  return operand.result;
}

static uint32_t match_any(Thread* thread, uint64_t value, uint32_t mask, int site) {
  ValueOperand operand{value, 0, false, 0, 0};
  warp_operation(fiber_of(thread), mask, &operand, run_match, site);
  return operand.result;
}

static uint32_t match_all(Thread* thread, uint64_t value, uint32_t mask, bool* all, int site) {
  ValueOperand operand{value, 0, false, 0, 0};
  warp_operation(fiber_of(thread), mask, &operand, run_match, site);
  *all = operand.agrees;
  return operand.agrees ? operand.result : 0;
}

static uint32_t reduce(Thread* thread, int kind, int is_signed, uint32_t value, uint32_t mask,
                       int site) {
  ValueOperand operand{value, 0, false, kind, is_signed};
  warp_operation(fiber_of(thread), mask, &operand, run_reduce, site);
  return operand.result;
}

static void warp_sync(Thread* thread, uint32_t mask, int site) {
  warp_operation(fiber_of(thread), mask, nullptr, nullptr, site);
}

// Lanes that run right now: on a GPU any set with the caller is possible.
static uint32_t active_mask(Thread* thread) {
  uint32_t mask = 1u << thread->lane;
  for (int lane = 0; lane < kWarp; lane++) {
    int index = thread->warp * kWarp + lane;
    if (index < thread_count && fibers[index].state == State::kReady) mask |= 1u << lane;
  }
  return mask;
}

void table_warp(Runtime& table) {
  table.warp_sync = warp_sync;
  table.shuffle = shuffle;
  table.ballot = ballot;
  table.match_any = match_any;
  table.match_all = match_all;
  table.reduce = reduce;
  table.active_mask = active_mask;
}

}  // namespace tcemu
