// Bulk copies: plain ones and boxes of tensors, to shared memory and back.
//
// A load arrives when no thread can go on without it, the last legal moment. A store happens when
// it is waited for; until then nobody may write what it reads.
#include "barriers.h"

namespace tcemu {

struct TensorMap {  // what cuTensorMapEncodeTiled of the emulated driver puts in a CUtensorMap
  uint64_t base, extent[5], stride[5];  // innermost first; strides in bytes, the first unused
  uint32_t box[5];
  uint16_t element_bytes, format, rank, swizzle;
  uint32_t magic;
};
static_assert(sizeof(TensorMap) == 120, "it must fit the 128 bytes of a CUtensorMap");

constexpr uint32_t kMagic = 0x74634d70;

struct BulkLoad {
  TensorMap map;
  bool is_tensor;
  uintptr_t to, from, barrier;
  int coordinates[5];
  uint32_t bytes;
  uint32_t flight;
  int site;
  Clock* issuer;
};

static std::vector<BulkLoad> loads;

void reset_async() {
  for (BulkLoad& load : loads) order_drop(load.issuer);
  loads.clear();
  reset_barriers();
}

// XORs the number of the 16-byte chunk with the row of the swizzle pattern, both of the address.
static uint32_t swizzled(uint32_t offset, uint32_t mode) {
  uint32_t row_bits = mode == 3 ? 7 : mode == 2 ? 3 : mode == 1 ? 1 : 0;
  return offset ^ ((offset >> 7 & row_bits) << 4);
}

static uint32_t box_rows(const TensorMap& map) {
  uint32_t rows = 1;
  for (int d = 1; d < map.rank; d++) rows *= map.box[d];
  return rows;
}

static uint32_t row_bytes(const TensorMap& map) { return map.box[0] * map.element_bytes; }

// The address of a row of the box in global memory; false where it is outside of the tensor.
static bool global_row(const TensorMap& map, const int* coordinates, uint32_t row,
                       uint64_t* address) {
  bool inside = true;
  *address = map.base;
  for (int d = 1; d < map.rank; d++) {
    int64_t index = coordinates[d] + (int64_t)(row % map.box[d]);
    row /= map.box[d];
    inside &= index >= 0 && index < (int64_t)map.extent[d];
    *address += index * map.stride[d];
  }
  return inside;
}

// Calls visit(global address or 0, shared address, bytes) for each 16-byte chunk or less of a box.
template <class Visit>
static void for_each_chunk(const TensorMap& map, const int* coordinates, uintptr_t shared,
                           Visit visit) {
  uint32_t width = row_bytes(map), offset = (uint32_t)(shared - (uintptr_t)shared_window);
  for (uint32_t row = 0; row < box_rows(map); row++) {
    uint64_t source;
    bool inside = global_row(map, coordinates, row, &source);
    for (uint32_t x = 0; x < width; x += map.element_bytes) {
      int64_t column = coordinates[0] + (int64_t)(x / map.element_bytes);
      bool here = inside && column >= 0 && column < (int64_t)map.extent[0];
      uintptr_t place =
          (uintptr_t)shared_window + swizzled(offset + row * width + x, map.swizzle);
      visit(here ? (uintptr_t)(source + column * map.element_bytes) : 0, place,
            (int)map.element_bytes);
    }
  }
}

static TensorMap read_map(uintptr_t address, int rank, uintptr_t shared, int site) {
  auto map = load<TensorMap>(address);
  if (map.magic != kMagic) fail_here(kMisuse, site, "the operand is not a tensor map");
  if (map.rank != rank) {
    fail_here(kMisuse, site, "a copy of rank %d by a tensor map of rank %d", rank, map.rank);
  }
  uint32_t alignment = map.swizzle == 3 ? 1024 : map.swizzle == 2 ? 512 : map.swizzle ? 256 : 128;
  if ((shared - (uintptr_t)shared_window) % alignment) {
    fail_here(kMisuse, site, "shared memory of this tensor copy must be aligned to %u bytes",
              alignment);
  }
  return map;
}

// Checks the global side in runs, and starts or ends the flight of the shared side.
static void check_global_box(Fiber& self, const TensorMap& map, const int* coordinates, int kind,
                             int site) {
  for (uint32_t row = 0; row < box_rows(map); row++) {
    uint64_t source;
    if (!global_row(map, coordinates, row, &source)) continue;
    int64_t first = coordinates[0] < 0 ? 0 : coordinates[0];
    int64_t last = coordinates[0] + (int64_t)map.box[0];
    if (last > (int64_t)map.extent[0]) last = (int64_t)map.extent[0];
    if (first >= last) continue;
    check_access(self, source + first * map.element_bytes,
                 (int)((last - first) * map.element_bytes), kind, site);
  }
}

static void issue_load(Fiber& self, BulkLoad load) {
  require_barrier(self, load.barrier, load.site);
  if (config.checked) {
    load.flight = begin_write_flight(self, load.to, (int)load.bytes, load.site);
    load.issuer = order_release(self, nullptr);
  }
  loads.push_back(load);
}

static void tensor_load(Thread* thread, uintptr_t to, uintptr_t map, const int* coordinates,
                        int rank, uintptr_t barrier, int site) {
  BulkLoad load{};
  load.map = read_map(map, rank, to, site);
  load.is_tensor = true;
  load.to = to;
  load.barrier = barrier;
  load.site = site;
  for (int d = 0; d < rank; d++) load.coordinates[d] = coordinates[d];
  load.bytes = box_rows(load.map) * row_bytes(load.map);
  if (config.checked) check_global_box(fiber_of(thread), load.map, coordinates, kRead, site);
  issue_load(fiber_of(thread), load);
}

static void bulk_load(Thread* thread, uintptr_t to, uintptr_t from, uint32_t bytes,
                      uintptr_t barrier, int site) {
  if (to % 16 || from % 16 || bytes % 16) {
    fail_here(kFault, site, "a bulk copy whose addresses or size are no multiples of 16");
  }
  BulkLoad load{};
  load.to = to;
  load.from = from;
  load.bytes = bytes;
  load.barrier = barrier;
  load.site = site;
  if (config.checked) check_access(fiber_of(thread), from, (int)bytes, kRead, site);
  issue_load(fiber_of(thread), load);
}

static void perform_load(BulkLoad& load) {
  if (load.is_tensor) {
    for_each_chunk(load.map, load.coordinates, load.to, [](uintptr_t from, uintptr_t to, int n) {
      if (from) {
        memcpy((void*)to, (const void*)from, n);
      } else {
        memset((void*)to, 0, n);
      }
    });
  } else {
    memcpy((void*)load.to, (const void*)load.from, load.bytes);
  }
  if (config.checked) {
    uint32_t time, component = bulk_stamp(load.barrier, load.issuer, &time);
    end_write_flight(load.flight, load.to, (int)load.bytes, load.site, component, time);
    order_drop(load.issuer);
  }
  bulk_arrival(load.barrier, load.bytes);
}

bool perform_one_bulk_load() {
  if (loads.empty()) return false;
  size_t index = config.order == (int)Order::kRandom ? random_number() % loads.size() : 0;
  BulkLoad load = loads[index];
  loads.erase(loads.begin() + index);
  perform_load(load);
  return true;
}

// ---- Stores

// What a box reads of shared memory: what lies inside of the tensor, in chunks of 16 bytes.
static void mark_box(Fiber& self, const TensorMap& map, const BulkRead& copy) {
  uintptr_t last = 0;
  for_each_chunk(map, copy.coordinates, copy.from, [&](uintptr_t to, uintptr_t from, int) {
    uintptr_t chunk = from & ~(uintptr_t)15;
    if (!to || chunk == last) return;
    mark_read_flight(self, copy.flight, chunk, 16, copy.site);
    last = chunk;
  });
}

static void issue_store(Fiber& self, BulkRead copy, const TensorMap* map) {
  if (config.checked) {
    copy.flight = begin_read_flight();
    if (map) {
      mark_box(self, *map, copy);
    } else {
      mark_read_flight(self, copy.flight, copy.from, (int)copy.bytes, copy.site);
    }
  }
  self.bulk_stores.open.push_back(copy);
}

static void bulk_store(Thread* thread, uintptr_t to, uintptr_t from, uint32_t bytes, int site) {
  if (to % 16 || from % 16 || bytes % 16) {
    fail_here(kFault, site, "a bulk copy whose addresses or size are no multiples of 16");
  }
  BulkRead copy{};
  copy.to = to;
  copy.from = from;
  copy.bytes = bytes;
  copy.site = site;
  if (config.checked) check_access(fiber_of(thread), to, (int)bytes, kWrite, site);
  issue_store(fiber_of(thread), copy, nullptr);
}

static void tensor_store(Thread* thread, uintptr_t map_address, uintptr_t from,
                         const int* coordinates, int rank, int add, int site) {
  TensorMap map = read_map(map_address, rank, from, site);
  if (add && map.format != kF32) {
    fail_here(kMisuse, site, "a tensor copy that adds is there for float32 alone");
  }
  BulkRead copy{};
  memcpy(copy.map, &map, sizeof map);
  copy.from = from;
  copy.bytes = box_rows(map) * row_bytes(map);
  copy.rank = rank;
  copy.add = add;
  copy.site = site;
  for (int d = 0; d < rank; d++) copy.coordinates[d] = coordinates[d];
  if (config.checked) {
    check_global_box(fiber_of(thread), map, coordinates, add ? kAtomicUpdate : kWrite,
                     site);
  }
  issue_store(fiber_of(thread), copy, &map);
}

static void perform_store(Fiber& self, const BulkRead& copy) {
  if (copy.rank) {
    TensorMap map;
    memcpy(&map, copy.map, sizeof map);
    for_each_chunk(map, copy.coordinates, copy.from, [&](uintptr_t to, uintptr_t from, int n) {
      if (!to) return;
      if (copy.add) {
        store(to, load<float>(to) + load<float>(from));
      } else {
        memcpy((void*)to, (const void*)from, n);
      }
    });
  } else {
    memcpy((void*)copy.to, (const void*)copy.from, copy.bytes);
  }
  if (config.checked) {
    end_read_flight(self, copy.flight, copy.from, (int)copy.bytes, copy.site);
  }
}

static void bulk_commit(Thread* thread) { fiber_of(thread).bulk_stores.commit(); }

static void bulk_wait(Thread* thread, int groups_left, int) {
  Fiber& self = fiber_of(thread);
  auto& committed = self.bulk_stores.committed;
  size_t done = committed.size() > (size_t)groups_left ? committed.size() - groups_left : 0;
  for (size_t i = 0; i < done; i++) {
    for (const BulkRead& copy : committed[i]) perform_store(self, copy);
  }
  committed.erase(committed.begin(), committed.begin() + done);
}

void table_tensors(Runtime& table) {
  table.tensor_load = tensor_load;
  table.bulk_load = bulk_load;
  table.tensor_store = tensor_store;
  table.bulk_store = bulk_store;
  table.bulk_commit = bulk_commit;
  table.bulk_wait = bulk_wait;
}

}  // namespace tcemu
