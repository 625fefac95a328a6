// The state of one launch. There is one launch at a time in a process, on one OS thread: blocks
// run one after another, and each CUDA thread of a block is a fiber.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "half.h"

namespace tcemu {

constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;
constexpr int kBarriers = 17;                      // 16 of a block, and the cluster's
constexpr uint64_t kSharedWindow = uint64_t(1) << 32;  // every 32-bit address: the rest faults
constexpr uint32_t kSharedLimit = 512 * 1024;
constexpr unsigned char kPoison = 0xFF;            // reads as NaN in every float format
constexpr int64_t kFuel = 1 << 16;

enum class State : uint8_t { kReady, kYielded, kAtWarpOp, kAtBarrier, kAtMbarrier, kDone };
enum class Order : int32_t { kForward, kReverse, kRandom };

// Why a launch ended early. Python maps these to messages and to the driver's error codes.
enum Outcome : int32_t {
  kFinished = 0,
  kFault = 1,
  kTrap = 2,
  kAssert = 3,
  kStuck = 4,
  kLimit = 5,
  kMisuse = 6,
};

// What checked mode reports; the order is that of FindingKind in report.py.
enum FindingKind : int32_t {
  kRaceWriteWrite,
  kRaceReadAfterWrite,
  kRaceWriteAfterRead,
  kOutOfBounds,
  kMisaligned,
  kUninitialized,
  kUnwaitedRead,
  kUnwaitedWrite,
  kDivergence,
  kDeadlock,
  kWrongUse,
};

constexpr uint32_t kNobody = ~0u;
constexpr int64_t kLocalMemory = -2, kAccumulators = -4;  // ranges that are none; module.py

struct Finding {  // mirrored in bindings.py
  int32_t kind, site, other_site, bytes;
  uint32_t thread, other_thread, block, other_block;
  int64_t range, offset;
  uint64_t count;
  int32_t is_write, other_is_async;
  char detail[160];
};

struct LaunchConfig {  // mirrored in bindings.py
  uint32_t grid[3], block[3];
  uint32_t static_shared, total_shared;
  uint32_t stack_bytes;
  int32_t order;
  uint64_t seed;
  int32_t checked, profile;
  double seconds;  // of processor time; 0 for no limit
  uint64_t steps;  // backward branches of all threads; 0 for no limit
};

struct Clock;

struct PendingCopy {
  uintptr_t to, from;
  uint32_t bytes, source_bytes;
  int site;
  uint32_t flight;
};

struct BulkRead {  // a bulk store, which reads shared memory until it is waited for
  unsigned char map[128];
  uintptr_t to, from;
  uint32_t bytes;
  int coordinates[5];
  int rank, add, site;
  uint32_t flight;
};

struct TileReads {  // what a wgmma reads: runs of bytes of shared memory
  std::vector<std::pair<uintptr_t, uint32_t>> runs;
  int site;
  uint32_t flight;
};

template <class T>
struct Groups {  // asynchronous work of a thread: not committed yet, then group by group
  std::vector<T> open;
  std::vector<std::vector<T>> committed;

  void commit() {
    committed.push_back(std::move(open));
    open.clear();
  }
  void clear() {
    open.clear();
    committed.clear();
  }
};

struct Fiber {
  Thread thread;  // first, so that a Thread* is a Fiber*
  void* stack_pointer;
  unsigned char* stack;
  State state;
  bool idle;           // its stack is at the start of a kernel call, so it need not be made anew
  bool timed_out;      // of a wait for an mbarrier
  int site;            // the instruction waited at
  uint32_t mask;       // lanes of the warp operation waited at
  void* operand;       // of that operation
  uint32_t barrier;    // waited at
  uint32_t result;     // of a barrier that votes
  uintptr_t mbarrier;  // waited for
  uint32_t parity;
  uint32_t now;  // its own time, for the order of accesses
  Clock* seen;
  Groups<PendingCopy> copies;
  Groups<BulkRead> bulk_stores;
  Groups<TileReads> tiles;
  uint32_t wgmma_committed, wgmma_done;  // groups
  int wgmma_site;                        // the last one issued
};

struct PendingWarpOp {
  int site;
  uint32_t mask, arrived;
};

struct BlockBarrier {
  int site;
  uint32_t arrived, expected, popc, all, any;
  bool counted;
  Clock* clock;
};

extern LaunchConfig config;
extern void (*kernel_entry)(Thread*);
extern Fiber fibers[kMaxThreads];
extern Fiber* current;
extern int thread_count, warp_count, live_fibers;
extern uint32_t block_index;   // within the grid
extern uint32_t block_serial;  // of all launches
extern bool aborted;
extern Outcome outcome;
extern std::string error_text;
extern int error_site;
extern unsigned char* shared_window;
extern uint64_t random_state;
extern uint64_t switches;

inline Fiber& fiber_of(Thread* thread) { return *(Fiber*)thread; }
inline bool in_shared(uintptr_t address) {
  return address - (uintptr_t)shared_window < kSharedWindow;
}

uint64_t random_number();
[[noreturn]] void fail_here(Outcome why, int site, const char* format, ...)
    __attribute__((format(printf, 3, 4)));
void fail_launch(Outcome why, int site, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

// fiber.cpp
void switch_to_scheduler();
void switch_to_fiber(Fiber& fiber);
bool allocate_stacks(int count, size_t bytes);
void start_fiber(int index);
const char* place_in_stacks(uintptr_t address);

// scheduler.cpp
void run_grid();
void wait_in_state(State state, int site);
typedef void (*WarpFunction)(void** operands, uint32_t mask);  // by lane; null where absent
void warp_operation(Fiber& self, uint32_t mask, void* operand, WarpFunction run, int site);
void wake_mbarrier_waiters(uintptr_t address);

// clocks.cpp: which accesses are ordered, in checked mode
void reset_clocks();
void order_lanes(int first, uint32_t mask);
Clock* order_release(Fiber& self, Clock* into);
Clock* order_join(Clock* into, const Clock* other);
void order_acquire(Fiber& self, Clock* from);
void order_drop(Clock* clock);
void set_component(Clock*& clock, int component, uint32_t time);
bool is_ordered(const Fiber& self, uint32_t thread, uint32_t time);

// checker.cpp
void reset_shared_shadow();
void check_access(Fiber& self, uintptr_t address, int bytes, int kind, int site);
uint32_t begin_write_flight(Fiber& self, uintptr_t address, int bytes, int site);
void end_write_flight(uint32_t flight, uintptr_t address, int bytes, int site, uint32_t thread,
                      uint32_t time);
uint32_t begin_read_flight();
void mark_read_flight(Fiber& self, uint32_t flight, uintptr_t address, int bytes, int site);
void end_read_flight(Fiber& self, uint32_t flight, uintptr_t address, int bytes, int site);
void add_finding(const Finding& finding);
Finding finding_here(FindingKind kind, int site);

// profile.cpp
void profile_access(Fiber& self, uintptr_t address, int bytes, int kind, int site);
void flush_profile();

// tensors.cpp, barriers.cpp
void reset_async();
bool perform_one_bulk_load();

// The functions of the Runtime table, by file
void table_warp(Runtime&);
void table_matrix(Runtime&);
void table_copies(Runtime&);
void table_barriers(Runtime&);
void table_tensors(Runtime&);
void table_wgmma(Runtime&);
void table_host(Runtime&);
void table_scheduler(Runtime&);
void table_checker(Runtime&);

}  // namespace tcemu
