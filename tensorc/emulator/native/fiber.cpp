// Fibers: a stack each, and the switch between them and the scheduler.
#include <sys/mman.h>
#include <unistd.h>

#include "state.h"

#if !defined(__x86_64__) || defined(TCEMU_UCONTEXT)
#define TCEMU_PORTABLE_SWITCH 1
#include <ucontext.h>
#endif

namespace tcemu {

static unsigned char* stacks;
static size_t stack_bytes;  // with the guard page below
static int stack_count;

static void fiber_main() {
  for (;;) {
    kernel_entry(&current->thread);
    current->state = State::kDone;
    current->idle = true;
    switch_to_scheduler();
  }
}

#ifdef TCEMU_PORTABLE_SWITCH

static ucontext_t scheduler_context, contexts[kMaxThreads];

void switch_to_scheduler() { swapcontext(&contexts[current - fibers], &scheduler_context); }
void switch_to_fiber(Fiber& fiber) { swapcontext(&scheduler_context, &contexts[&fiber - fibers]); }

static void prepare_stack(Fiber& fiber, int index) {
  ucontext_t& context = contexts[index];
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = stack_bytes - getpagesize();
  context.uc_link = &scheduler_context;
  makecontext(&context, fiber_main, 0);
}

#else

// Saves the callee-saved registers alone. swapcontext also makes two system calls, for the signal
// mask, and takes several times as long.
extern "C" void tcemu_switch(void** save_stack_pointer, void* to_stack_pointer);
asm(R"(
.text
.globl tcemu_switch
.hidden tcemu_switch
.type tcemu_switch,@function
tcemu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

static void* scheduler_stack_pointer;

void switch_to_scheduler() { tcemu_switch(&current->stack_pointer, scheduler_stack_pointer); }
void switch_to_fiber(Fiber& fiber) {
  tcemu_switch(&scheduler_stack_pointer, fiber.stack_pointer);
}

static void prepare_stack(Fiber& fiber, int index) {
  // Colour the stacks: with all tops at the same offset, all frames fight for the same cache sets.
  size_t colour = (size_t)(index % 128) * 448;
  auto** top = (void**)(fiber.stack + stack_bytes - getpagesize() - 64 - colour);
  *--top = nullptr;  // Where a return address would be: aligns the stack of fiber_main.
  *--top = (void*)fiber_main;
  top -= 6;
  memset(top, 0, 6 * sizeof(void*));
  fiber.stack_pointer = top;
}

#endif

bool allocate_stacks(int count, size_t bytes) {
  size_t page = getpagesize();
  bytes = (bytes + 128 * 448 + 2 * page) / page * page;
  if (count <= stack_count && bytes <= stack_bytes) return true;
  if (stacks) munmap(stacks, stack_bytes * stack_count);
  stack_count = count > stack_count ? count : stack_count;
  stack_bytes = bytes > stack_bytes ? bytes : stack_bytes;
  void* mapped = mmap(nullptr, stack_bytes * stack_count, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    stacks = nullptr;
    stack_count = 0;
    return false;
  }
  stacks = (unsigned char*)mapped;
  for (int i = 0; i < stack_count; i++) {
    mprotect(stacks + i * stack_bytes, page, PROT_NONE);
    fibers[i].stack = stacks + i * stack_bytes + page;
    fibers[i].idle = false;
  }
  return true;
}

void start_fiber(int index) {
  Fiber& fiber = fibers[index];
  if (!fiber.idle) prepare_stack(fiber, index);
  fiber.idle = false;
  fiber.state = State::kReady;
}

// What an address in the stacks means, or null.
const char* place_in_stacks(uintptr_t address) {
  uintptr_t offset = address - (uintptr_t)stacks;
  if (!stacks || offset >= stack_bytes * stack_count) return nullptr;
  return offset % stack_bytes < (size_t)getpagesize() ? "the end of a thread's stack"
                                                      : "a thread's local memory";
}

}  // namespace tcemu
