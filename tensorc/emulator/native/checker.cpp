// Checked mode: who wrote and who read each byte, and which bytes asynchronous work still holds.
//
// Memory is watched in cells of four bytes; a range is watched in cells of one byte from the first
// narrower access to it. Conflicting accesses must be ordered by the clocks, across blocks they
// never are. An asynchronous copy counts as a write when it is issued and when it is waited for,
// and in between nobody may touch its bytes.
#include <sys/mman.h>

#include <algorithm>
#include <memory>

#include "launch.h"
#include "state.h"

namespace tcemu {

struct Stamp {
  uint32_t block, time;
  int32_t site;
  uint16_t thread;
  uint8_t atomic, async;
};

struct Cell {  // all zero: never touched
  Stamp write, read[2];
  uint32_t write_flight, read_flight;
};

struct Flight {
  bool active;
  uint32_t thread;
  int site;
};

struct Unmap {
  size_t bytes;
  void operator()(void* memory) const { munmap(memory, bytes); }
};

struct Range {
  uintptr_t begin, end;
  int64_t id;
  bool shared;
  bool all_written;  // what wrote it is not known, so nothing of it counts as uninitialized
  uint32_t granule = 4;
  std::unique_ptr<Cell, Unmap> cells;
  std::unique_ptr<uint8_t, Unmap> written;  // of global memory, one for each byte

  size_t size() const { return end - begin; }
};

static std::vector<std::unique_ptr<Range>> global_ranges, launch_ranges;  // each sorted by begin
static std::vector<Finding> findings;
static std::vector<Flight> flights;  // of the block
static uint32_t first_flight;        // the number of flights[0], from 1
static uint32_t launch_serial;       // block_serial before the launch
static std::vector<uint32_t> block_of_serial;

template <class T>
static std::unique_ptr<T, Unmap> zeroed(size_t count) {  // pages that are not touched cost nothing
  size_t bytes = std::max<size_t>(1, count) * sizeof(T);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    fail_here(kMisuse, -1, "there is no memory for the records of checked mode (%zu bytes)", bytes);
  }
  return {(T*)memory, Unmap{bytes}};
}

// ---- Findings

Finding finding_here(FindingKind kind, int site) {
  Finding finding = {};
  finding.kind = kind;
  finding.site = site;
  finding.other_site = -1;
  finding.thread = current ? current->thread.index : kNobody;
  finding.block = block_index;
  finding.other_thread = finding.other_block = kNobody;
  finding.range = -1;
  finding.count = 1;
  return finding;
}

void add_finding(const Finding& finding) {
  constexpr size_t kMost = 200;
  for (Finding& known : findings) {
    if (known.kind == finding.kind && known.site == finding.site &&
        known.other_site == finding.other_site && known.range == finding.range) {
      known.count++;
      return;
    }
  }
  if (findings.size() < kMost) findings.push_back(finding);
}

static Finding finding_at(FindingKind kind, const Range& range, uintptr_t address, int bytes,
                          bool is_write, int site) {
  Finding finding = finding_here(kind, site);
  finding.range = range.id;
  finding.offset = (int64_t)(address - range.begin);
  finding.bytes = bytes;
  finding.is_write = is_write;
  return finding;
}

static void conflict(FindingKind kind, const Range& range, uintptr_t address, int bytes,
                     bool is_write, int site, const Stamp& other) {
  Finding finding = finding_at(kind, range, address, bytes, is_write, site);
  finding.other_site = other.site;
  finding.other_thread = other.thread < thread_count ? other.thread : kNobody;
  finding.other_is_async = other.async;
  finding.other_block = other.block > launch_serial
                            ? block_of_serial[other.block - launch_serial - 1]
                            : kNobody;
  add_finding(finding);
}

// ---- Ranges

static bool before(const std::unique_ptr<Range>& range, uintptr_t address) {
  return range->begin <= address;
}

static Range* find_in(std::vector<std::unique_ptr<Range>>& ranges, uintptr_t address, int bytes) {
  auto next = std::partition_point(ranges.begin(), ranges.end(),
                                   [&](auto& range) { return before(range, address); });
  if (next == ranges.begin()) return nullptr;
  Range* range = std::prev(next)->get();
  return address + bytes <= range->end ? range : nullptr;
}

static Range* find_range(uintptr_t address, int bytes) {
  static Range* last;
  static uint32_t last_serial;
  if (last && last_serial == block_serial && address >= last->begin &&
      address + bytes <= last->end) {
    return last;
  }
  Range* range = find_in(launch_ranges, address, bytes);
  if (!range && !in_shared(address)) range = find_in(global_ranges, address, bytes);
  last = range;
  last_serial = block_serial;
  return range;
}

static void out_of_bounds(uintptr_t address, int bytes, bool is_write, int site) {
  const Range* nearest = nullptr;
  uint64_t smallest = ~uint64_t(0);
  auto consider = [&](const Range& range) {
    if (range.shared != in_shared(address)) return;
    uint64_t distance = address < range.begin ? range.begin - address
                        : address >= range.end ? address - range.end
                                               : 0;
    if (distance < smallest) smallest = distance, nearest = &range;
  };
  for (auto& range : launch_ranges) consider(*range);
  for (auto& range : global_ranges) consider(*range);
  Finding finding = finding_here(kOutOfBounds, site);
  finding.bytes = bytes;
  finding.is_write = is_write;
  finding.offset = (int64_t)address;
  if (nearest && smallest < (uint64_t(1) << 31)) {
    finding = finding_at(kOutOfBounds, *nearest, address, bytes, is_write, site);
  }
  add_finding(finding);
  fail_here(kFault, site, "an access out of bounds");
}

// The cells of a range, fine enough for this access.
static Cell* cells_of(Range& range, uintptr_t address, int bytes) {
  if (!range.cells) range.cells = zeroed<Cell>((range.size() + 3) / 4);
  bool fits = (address - range.begin) % range.granule == 0 && bytes % range.granule == 0;
  if (!fits && range.granule == 4) {
    auto fine = zeroed<Cell>(range.size());
    for (size_t i = 0; i < range.size(); i++) {
      const Cell& cell = range.cells.get()[i / 4];
      // Copy what was touched alone, so that the rest stays without pages.
      if (cell.write.block || cell.read[0].block || cell.write_flight || cell.read_flight) {
        fine.get()[i] = cell;
      }
    }
    range.cells = std::move(fine);
    range.granule = 1;
  }
  return range.cells.get() + (address - range.begin) / range.granule;
}

// ---- Order

static bool is_current(const Range& range, const Stamp& stamp) {
  return range.shared ? stamp.block == block_serial : stamp.block > launch_serial;
}

static bool happened_before(const Fiber& self, const Stamp& stamp) {
  return stamp.block == block_serial && is_ordered(self, stamp.thread, stamp.time);
}

static bool is_flying(uint32_t flight) {
  return flight >= first_flight && flight - first_flight < flights.size() &&
         flights[flight - first_flight].active;
}

static void flight_conflict(FindingKind kind, const Range& range, uintptr_t address, int bytes,
                            bool is_write, int site, uint32_t flight) {
  const Flight& other = flights[flight - first_flight];
  Finding finding = finding_at(kind, range, address, bytes, is_write, site);
  finding.other_site = other.site;
  finding.other_thread = other.thread;
  finding.other_block = block_index;
  finding.other_is_async = 1;
  add_finding(finding);
}

static void check_cell(const Fiber& self, const Cell& cell, const Range& range, uintptr_t address,
                       int bytes, int kind, int site) {
  bool is_write = kind & 1, atomic = kind & 2;
  if (is_flying(cell.write_flight)) {
    flight_conflict(is_write ? kUnwaitedWrite : kUnwaitedRead, range, address, bytes, is_write,
                    site, cell.write_flight);
    return;
  }
  if (is_write && is_flying(cell.read_flight)) {
    flight_conflict(kUnwaitedWrite, range, address, bytes, is_write, site, cell.read_flight);
  }
  if (!is_write && range.shared && cell.write.block != block_serial) {
    add_finding(finding_at(kUninitialized, range, address, bytes, is_write, site));
  }
  const Stamp& write = cell.write;
  if (is_current(range, write) && !(atomic && write.atomic) && !happened_before(self, write)) {
    conflict(is_write ? kRaceWriteWrite : kRaceReadAfterWrite, range, address, bytes, is_write,
             site, write);
  }
  if (!is_write) return;
  for (const Stamp& read : cell.read) {
    if (is_current(range, read) && !(atomic && read.atomic) && !happened_before(self, read)) {
      conflict(kRaceWriteAfterRead, range, address, bytes, is_write, site, read);
      return;
    }
  }
}

// Of the readers since the last write that are not ordered two are kept, of two warps where there
// are such: a writer that follows only one of them is found.
static void record_read(const Fiber& self, const Range& range, Cell& cell, const Stamp& stamp) {
  for (Stamp& slot : cell.read) {
    if (!is_current(range, slot) || happened_before(self, slot)) {
      slot = stamp;
      return;
    }
  }
  bool first = cell.read[0].block == stamp.block &&
               cell.read[0].thread / kWarp == stamp.thread / kWarp;
  cell.read[first ? 0 : 1] = stamp;
}

static void record(const Fiber& self, const Range& range, Cell& cell, int kind, int site) {
  Stamp stamp{block_serial, self.now, site, (uint16_t)self.thread.index, (uint8_t)(kind >> 1), 0};
  if (kind & 1) {
    cell.write = stamp;
    cell.read[0] = cell.read[1] = Stamp{};
  } else {
    record_read(self, range, cell, stamp);
  }
}

// ---- Accesses

static void check_written(Range& range, uintptr_t address, int bytes, bool is_write, int site) {
  if (!range.written) range.written = zeroed<uint8_t>(range.size());
  uint8_t* written = range.written.get() + (address - range.begin);
  if (is_write) {
    memset(written, 1, bytes);
  } else if (!range.all_written && memchr(written, 0, bytes)) {
    add_finding(finding_at(kUninitialized, range, address, bytes, is_write, site));
  }
}

static Range* checked_range(uintptr_t address, int bytes, bool is_write, int site) {
  Range* range = find_range(address, bytes);
  if (!range) {
    if (place_in_stacks(address)) return nullptr;
    out_of_bounds(address, bytes, is_write, site);
  }
  return range;
}

void check_access(Fiber& self, uintptr_t address, int bytes, int kind, int site) {
  if (bytes == 0) return;
  bool is_write = kind & 1;
  Range* found = checked_range(address, bytes, is_write, site);
  if (!found) return;
  Range& range = *found;
  if (address & (bytes - 1) && (bytes & (bytes - 1)) == 0 && bytes <= 16) {
    add_finding(finding_at(kMisaligned, range, address, bytes, is_write, site));
  }
  Cell* cell = cells_of(range, address, bytes);
  for (uint32_t i = 0; i < (uint32_t)bytes; i += range.granule, cell++) {
    check_cell(self, *cell, range, address + i, bytes, kind, site);
    record(self, range, *cell, kind, site);
  }
  if (!range.shared) check_written(range, address, bytes, is_write, site);
  if (config.profile) profile_access(self, address, bytes, kind, site);
}

static void check_thread_access(Thread* thread, uintptr_t address, int bytes, int kind, int site) {
  check_access(fiber_of(thread), address, bytes, kind, site);
}

static void check_local(Thread*, uintptr_t address, int bytes, const void* depot, int size,
                        int site) {
  int64_t offset = (int64_t)(address - (uintptr_t)depot);
  if (offset >= 0 && offset + bytes <= size) return;
  Finding finding = finding_here(kOutOfBounds, site);
  finding.range = kLocalMemory;
  finding.offset = offset;
  finding.bytes = bytes;
  add_finding(finding);
  fail_here(kFault, site, "an access outside of a thread's local memory");
}

// ---- Asynchronous work

static uint32_t new_flight(const Fiber& self, int site) {
  flights.push_back({true, self.thread.index, site});
  return first_flight + (uint32_t)flights.size() - 1;
}

uint32_t begin_write_flight(Fiber& self, uintptr_t address, int bytes, int site) {
  uint32_t flight = new_flight(self, site);
  Range* range = checked_range(address, bytes, true, site);
  if (!range) return flight;
  Cell* cell = cells_of(*range, address, bytes);
  for (uint32_t i = 0; i < (uint32_t)bytes; i += range->granule, cell++) {
    check_cell(self, *cell, *range, address + i, bytes, kWrite, site);
    cell->write_flight = flight;
  }
  if (config.profile) profile_access(self, address, bytes, kWrite, site);
  return flight;
}

// The bytes have arrived; `thread` may be the component of an mbarrier.
void end_write_flight(uint32_t flight, uintptr_t address, int bytes, int site, uint32_t thread,
                      uint32_t time) {
  flights[flight - first_flight].active = false;
  Range* range = find_range(address, bytes);
  if (!range) return;
  Cell* cell = cells_of(*range, address, bytes);
  Stamp stamp{block_serial, time, site, (uint16_t)thread, 0, 1};
  for (uint32_t i = 0; i < (uint32_t)bytes; i += range->granule, cell++) {
    cell->write = stamp;
    cell->read[0] = cell->read[1] = Stamp{};
  }
  if (!range->shared) check_written(*range, address, bytes, true, site);
}

uint32_t begin_read_flight() {
  return new_flight(*current, current->site);
}

void mark_read_flight(Fiber& self, uint32_t flight, uintptr_t address, int bytes, int site) {
  flights[flight - first_flight].site = site;
  Range* range = checked_range(address, bytes, false, site);
  if (!range) return;
  Cell* cell = cells_of(*range, address, bytes);
  for (uint32_t i = 0; i < (uint32_t)bytes; i += range->granule, cell++) {
    check_cell(self, *cell, *range, address + i, bytes, kRead, site);
    record(self, *range, *cell, kRead, site);
    cell->read_flight = flight;
  }
}

void end_read_flight(Fiber& self, uint32_t flight, uintptr_t address, int bytes, int site) {
  flights[flight - first_flight].active = false;
  Range* range = find_range(address, bytes);
  if (!range) return;
  Cell* cell = cells_of(*range, address, bytes);
  for (uint32_t i = 0; i < (uint32_t)bytes; i += range->granule, cell++) {
    record(self, *range, *cell, kRead, site);
  }
}

void reset_shared_shadow() {  // Stamps of earlier blocks are old by their number.
  first_flight += (uint32_t)flights.size();
  flights.clear();
  block_of_serial.push_back(block_index);
}

void table_checker(Runtime& table) {
  table.check_access = check_thread_access;
  table.check_local = check_local;
}

// ---- From the host

static std::unique_ptr<Range> make_range(uintptr_t begin, uint64_t bytes, int64_t id, bool shared) {
  auto range = std::make_unique<Range>();
  range->begin = begin;
  range->end = begin + bytes;
  range->id = id;
  range->shared = shared;
  range->all_written = false;
  return range;
}

static void insert(std::vector<std::unique_ptr<Range>>& ranges, std::unique_ptr<Range> range) {
  auto place = std::partition_point(ranges.begin(), ranges.end(),
                                    [&](auto& other) { return before(other, range->begin); });
  ranges.insert(place, std::move(range));
}

void begin_checks() {
  findings.clear();
  launch_serial = block_serial;
  block_of_serial.clear();
  if (!first_flight) first_flight = 1;
  if (config.checked) return;
  // What a launch writes that is not checked is not known.
  for (auto& range : global_ranges) range->all_written = true;
}

void clear_launch_ranges() { launch_ranges.clear(); }

void add_launch_range(uintptr_t begin, uint64_t bytes, int64_t id, bool shared) {
  auto range = make_range(begin, bytes, id, shared);
  range->all_written = !shared;
  insert(launch_ranges, std::move(range));
}

void add_global_range(uintptr_t begin, uint64_t bytes, int64_t id, bool written) {
  insert(global_ranges, make_range(begin, bytes, id, false));
  find_in(global_ranges, begin, 0)->all_written = written;
}

void remove_global_range(uintptr_t begin) {
  auto next = std::partition_point(global_ranges.begin(), global_ranges.end(),
                                   [&](auto& range) { return before(range, begin); });
  if (next != global_ranges.begin() && (*std::prev(next))->begin == begin) {
    global_ranges.erase(std::prev(next));
  }
}

// The host wrote these bytes, or copied them from `from`, whose state they take.
void mark_written(uintptr_t address, uint64_t bytes, uintptr_t from) {
  Range* range = find_in(global_ranges, address, 0);
  if (!range || range->all_written || address + bytes > range->end) return;
  if (!range->written) range->written = zeroed<uint8_t>(range->size());
  uint8_t* written = range->written.get() + (address - range->begin);
  Range* source = from ? find_in(global_ranges, from, 0) : nullptr;
  if (source && !source->all_written && from + bytes <= source->end) {
    if (!source->written) source->written = zeroed<uint8_t>(source->size());
    memmove(written, source->written.get() + (from - source->begin), bytes);
  } else {
    memset(written, 1, bytes);
  }
}

const std::vector<Finding>& all_findings() { return findings; }

}  // namespace tcemu
