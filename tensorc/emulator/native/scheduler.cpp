// Runs the fibers of a block: warps, warp operations, block barriers, limits, deadlocks.
//
// A fiber gives up control only where a GPU would wait, so a launch is deterministic for its order
// and seed. The last lane to arrive at a warp operation runs it for all of them.
#include <time.h>

#include "state.h"

namespace tcemu {

LaunchConfig config;
void (*kernel_entry)(Thread*);
Fiber fibers[kMaxThreads];
Fiber* current;
int thread_count, warp_count, live_fibers;
uint32_t block_index, block_serial;
bool aborted;
Outcome outcome;
std::string error_text;
int error_site;
uint64_t random_state, switches;

static std::vector<PendingWarpOp> pending_ops[kMaxThreads / kWarp];
static BlockBarrier barriers[kBarriers];
static std::vector<int> warp_order, lane_order;
static uint64_t steps;
static double deadline;
static const char kTooLong[] = "the launch took more than %g seconds of processor time, its limit";

uint64_t random_number() {  // xorshift64
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static double seconds_now() {  // of the processor, so that a busy machine does not end a launch
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

static void record_failure(Outcome why, int site, const char* text) {
  if (aborted) return;
  aborted = true;
  outcome = why;
  error_site = site;
  error_text = text;
}

void fail_launch(Outcome why, int site, const char* format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  record_failure(why, site, text);
}

void fail_here(Outcome why, int site, const char* format, ...) {
  char text[300], full[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  const Thread& t = current->thread;
  snprintf(full, sizeof full, "%s (block %u,%u,%u thread %u,%u,%u)", text, t.ctaid[0], t.ctaid[1],
           t.ctaid[2], t.tid[0], t.tid[1], t.tid[2]);
  record_failure(why, site, full);
  switch_to_scheduler();
  __builtin_trap();
}

// The clobbers keep the compiler from keeping shared memory in registers across a wait.
void wait_in_state(State state, int site) {
  asm volatile("" ::: "memory");
  current->state = state;
  current->site = site;
  switch_to_scheduler();
  asm volatile("" ::: "memory");
}

static void tick(Thread* thread, int site) {
  thread->fuel = kFuel;
  steps += kFuel;
  if (config.steps && steps > config.steps) {
    fail_here(kLimit, site, "the launch took more than %llu loop iterations, its limit",
              (unsigned long long)config.steps);
  }
  if (deadline && seconds_now() > deadline) {
    fail_here(kLimit, site, kTooLong, config.seconds);
  }
  wait_in_state(State::kYielded, site);
}

static void fail_kernel(Thread*, const char* message, int site) {
  fail_here(kTrap, site, "%s", message);
}

// ---- Warp operations

static uint32_t existing_lanes(int warp) {
  int lanes = thread_count - warp * kWarp;
  return lanes >= kWarp ? ~0u : (1u << lanes) - 1;
}

static PendingWarpOp& find_pending(std::vector<PendingWarpOp>& pending, int site, uint32_t mask) {
  for (PendingWarpOp& op : pending) {
    if (op.site == site && op.mask == mask) return op;
  }
  pending.push_back({site, mask, 0});
  return pending.back();
}

void warp_operation(Fiber& self, uint32_t mask, void* operand, WarpFunction run, int site) {
  int warp = self.thread.warp, first = warp * kWarp;
  if (!(mask >> self.thread.lane & 1)) {
    fail_here(kMisuse, site, "the lane that calls a warp operation is not in its mask 0x%x", mask);
  }
  auto& pending = pending_ops[warp];
  PendingWarpOp& op = find_pending(pending, site, mask);
  op.arrived |= 1u << self.thread.lane;
  self.operand = operand;
  self.mask = mask;
  uint32_t wanted = mask & existing_lanes(warp);
  if (op.arrived != wanted) {
    wait_in_state(State::kAtWarpOp, site);
    return;
  }
  op = pending.back();
  pending.pop_back();
  void* operands[kWarp];
  for (int lane = 0; lane < kWarp; lane++) {
    operands[lane] = wanted >> lane & 1 ? fibers[first + lane].operand : nullptr;
  }
  asm volatile("" ::: "memory");
  if (run) run(operands, wanted);
  asm volatile("" ::: "memory");
  if (config.checked) order_lanes(first, wanted);
  for (int lane = 0; lane < kWarp; lane++) {
    Fiber& fiber = fibers[first + lane];
    if (wanted >> lane & 1 && &fiber != &self) fiber.state = State::kReady;
  }
}

// ---- Barriers of the block

static void release_barrier(uint32_t id, int vote) {
  BlockBarrier& barrier = barriers[id];
  if (config.profile && barrier.expected == (uint32_t)thread_count) flush_profile();
  uint32_t result = vote == kVotePopc ? barrier.popc : vote == kVoteAnd ? barrier.all : barrier.any;
  for (int i = 0; i < thread_count; i++) {
    Fiber& fiber = fibers[i];
    bool waiting = fiber.state == State::kAtBarrier && fiber.barrier == id;
    if (!waiting && &fiber != current) continue;
    if (config.checked && (waiting || fiber.barrier == id)) order_acquire(fiber, barrier.clock);
    fiber.result = result;
    if (waiting) fiber.state = State::kReady;
  }
  order_drop(barrier.clock);
  barrier = BlockBarrier{};
}

static uint32_t barrier_limit(int threads, int id, int site) {
  if (id < 0 || id >= kBarriers) fail_here(kMisuse, site, "there is no barrier %d", id);
  if (threads % kWarp) {
    fail_here(kMisuse, site, "a barrier of %d threads, which is no whole number of warps", threads);
  }
  return threads ? threads : thread_count;
}

// Adds the current thread to a barrier; true when that was the last one it waited for.
static bool arrive(int id, int threads, int predicate, int site) {
  uint32_t expected = barrier_limit(threads, id, site);
  BlockBarrier& barrier = barriers[id];
  if (!barrier.arrived) {
    barrier = BlockBarrier{};
    barrier.site = site;
    barrier.expected = expected;
    barrier.counted = threads != 0;
    barrier.all = 1;
  } else if (barrier.expected != expected) {
    fail_here(kMisuse, site, "barrier %d for %u threads, where others wait at it for %u", id,
              expected, barrier.expected);
  } else if (!barrier.counted && barrier.site != site) {
    // __syncthreads by part of the block here, by another part elsewhere.
    Finding finding = finding_here(kDivergence, site);
    finding.other_site = barrier.site;
    add_finding(finding);
    fail_here(kStuck, site, "threads of one block wait at different __syncthreads");
  }
  barrier.arrived++;
  barrier.popc += predicate;
  barrier.all &= predicate;
  barrier.any |= predicate;
  if (config.checked) barrier.clock = order_release(*current, barrier.clock);
  return barrier.arrived == barrier.expected;
}

static uint32_t barrier_wait(Thread* thread, int id, int threads, int vote, int predicate,
                             int site) {
  Fiber& self = fiber_of(thread);
  asm volatile("" ::: "memory");
  self.barrier = id;
  if (arrive(id, threads, predicate, site)) {
    release_barrier(id, vote);
  } else {
    wait_in_state(State::kAtBarrier, site);
  }
  asm volatile("" ::: "memory");
  return self.result;
}

static void barrier_arrive(Thread* thread, int id, int threads, int site) {
  fiber_of(thread).barrier = kBarriers;  // It does not wait, so it learns nothing.
  if (arrive(id, threads, 0, site)) release_barrier(id, kVoteNone);
}

void table_scheduler(Runtime& table) {
  table.tick = tick;
  table.fail = fail_kernel;
  table.barrier = barrier_wait;
  table.barrier_arrive = barrier_arrive;
}

// ---- The loop over fibers

static void shuffle(std::vector<int>& order) {
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random_number() % i]);
}

static void fill_order(std::vector<int>& order, int count) {
  order.resize(count);
  for (int i = 0; i < count; i++) order[i] = config.order == 1 ? count - 1 - i : i;
}

static bool run_warp(int warp) {
  int first = warp * kWarp, lanes = std::min(kWarp, thread_count - first);
  bool ran = false;
  for (bool again = true; again;) {
    again = false;
    if (config.order == (int)Order::kRandom) shuffle(lane_order);
    for (int lane : lane_order) {
      if (lane >= lanes || fibers[first + lane].state != State::kReady) continue;
      current = &fibers[first + lane];
      switches++;
      switch_to_fiber(*current);
      if (aborted) return false;
      if (current->state == State::kDone) live_fibers--;
      again = ran = true;
    }
  }
  return ran;
}

static bool wake(State state) {
  bool woken = false;
  for (int i = 0; i < thread_count; i++) {
    if (fibers[i].state != state) continue;
    fibers[i].state = State::kReady;
    fibers[i].timed_out = true;
    woken = true;
  }
  return woken;
}

void wake_mbarrier_waiters(uintptr_t address) {
  for (int i = 0; i < thread_count; i++) {
    Fiber& fiber = fibers[i];
    if (fiber.state != State::kAtMbarrier || fiber.mbarrier != address) continue;
    fiber.state = State::kReady;
    fiber.timed_out = false;
  }
}

static int count_in(State state) {
  int count = 0;
  for (int i = 0; i < thread_count; i++) count += fibers[i].state == state;
  return count;
}

static const Fiber* first_in(State state) {
  for (int i = 0; i < thread_count; i++) {
    if (fibers[i].state == state) return &fibers[i];
  }
  return nullptr;
}

static void report_stuck(FindingKind kind, const Fiber& waiting, const char* text) {
  current = (Fiber*)&waiting;
  Finding finding = finding_here(kind, waiting.site);
  for (int i = 0; i < thread_count; i++) {  // Somebody who waits elsewhere, or left.
    if (fibers[i].state == waiting.state && fibers[i].site == waiting.site) continue;
    finding.other_thread = i;
    finding.other_block = block_index;
    if (fibers[i].state != State::kDone) finding.other_site = fibers[i].site;
    break;
  }
  snprintf(finding.detail, sizeof finding.detail, "%s", text);
  add_finding(finding);
  fail_launch(kStuck, waiting.site, "%s (block %u)", text, block_index);
}

// No fiber can go on, and nothing asynchronous is left to happen.
static void explain_stuck() {
  char text[160];
  int done = count_in(State::kDone);
  if (const Fiber* waiting = first_in(State::kAtWarpOp)) {
    uint32_t arrived = 0;
    for (const PendingWarpOp& op : pending_ops[waiting->thread.warp]) {
      if (op.site == waiting->site && op.mask == waiting->mask) arrived = op.arrived;
    }
    uint32_t missing = waiting->mask & existing_lanes(waiting->thread.warp) & ~arrived;
    snprintf(text, sizeof text, "a warp operation for lanes 0x%x waits for lanes 0x%x of warp %u",
             waiting->mask, missing, waiting->thread.warp);
    return report_stuck(kDivergence, *waiting, text);
  }
  if (const Fiber* waiting = first_in(State::kAtBarrier)) {
    const BlockBarrier& barrier = barriers[waiting->barrier];
    snprintf(text, sizeof text, "%u of %u threads reached barrier %u; %d threads have left",
             barrier.arrived, barrier.expected, waiting->barrier, done);
    return report_stuck(kDivergence, *waiting, text);
  }
  const Fiber* waiting = first_in(State::kAtMbarrier);
  snprintf(text, sizeof text, "%d threads wait for a phase of an mbarrier that never completes",
           count_in(State::kAtMbarrier));
  report_stuck(kDeadlock, *waiting, text);
}

// Everything that can happen when no fiber is ready. Bulk loads arrive this late, so that a
// kernel that does not wait for them reads what was there before.
static bool advance(int& timeouts) {
  constexpr int kMaxTimeouts = 100;
  bool arrived = perform_one_bulk_load();
  bool woken = wake(State::kYielded);
  if (arrived || woken) {
    timeouts = 0;
    if (deadline && seconds_now() > deadline) {
      fail_launch(kLimit, -1, kTooLong, config.seconds);
    }
    return true;
  }
  // A kernel may do something else after a wait that timed out.
  return ++timeouts <= kMaxTimeouts && wake(State::kAtMbarrier);
}

static void start_block(uint32_t x, uint32_t y, uint32_t z) {
  block_serial++;
  memset(shared_window, kPoison, config.total_shared);
  reset_async();
  if (config.checked) reset_shared_shadow();
  for (int i = 0; i < thread_count; i++) {
    Fiber& fiber = fibers[i];
    fiber.thread.ctaid[0] = x, fiber.thread.ctaid[1] = y, fiber.thread.ctaid[2] = z;
    fiber.thread.fuel = kFuel;
    fiber.wgmma_committed = fiber.wgmma_done = 0;
    if (!fiber.copies.open.empty() || !fiber.copies.committed.empty()) fiber.copies.clear();
    if (!fiber.bulk_stores.committed.empty()) fiber.bulk_stores.clear();
    if (!fiber.tiles.committed.empty()) fiber.tiles.clear();
    start_fiber(i);
  }
  if (config.checked) reset_clocks();
  for (int warp = 0; warp < warp_count; warp++) pending_ops[warp].clear();
  for (BlockBarrier& barrier : barriers) barrier = BlockBarrier{};
  live_fibers = thread_count;
}

static bool run_block() {
  int timeouts = 0;
  while (live_fibers) {
    bool ran = false;
    if (config.order == (int)Order::kRandom) shuffle(warp_order);
    for (int warp : warp_order) {
      ran |= run_warp(warp);
      if (aborted) return false;
    }
    if (ran || !live_fibers) continue;
    if (config.profile) flush_profile();
    if (advance(timeouts)) {
      if (aborted) return false;
      continue;
    }
    explain_stuck();
    return false;
  }
  if (config.profile) flush_profile();
  return true;
}

static void prepare_threads() {
  const uint32_t *block = config.block, *grid = config.grid;
  for (int i = 0; i < thread_count; i++) {
    Thread& t = fibers[i].thread;
    t.tid[0] = i % block[0], t.tid[1] = i / block[0] % block[1];
    t.tid[2] = i / (block[0] * block[1]);
    for (int axis = 0; axis < 3; axis++) {
      t.ntid[axis] = block[axis];
      t.nctaid[axis] = grid[axis];
    }
    t.lane = i % kWarp, t.warp = i / kWarp, t.warps = warp_count, t.index = i;
    t.shared = shared_window;
    t.static_shared = config.static_shared, t.total_shared = config.total_shared;
  }
}

void run_grid() {
  const uint32_t* grid = config.grid;
  uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
  steps = 0;
  deadline = config.seconds > 0 ? seconds_now() + config.seconds : 0;
  fill_order(warp_order, warp_count);
  fill_order(lane_order, kWarp);
  prepare_threads();
  std::vector<int> block_order;
  fill_order(block_order, (int)blocks);
  if (config.order == (int)Order::kRandom) shuffle(block_order);
  for (int block : block_order) {
    block_index = block;
    start_block(block % grid[0], block / grid[0] % grid[1], block / (grid[0] * grid[1]));
    if (!run_block()) return;
    if (deadline && seconds_now() > deadline) {
      return fail_launch(kLimit, -1, kTooLong, config.seconds);
    }
  }
}

}  // namespace tcemu
