// mbarrier: arrivals still wanted, bytes still in flight, and the parity of the phase, in the
// object's own 8 bytes; which accesses a phase orders is kept beside.
#include <map>

#include "barriers.h"

namespace tcemu {

struct PhaseClocks {
  Clock *arriving = nullptr, *completed = nullptr;
  int agent = 0;
  uint32_t agent_time = 0;
};

static std::map<uintptr_t, PhaseClocks> phases;

void reset_barriers() {
  for (auto& [address, phase] : phases) {
    order_drop(phase.arriving);
    order_drop(phase.completed);
  }
  phases.clear();
}

static PhaseClocks& phase_of(uintptr_t address) {
  auto [place, added] = phases.try_emplace(address);
  if (added) place->second.agent = (int)phases.size() - 1;
  return place->second;
}

// An mbarrier that was never made has all bits set, from the poison.
static Mbarrier load_barrier(Fiber& self, uintptr_t address, int site) {
  if (address % 8) fail_here(kFault, site, "an mbarrier at an address that is no multiple of 8");
  if (config.checked) check_access(self, address, sizeof(Mbarrier), kAtomicUpdate, site);
  auto barrier = load<Mbarrier>(address);
  if (!barrier.expected || barrier.pending > barrier.expected) {
    fail_here(kMisuse, site, "an mbarrier that nobody initialized");
  }
  return barrier;
}

static void complete_phase_if_done(uintptr_t address, Mbarrier& barrier) {
  if (barrier.pending || barrier.bytes_in_flight) return;
  barrier.parity ^= 1;
  barrier.pending = barrier.expected;
  if (config.checked) {
    PhaseClocks& phase = phase_of(address);
    // What earlier phases ordered stays ordered.
    phase.arriving = order_join(phase.arriving, phase.completed);
    order_drop(phase.completed);
    phase.completed = phase.arriving;
    phase.arriving = nullptr;
  }
  wake_mbarrier_waiters(address);
}

static void mbarrier_init(Thread* thread, uintptr_t address, uint32_t arrivals, int site) {
  if (address % 8) fail_here(kFault, site, "an mbarrier at an address that is no multiple of 8");
  if (!arrivals || arrivals > 0xfffe) {
    fail_here(kMisuse, site, "mbarrier.init with a count of %u", arrivals);
  }
  if (config.checked) check_access(fiber_of(thread), address, sizeof(Mbarrier), kWrite, site);
  store(address, Mbarrier{(uint16_t)arrivals, (uint16_t)arrivals, 0, 0});
}

static void mbarrier_inval(Thread* thread, uintptr_t address, int site) {
  load_barrier(fiber_of(thread), address, site);
  store(address, ~uint64_t(0));
}

static uint64_t arrive(Fiber& self, uintptr_t address, uint32_t count, uint32_t expected_bytes,
                       int drop, int site) {
  Mbarrier barrier = load_barrier(self, address, site);
  uint64_t state = barrier.parity;
  if (count > barrier.pending) {
    fail_here(kMisuse, site, "an mbarrier gets %u arrivals where its phase wants %u more", count,
              barrier.pending);
  }
  if (config.checked) {
    PhaseClocks& phase = phase_of(address);
    phase.arriving = order_release(self, phase.arriving);
  }
  barrier.pending -= count;
  barrier.expected -= drop ? count : 0;
  barrier.bytes_in_flight += (int32_t)expected_bytes;
  complete_phase_if_done(address, barrier);
  store(address, barrier);
  return state;
}

static uint64_t mbarrier_arrive(Thread* thread, uintptr_t address, uint32_t count,
                                uint32_t expected_bytes, int drop, int site) {
  return arrive(fiber_of(thread), address, count, expected_bytes, drop, site);
}

void complete_mbarrier_arrival(Fiber& self, uintptr_t address, int site) {
  arrive(self, address, 1, 0, 0, site);
}

static void mbarrier_expect(Thread* thread, uintptr_t address, uint32_t bytes, int site) {
  Mbarrier barrier = load_barrier(fiber_of(thread), address, site);
  barrier.bytes_in_flight += (int32_t)bytes;
  store(address, barrier);
}

static void mbarrier_complete(Thread* thread, uintptr_t address, uint32_t bytes, int site) {
  Mbarrier barrier = load_barrier(fiber_of(thread), address, site);
  barrier.bytes_in_flight -= (int32_t)bytes;
  complete_phase_if_done(address, barrier);
  store(address, barrier);
}

// A bulk load arrived. Its writes get a time of the barrier's own component of the clocks.
void bulk_arrival(uintptr_t address, uint32_t bytes) {
  auto barrier = load<Mbarrier>(address);
  barrier.bytes_in_flight -= (int32_t)bytes;
  complete_phase_if_done(address, barrier);
  store(address, barrier);
}

uint32_t bulk_stamp(uintptr_t address, const Clock* issuer, uint32_t* time) {
  PhaseClocks& phase = phase_of(address);
  *time = ++phase.agent_time;
  phase.arriving = order_join(phase.arriving, issuer);
  set_component(phase.arriving, phase.agent, *time);
  return (uint32_t)(thread_count + phase.agent % 64);
}

void require_barrier(Fiber& self, uintptr_t address, int site) {
  load_barrier(self, address, site);
}

// True when the phase of the given parity, or that of the token, is over. A thread that must wait
// sleeps until it is, or until nothing else can happen.
static bool mbarrier_wait(Thread* thread, uintptr_t address, uint64_t state, int, int site) {
  Fiber& self = fiber_of(thread);
  load_barrier(self, address, site);
  auto is_over = [&] { return load<Mbarrier>(address).parity != (state & 1); };
  bool over = is_over();
  if (!over) {
    self.mbarrier = address;
    wait_in_state(State::kAtMbarrier, site);
    over = is_over();
  }
  if (over && config.checked) order_acquire(self, phase_of(address).completed);
  return over;
}

void table_barriers(Runtime& table) {
  table.mbarrier_init = mbarrier_init;
  table.mbarrier_inval = mbarrier_inval;
  table.mbarrier_arrive = mbarrier_arrive;
  table.mbarrier_expect = mbarrier_expect;
  table.mbarrier_complete = mbarrier_complete;
  table.mbarrier_wait = mbarrier_wait;
}

}  // namespace tcemu
