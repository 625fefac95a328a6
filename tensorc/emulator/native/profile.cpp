// The memory profile: what the lanes of a warp ask for by the k-th execution of an instruction
// since the last barrier is one request. A request to shared memory takes wavefronts, each of
// which serves every bank once; one to global memory takes sectors of 32 bytes.
#include <algorithm>
#include <map>

#include "launch.h"

namespace tcemu {

struct Request {
  uint32_t lanes;
  uintptr_t address[kWarp];
};

struct SiteProfile {
  ProfileEntry entry;
  std::vector<std::vector<Request>> by_warp;
  std::vector<uint32_t> executions;  // by thread, since the last flush
};

static std::map<int, SiteProfile> sites;  // by site, space and direction
static std::vector<ProfileEntry> entries;

void begin_profile() { sites.clear(); }

void profile_access(Fiber& self, uintptr_t address, int bytes, int kind, int site) {
  bool shared = in_shared(address), is_write = kind & 1;
  // A cp.async is a read of global memory and a write of shared memory by one instruction.
  SiteProfile& profile = sites[site * 4 + shared * 2 + is_write];
  if (profile.executions.empty()) {
    profile.entry = {site, bytes, shared, is_write, 0, 0, 0};
    profile.executions.assign(thread_count, 0);
    profile.by_warp.resize(warp_count);
  }
  uint32_t execution = profile.executions[self.thread.index]++;
  auto& requests = profile.by_warp[self.thread.warp];
  if (requests.size() <= execution) requests.resize(execution + 1);
  Request& request = requests[execution];
  request.lanes |= 1u << self.thread.lane;
  request.address[self.thread.lane] = address;
}

// Wide accesses are served in groups of lanes that move 128 bytes together.
static void count_wavefronts(const Request& request, ProfileEntry& entry) {
  int group = entry.bytes <= 4 ? 32 : entry.bytes <= 8 ? 16 : 8;
  for (int first = 0; first < kWarp; first += group) {
    std::vector<uintptr_t> words;
    for (int lane = first; lane < first + group; lane++) {
      if (!(request.lanes >> lane & 1)) continue;
      uintptr_t offset = request.address[lane] - (uintptr_t)shared_window;
      for (uintptr_t word = offset / 4; word * 4 < offset + entry.bytes; word++) {
        words.push_back(word);
      }
    }
    if (words.empty()) continue;
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    uint32_t in_bank[32] = {}, most = 0;
    for (uintptr_t word : words) most = std::max(most, ++in_bank[word % 32]);
    entry.transactions += most;
    entry.ideal++;
  }
}

static void count_sectors(const Request& request, ProfileEntry& entry) {
  std::vector<uintptr_t> sectors, addresses;
  for (int lane = 0; lane < kWarp; lane++) {
    if (!(request.lanes >> lane & 1)) continue;
    uintptr_t address = request.address[lane];
    for (uintptr_t s = address / 32; s * 32 < address + entry.bytes; s++) sectors.push_back(s);
    addresses.push_back(address);
  }
  auto distinct = [](std::vector<uintptr_t>& values) {
    std::sort(values.begin(), values.end());
    return (uint64_t)(std::unique(values.begin(), values.end()) - values.begin());
  };
  entry.transactions += distinct(sectors);
  entry.ideal += std::max<uint64_t>(1, (distinct(addresses) * entry.bytes + 31) / 32);
}

void flush_profile() {
  for (auto& [key, profile] : sites) {
    std::fill(profile.executions.begin(), profile.executions.end(), 0);
    for (auto& requests : profile.by_warp) {
      for (const Request& request : requests) {
        if (!request.lanes) continue;
        profile.entry.requests++;
        if (profile.entry.is_shared) {
          count_wavefronts(request, profile.entry);
        } else {
          count_sectors(request, profile.entry);
        }
      }
      requests.clear();
    }
  }
}

const std::vector<ProfileEntry>& finish_profile() {
  entries.clear();
  for (auto& [key, profile] : sites) {
    if (profile.entry.requests) entries.push_back(profile.entry);
  }
  return entries;
}

}  // namespace tcemu
