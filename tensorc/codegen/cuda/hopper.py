"""Device functions of sm_90: copies of boxes, mbarriers, warp groups. See `helpers.py`."""

from __future__ import annotations

_F = "__device__ __forceinline__"


def _load(rank: int) -> str:
    coordinates = ", ".join(f"int c{i}" for i in range(rank))
    places = ", ".join(f"%{i + 3}" for i in range(rank))
    values = ", ".join(f'"r"(c{i})' for i in range(rank))
    return f"""// Issue a copy of a box to shared memory; `barrier` counts its bytes.
{_F} void tma_load_{rank}d(
    void* to, const TensorMap& map, {coordinates}, long long* barrier) {{
  asm volatile("cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier"
               "::complete_tx::bytes [%0], [%1, {{{places}}}], [%2];"
               :
               : "r"((unsigned)__cvta_generic_to_shared(to)), "l"(&map),
                 "r"((unsigned)__cvta_generic_to_shared(barrier)), {values}
               : "memory");
}}"""


def _store(rank: int) -> str:
    coordinates = ", ".join(f"int c{i}" for i in range(rank))
    places = ", ".join(f"%{i + 2}" for i in range(rank))
    values = ", ".join(f'"r"(c{i})' for i in range(rank))
    return f"""// Issue a copy of a box from shared memory, of what is inside of the array.
{_F} void tma_store_{rank}d(const TensorMap& map, {coordinates}, const void* from) {{
  asm volatile("cp.async.bulk.tensor.{rank}d.global.shared::cta.tile.bulk_group"
               " [%0, {{{places}}}], [%1];"
               :
               : "l"(&map), "r"((unsigned)__cvta_generic_to_shared(from)), {values}
               : "memory");
}}"""


HOPPER: dict[str, str] = {
    "TensorMap": """// How the copy engine sees an array; the driver makes it.
struct __align__(64) TensorMap {
  unsigned long long opaque[16];
};""",
    **{f"tma_load_{rank}d": _load(rank) for rank in range(1, 6)},
    **{f"tma_store_{rank}d": _store(rank) for rank in range(1, 6)},
    "bulk_commit": f"""// End a group of copies from shared memory.
{_F} void bulk_commit() {{ asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }}""",
    "bulk_wait_read": f"""// Wait until this thread's copies have read what they copy.
{_F} void bulk_wait_read() {{ asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }}""",
    "mbarrier_init": f"""// Make a barrier: so many arrivals, and all bytes expected, end a phase.
{_F} void mbarrier_init(long long* barrier, int arrivals) {{
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :
               : "r"((unsigned)__cvta_generic_to_shared(barrier)), "r"(arrivals)
               : "memory");
}}""",
    "mbarrier_publish": f"""// Let the copy engine see barriers that were made.
{_F} void mbarrier_publish() {{
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}}""",
    "mbarrier_expect": f"""// Arrive, and expect so many bytes in this phase.
{_F} void mbarrier_expect(long long* barrier, int bytes) {{
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"((unsigned)__cvta_generic_to_shared(barrier)), "r"(bytes)
               : "memory");
}}""",
    "mbarrier_arrive_warp": f"""// Arrive once for a warp, when all of its threads have come here.
{_F} void mbarrier_arrive_warp(long long* barrier) {{
  __syncwarp();
  if (threadIdx.x % 32 == 0) {{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];"
                 :
                 : "r"((unsigned)__cvta_generic_to_shared(barrier))
                 : "memory");
  }}
}}""",
    "ring_wait": f"""// Wait for a slot's next phase; its bit of `phases` says which.
{_F} void ring_wait(long long* barriers, int slot, unsigned& phases) {{
  const unsigned barrier = (unsigned)__cvta_generic_to_shared(barriers + slot);
  unsigned done;
  do {{
    asm volatile("{{\\n"
                 ".reg .pred over;\\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\\n"
                 "selp.u32 %0, 1, 0, over;\\n"
                 "}}"
                 : "=r"(done)
                 : "r"(barrier), "r"(phases >> slot & 1)
                 : "memory");
  }} while (!done);
  phases ^= 1u << slot;
}}""",
    "descriptor": f"""// What tensor cores read: swizzled rows of `width` bytes, panels of them.
template <int width, int panel = 16>
{_F} unsigned long long descriptor(const void* tile) {{
  const unsigned long long at = ((unsigned)__cvta_generic_to_shared(tile) & 0x3ffff) >> 4;
  const unsigned long long mode = width == 128 ? 1 : width == 64 ? 2 : 3;
  const unsigned long long eight = 8 * width >> 4;
  return at | (unsigned long long)(panel >> 4) << 16 | eight << 32 | mode << 62;
}}""",
    "wgmma_fence": f"""// Registers are as they should be when the next wgmma begins.
{_F} void wgmma_fence() {{ asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }}""",
    "wgmma_commit": f"""// End a group of wgmma.
{_F} void wgmma_commit() {{ asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }}""",
    "wgmma_wait": f"""// Wait until at most `left` groups of wgmma are still at work.
template <int left> {_F} void wgmma_wait() {{
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
}}""",
    "publish_shared": f"""// Let tensor cores see what the thread has stored to shared memory.
{_F} void publish_shared() {{
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}}""",
    "sync_threads": f"""// Wait for the first `count` threads of the block.
template <int count> {_F} void sync_threads() {{
  asm volatile("bar.sync 1, %0;" ::"n"(count) : "memory");
}}""",
    "sync_threads_or": f"""// Wait for the first `count` threads; whether `any` of them says so.
template <int count> {_F} bool sync_threads_or(bool any) {{
  int found;
  asm volatile("{{\\n"
               ".reg .pred mine, all;\\n"
               "setp.ne.s32 mine, %1, 0;\\n"
               "bar.red.or.pred all, 1, %2, mine;\\n"
               "selp.s32 %0, 1, 0, all;\\n"
               "}}"
               : "=r"(found)
               : "r"((int)any), "n"(count)
               : "memory");
  return found != 0;
}}""",
    "give_registers": f"""// Keep `count` registers in each thread of the warp group, and no more.
template <int count> {_F} void give_registers() {{
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}}""",
    "take_registers": f"""// Wait until each thread of the warp group may have `count` registers.
template <int count> {_F} void take_registers() {{
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}}""",
}
