// The mbarrier object, and what bulk copies do to one.
#pragma once

#include "state.h"

namespace tcemu {

struct Mbarrier {  // a layout of our own: kernels may not look inside
  uint16_t expected, pending;
  int32_t bytes_in_flight : 31;
  uint32_t parity : 1;
};
static_assert(sizeof(Mbarrier) == 8, "an mbarrier object has 8 bytes");

void reset_barriers();
void require_barrier(Fiber& self, uintptr_t address, int site);
void bulk_arrival(uintptr_t address, uint32_t bytes);
// The component and the time of the clocks under which a bulk load writes.
uint32_t bulk_stamp(uintptr_t address, const Clock* issuer, uint32_t* time);
void complete_mbarrier_arrival(Fiber& self, uintptr_t barrier, int site);

}  // namespace tcemu
