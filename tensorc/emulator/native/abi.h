// What a translated kernel and the runtime share: the state of one CUDA thread, and the table of
// functions through which the kernel calls the runtime. A kernel is a function of one `Thread*`.
//
// `site` numbers the PTX instructions of a module; reports name instructions by it. No standard
// C++ header is included, since every kernel is compiled with this text and reading <cmath> takes
// longer than compiling a small kernel.
#pragma once

#include <stdint.h>

namespace tcemu {

struct Runtime;

struct Thread {
  uint32_t tid[3], ctaid[3], ntid[3], nctaid[3];
  uint32_t lane, warp, warps, index;
  int64_t fuel;                  // backward branches left until the runtime looks at the limits
  unsigned char* shared;         // address 0 of the window of shared memory
  unsigned char* const* params;  // one pointer for each kernel parameter
  const Runtime* rt;
  uint32_t static_shared, total_shared;
};

enum ShuffleMode { kShuffleUp, kShuffleDown, kShuffleBfly, kShuffleIdx };
enum ReduceKind { kReduceAdd, kReduceMin, kReduceMax, kReduceAnd, kReduceOr, kReduceXor };
enum BarrierVote { kVoteNone, kVotePopc, kVoteAnd, kVoteOr };
enum Rounding { kNearest, kTowardZero, kDown, kUp };
enum RoundedOp { kAdd, kSub, kMul, kFma, kDiv, kSqrt };

// Bit 0: it writes. Bit 1: it is atomic, or has a memory order of its own.
enum AccessKind { kRead = 0, kWrite = 1, kAtomicRead = 2, kAtomicUpdate = 3 };

enum ElementFormat { kF16, kBf16, kTf32, kF32, kS8, kU8, kF64, kS32 };

struct MmaShape {
  int m, n, k;
  ElementFormat a, b, d;
};

struct WgmmaShape {
  int n, k;
  ElementFormat a, d;     // B has the format of A
  int scale_a, scale_b;   // 1 or -1
  int trans_a, trans_b;   // 1: the operand is stored with M or N contiguous
};

struct Runtime {
  void (*tick)(Thread*, int site);
  void (*fail)(Thread*, const char* message, int site);
  void (*check_access)(Thread*, uintptr_t address, int bytes, int kind, int site);
  void (*check_local)(Thread*, uintptr_t address, int bytes, const void* depot, int size, int site);

  uint32_t (*barrier)(Thread*, int id, int threads, int vote, int predicate, int site);
  void (*barrier_arrive)(Thread*, int id, int threads, int site);
  void (*warp_sync)(Thread*, uint32_t mask, int site);
  uint32_t (*shuffle)(Thread*, int mode, uint32_t value, uint32_t b, uint32_t c, uint32_t mask,
                      bool* in_range, int site);
  uint32_t (*ballot)(Thread*, int predicate, uint32_t mask, int site);
  uint32_t (*match_any)(Thread*, uint64_t value, uint32_t mask, int site);
  uint32_t (*match_all)(Thread*, uint64_t value, uint32_t mask, bool* all, int site);
  uint32_t (*reduce)(Thread*, int kind, int is_signed, uint32_t value, uint32_t mask, int site);
  uint32_t (*active_mask)(Thread*);

  void (*ldmatrix)(Thread*, uint32_t* out, int count, uintptr_t row, int transposed, int site);
  void (*stmatrix)(Thread*, const uint32_t* in, int count, uintptr_t row, int transposed, int site);
  uint32_t (*movmatrix)(Thread*, uint32_t value, int site);
  void (*mma)(Thread*, const MmaShape*, void* d, const void* a, const void* b, int site);

  void (*cp_async)(Thread*, uintptr_t to, uintptr_t from, uint32_t bytes, uint32_t source_bytes,
                   int site);
  void (*cp_async_commit)(Thread*);
  void (*cp_async_wait)(Thread*, int groups_left, int site);
  void (*cp_async_arrive)(Thread*, uintptr_t barrier, int no_increase, int site);

  void (*mbarrier_init)(Thread*, uintptr_t barrier, uint32_t arrivals, int site);
  void (*mbarrier_inval)(Thread*, uintptr_t barrier, int site);
  uint64_t (*mbarrier_arrive)(Thread*, uintptr_t barrier, uint32_t count, uint32_t expected_bytes,
                              int drop, int site);
  void (*mbarrier_expect)(Thread*, uintptr_t barrier, uint32_t bytes, int site);
  void (*mbarrier_complete)(Thread*, uintptr_t barrier, uint32_t bytes, int site);
  bool (*mbarrier_wait)(Thread*, uintptr_t barrier, uint64_t state, int is_parity, int site);

  void (*bulk_load)(Thread*, uintptr_t to, uintptr_t from, uint32_t bytes, uintptr_t barrier,
                    int site);
  void (*bulk_store)(Thread*, uintptr_t to, uintptr_t from, uint32_t bytes, int site);
  void (*tensor_load)(Thread*, uintptr_t to, uintptr_t map, const int* coordinates, int rank,
                      uintptr_t barrier, int site);
  void (*tensor_store)(Thread*, uintptr_t map, uintptr_t from, const int* coordinates, int rank,
                       int add, int site);
  void (*bulk_commit)(Thread*);
  void (*bulk_wait)(Thread*, int groups_left, int site);

  void (*wgmma)(Thread*, const WgmmaShape*, void* d, uint64_t a, const uint32_t* a_registers,
                uint64_t b, int accumulate, int site);
  void (*wgmma_fence)(Thread*, int site);
  void (*wgmma_commit)(Thread*, int site);
  void (*wgmma_wait)(Thread*, int groups_left, int site);

  // Of accumulators, in checked modules: the group that a wgmma now belongs to; a read of one.
  uint32_t (*wgmma_group)(Thread*);
  void (*wgmma_read)(Thread*, uint32_t group, int site);

  float (*rounded32)(int op, int mode, float a, float b, float c);
  double (*rounded64)(int op, int mode, double a, double b, double c);
  uint64_t (*clock)(Thread*);
  int (*print)(Thread*, uintptr_t format, uintptr_t arguments);
  void (*assert_fail)(Thread*, uintptr_t message, uintptr_t file, uint32_t line, uintptr_t function,
                      int site);
};

}  // namespace tcemu
