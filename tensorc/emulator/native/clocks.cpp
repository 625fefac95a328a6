// Which accesses are ordered: vector clocks.
//
// Each thread counts its own time, which grows whenever it lets others know what it did. A clock
// says, for each thread, up to which of its times everything is known to have happened. Lanes of a
// warp, and threads of a block, that just waited for each other share one clock. Behind the
// threads follow components for asynchronous copies, one for each mbarrier.
#include "state.h"

namespace tcemu {

constexpr int kAgents = 64;

struct Clock {
  uint64_t serial;
  uint32_t references;
  uint32_t at[1];
};

static int components() { return thread_count + kAgents; }

static Clock* new_clock() {
  auto* clock = (Clock*)calloc(1, sizeof(Clock) + sizeof(uint32_t) * components());
  static uint64_t serial;
  clock->serial = ++serial;
  clock->references = 1;
  return clock;
}

static void join(Clock* into, const Clock* other) {
  if (!other || other == into) return;
  int count = components();
  for (int i = 0; i < count; i++) {
    into->at[i] = into->at[i] > other->at[i] ? into->at[i] : other->at[i];
  }
}

void order_drop(Clock* clock) {
  if (clock && --clock->references == 0) free(clock);
}

static void see(Fiber& self, Clock* clock) {
  if (clock) clock->references++;
  order_drop(self.seen);
  self.seen = clock;
}

void reset_clocks() {
  for (int i = 0; i < thread_count; i++) {
    see(fibers[i], nullptr);
    fibers[i].now = 1;
  }
}

bool is_ordered(const Fiber& self, uint32_t thread, uint32_t time) {
  if (thread == self.thread.index) return true;
  return self.seen && self.seen->at[thread] >= time;
}

// The lanes of `mask` waited for each other.
void order_lanes(int first, uint32_t mask) {
  Clock* clock = new_clock();
  const Clock* last = nullptr;
  for (int lane = 0; lane < kWarp; lane++) {
    if (!(mask >> lane & 1)) continue;
    Fiber& fiber = fibers[first + lane];
    if (fiber.seen != last) join(clock, fiber.seen);
    last = fiber.seen;
  }
  for (int lane = 0; lane < kWarp; lane++) {
    if (mask >> lane & 1) clock->at[first + lane] = fibers[first + lane].now++;
  }
  for (int lane = 0; lane < kWarp; lane++) {
    if (mask >> lane & 1) see(fibers[first + lane], clock);
  }
  order_drop(clock);
}

// Adds to `into` (made if null) what `self` knows and did.
Clock* order_release(Fiber& self, Clock* into) {
  if (!into) into = new_clock();
  // Threads of a warp mostly share a clock, which then is in already.
  static uint64_t last_seen, last_into;
  uint64_t seen = self.seen ? self.seen->serial : 0;
  if (last_seen != seen || last_into != into->serial) join(into, self.seen);
  last_seen = seen;
  last_into = into->serial;
  into->at[self.thread.index] = self.now++;
  return into;
}

Clock* order_join(Clock* into, const Clock* other) {
  if (!into) into = new_clock();
  join(into, other);
  return into;
}

void set_component(Clock*& clock, int component, uint32_t time) {
  if (!clock) clock = new_clock();
  uint32_t& at = clock->at[thread_count + component % kAgents];
  at = at > time ? at : time;
}

// A clock that is acquired does not change any more, so threads may share it.
void order_acquire(Fiber& self, Clock* from) {
  if (!from || self.seen == from) return;
  bool newer = false;
  for (int i = 0, count = components(); self.seen && i < count; i++) {
    newer |= self.seen->at[i] > from->at[i];
  }
  if (!newer) return see(self, from);
  Clock* joined = order_join(nullptr, from);
  join(joined, self.seen);
  see(self, joined);
  order_drop(joined);
}

}  // namespace tcemu
