// What the entry points need of the checker and the profile.
#pragma once

#include "state.h"

namespace tcemu {

struct ProfileEntry {  // mirrored in bindings.py
  int32_t site, bytes, is_shared, is_write;
  uint64_t requests;
  uint64_t transactions;  // shared: wavefronts; global: sectors of 32 bytes
  uint64_t ideal;         // the fewest transactions that such requests could take
};

void begin_checks();
void clear_launch_ranges();
void add_launch_range(uintptr_t begin, uint64_t bytes, int64_t id, bool shared);
void add_global_range(uintptr_t begin, uint64_t bytes, int64_t id, bool written);
void remove_global_range(uintptr_t begin);
void mark_written(uintptr_t address, uint64_t bytes, uintptr_t from);
const std::vector<Finding>& all_findings();

void begin_profile();
const std::vector<ProfileEntry>& finish_profile();

extern std::string printed;

}  // namespace tcemu
