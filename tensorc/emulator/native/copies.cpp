// cp.async: a copy happens when it is waited for, the last legal moment, so that a missing wait
// reads what was there before. In random order half of them happen at once, which is legal too.
#include "barriers.h"

namespace tcemu {

static void perform(const PendingCopy& copy) {
  memcpy((void*)copy.to, (const void*)copy.from, copy.source_bytes);
  memset((char*)copy.to + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
}

static void cp_async(Thread* thread, uintptr_t to, uintptr_t from, uint32_t bytes,
                     uint32_t source_bytes, int site) {
  Fiber& self = fiber_of(thread);
  self.site = site;
  if (to % bytes || (source_bytes && from % bytes)) {
    if (config.checked) {
      Finding finding = finding_here(kMisaligned, site);
      finding.bytes = (int32_t)bytes;
      finding.offset = to % bytes ? (int64_t)(to - (uintptr_t)shared_window) : (int64_t)from;
      add_finding(finding);
    }
    fail_here(kFault, site, "cp.async of %u bytes between addresses that are not multiples of it",
              bytes);
  }
  PendingCopy copy{to, from, bytes, source_bytes, site, 0};
  if (config.checked) {
    // It may only be as narrow as its alignment; what is zero-filled is not read.
    if (source_bytes) check_access(self, from, (int)source_bytes, kRead, site);
    copy.flight = begin_write_flight(self, to, (int)bytes, site);
  }
  if (config.order == (int)Order::kRandom && random_number() & 1) perform(copy);
  self.copies.open.push_back(copy);
}

static void cp_async_commit(Thread* thread) { fiber_of(thread).copies.commit(); }

static void finish(Fiber& self, const std::vector<PendingCopy>& group) {
  for (const PendingCopy& copy : group) {
    perform(copy);
    if (config.checked) {
      end_write_flight(copy.flight, copy.to, (int)copy.bytes, copy.site, self.thread.index,
                       self.now);
    }
  }
}

static void cp_async_wait(Thread* thread, int groups_left, int) {
  Fiber& self = fiber_of(thread);
  auto& committed = self.copies.committed;
  size_t done = committed.size() > (size_t)groups_left ? committed.size() - groups_left : 0;
  for (size_t i = 0; i < done; i++) finish(self, committed[i]);
  committed.erase(committed.begin(), committed.begin() + done);
}

// The mbarrier counts an arrival when the thread's copies so far are done; here they are now.
static void cp_async_arrive(Thread* thread, uintptr_t barrier, int no_increase, int site) {
  Fiber& self = fiber_of(thread);
  for (const auto& group : self.copies.committed) finish(self, group);
  finish(self, self.copies.open);
  self.copies.clear();
  // Without .noinc the count of the phase grows by this very arrival.
  if (no_increase) complete_mbarrier_arrival(self, barrier, site);
}

void table_copies(Runtime& table) {
  table.cp_async = cp_async;
  table.cp_async_commit = cp_async_commit;
  table.cp_async_wait = cp_async_wait;
  table.cp_async_arrive = cp_async_arrive;
}

}  // namespace tcemu
