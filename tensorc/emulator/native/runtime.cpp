// The runtime as one translation unit, and its entry points, which bindings.py calls.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csetjmp>
#include <csignal>

#include "launch.h"

#define TCEMU_API extern "C" __attribute__((visibility("default")))

#include "barriers.cpp"
#include "checker.cpp"
#include "clocks.cpp"
#include "copies.cpp"
#include "fiber.cpp"
#include "host.cpp"
#include "matrix.cpp"
#include "profile.cpp"
#include "scheduler.cpp"
#include "tensors.cpp"
#include "warp.cpp"
#include "wgmma.cpp"

namespace tcemu {

unsigned char* shared_window;

static Runtime table;
static uint32_t shared_open;  // bytes of the window that may be touched
static std::vector<ProfileEntry> profile_result;
static sigjmp_buf fault_return;
static volatile uintptr_t fault_address;
alignas(16) static char signal_stack[64 * 1024];

// Every 32-bit shared address lies in the window; what the block does not have may not be touched.
static bool open_shared(uint32_t bytes) {
  if (!shared_window) {
    void* mapped = mmap(nullptr, kSharedWindow + 65536, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return false;
    shared_window = (unsigned char*)(((uintptr_t)mapped + 65535) / 65536 * 65536);
  }
  uint32_t page = getpagesize(), wanted = (bytes + page - 1) / page * page;
  if (wanted > shared_open) mprotect(shared_window, wanted, PROT_READ | PROT_WRITE);
  if (wanted < shared_open) mprotect(shared_window + wanted, shared_open - wanted, PROT_NONE);
  shared_open = wanted;
  return true;
}

static void on_fault(int, siginfo_t* info, void*) {
  fault_address = (uintptr_t)info->si_addr;
  siglongjmp(fault_return, 1);
}

static void report_fault() {
  const char* place = place_in_stacks(fault_address);
  char text[120];
  if (in_shared(fault_address)) {
    snprintf(text, sizeof text, "shared address %#llx, where the block has %u bytes",
             (unsigned long long)(fault_address - (uintptr_t)shared_window), config.total_shared);
  } else {
    snprintf(text, sizeof text, "%s",
             place ? place : "an address of global memory that is not allocated");
  }
  const Thread& t = current->thread;
  fail_launch(kFault, -1, "the kernel touched %s (block %u,%u,%u thread %u,%u,%u)%s", text,
              t.ctaid[0], t.ctaid[1], t.ctaid[2], t.tid[0], t.tid[1], t.tid[2],
              config.checked ? "" : "; a checked launch names the statement");
}

// A page that a kernel may not touch must end the launch, and not the process.
static void run_guarded() {
  stack_t stack = {}, old_stack;
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, &old_stack);
  struct sigaction action = {}, old_segv, old_bus;
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &old_segv);
  sigaction(SIGBUS, &action, &old_bus);
  if (sigsetjmp(fault_return, 1)) {
    report_fault();
  } else {
    run_grid();
  }
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
  sigaltstack(&old_stack, nullptr);
}

static void fill_table() {
  table_scheduler(table);
  table_checker(table);
  table_warp(table);
  table_matrix(table);
  table_copies(table);
  table_barriers(table);
  table_tensors(table);
  table_wgmma(table);
  table_host(table);
}

static Outcome run(void (*kernel)(Thread*), unsigned char* const* params) {
  kernel_entry = kernel;
  thread_count = config.block[0] * config.block[1] * config.block[2];
  warp_count = (thread_count + kWarp - 1) / kWarp;
  random_state = config.seed * 2654435761u + 88172645463325252ull;
  aborted = false;
  outcome = kFinished;
  error_text.clear();
  error_site = -1;
  switches = 0;
  printed.clear();
  current = nullptr;
  if (thread_count < 1 || thread_count > kMaxThreads || config.total_shared > kSharedLimit ||
      !open_shared(config.total_shared) || !allocate_stacks(thread_count, config.stack_bytes)) {
    return kMisuse;
  }
  fill_table();
  for (int i = 0; i < thread_count; i++) {
    fibers[i].thread.rt = &table;
    fibers[i].thread.params = params;
  }
  begin_checks();
  begin_profile();
  run_guarded();
  current = nullptr;
  profile_result = finish_profile();
  return outcome;
}

}  // namespace tcemu

using namespace tcemu;

TCEMU_API void tcemu_begin(const LaunchConfig* launch_config) {
  config = *launch_config;
  clear_launch_ranges();
  open_shared(config.total_shared);
}

TCEMU_API void tcemu_add_shared(uint32_t offset, uint64_t bytes, int64_t id) {
  add_launch_range((uintptr_t)shared_window + offset, bytes, id, true);
}

TCEMU_API void tcemu_add_constant(uintptr_t address, uint64_t bytes, int64_t id) {
  add_launch_range(address, bytes, id, false);
}

TCEMU_API int tcemu_launch(void (*kernel)(Thread*), unsigned char* const* params) {
  return run(kernel, params);
}

TCEMU_API void tcemu_add_global(uintptr_t address, uint64_t bytes, int64_t id, int written) {
  add_global_range(address, bytes, id, written != 0);
}

TCEMU_API void tcemu_remove_global(uintptr_t address) { remove_global_range(address); }

TCEMU_API void tcemu_mark_written(uintptr_t address, uint64_t bytes, uintptr_t from) {
  mark_written(address, bytes, from);
}

TCEMU_API const char* tcemu_error() { return error_text.c_str(); }
TCEMU_API int tcemu_error_site() { return error_site; }
TCEMU_API const char* tcemu_printed() { return printed.c_str(); }
TCEMU_API uint64_t tcemu_switches() { return switches; }
TCEMU_API int tcemu_finding_count() { return (int)all_findings().size(); }
TCEMU_API const Finding* tcemu_finding(int i) { return &all_findings()[i]; }
TCEMU_API int tcemu_profile_count() { return (int)profile_result.size(); }
TCEMU_API const ProfileEntry* tcemu_profile(int i) { return &profile_result[i]; }
