"""Planted bugs: one edit each of a correct kernel, or of its launch, and what must be reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tensorc.emulator import FindingKind as K

RACE = (K.RACE_WRITE_WRITE, K.RACE_READ_AFTER_WRITE, K.RACE_WRITE_AFTER_READ)
UNWAITED = (K.UNWAITED_READ, K.UNWAITED_WRITE)


@dataclass(frozen=True)
class Bug:
    """Replace `old` by `new` in the kernel of `case`, or launch it with `options`.

    One of `kinds` must be found, in `buffer`; its source line, or that of the statement that it
    conflicts with, holds `line`.
    """

    group: str
    name: str
    case: str
    kinds: tuple[K, ...]
    buffer: str
    line: str
    old: str = ""
    new: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def plant(self, source: str) -> str:
        """The edited kernel; `old` must occur exactly once."""
        if not self.old:
            return source
        assert source.count(self.old) == 1, f"{self.old!r} occurs {source.count(self.old)} times"
        return source.replace(self.old, self.new)


def _shared_race(name: str, case: str, buffer: str, line: str, old: str, new: str = "") -> Bug:
    return Bug("race in shared memory", name, case, RACE, f"shared {buffer}", line, old, new)


def _block_race(name: str, case: str, argument: int, line: str, old: str, new: str) -> Bug:
    buffer = f"argument {argument}"
    return Bug("race between blocks", name, case, RACE, buffer, line, old, new)


def _outside(name: str, case: str, buffer: str, line: str, old: str, new: str) -> Bug:
    return Bug("out of bounds", name, case, (K.OUT_OF_BOUNDS,), buffer, line, old, new)


def _misaligned(name: str, case: str, buffer: str, line: str, old: str, new: str) -> Bug:
    return Bug("misaligned", name, case, (K.MISALIGNED,), buffer, line, old, new)


def _unset(name: str, case: str, buffer: str, line: str, old: str, new: str = "") -> Bug:
    return Bug("uninitialized", name, case, (K.UNINITIALIZED,), buffer, line, old, new)


def _barrier(name: str, case: str, kind: K, line: str, old: str, new: str) -> Bug:
    return Bug("barriers", name, case, (kind,), "", line, old, new)


def _wait(name: str, case: str, buffer: str, line: str, old: str, new: str = "") -> Bug:
    kinds = (*UNWAITED, *RACE, K.UNINITIALIZED)
    return Bug("asynchronous waits", name, case, kinds, f"shared {buffer}", line, old, new)


def _overflow(name: str, case: str, buffer: str, line: str, old: str, new: str) -> Bug:
    where = f"shared {buffer}"
    return Bug("shared overflow", name, case, (K.OUT_OF_BOUNDS,), where, line, old, new)


_WAIT = 'asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");'
_GIVE = "arrive(&empty[i % 2]);  // the consumers have read it"

BUGS = [
    _shared_race(
        *("no barrier before tiles are overwritten", "sgemm", "As", "As["),
        "__syncthreads();  // the next iteration overwrites the tiles",
    ),
    _shared_race(
        *("no barrier between two uses of a buffer", "softmax", "partial", "partial["),
        "__syncthreads();  // `partial` is used again below",
    ),
    _shared_race(
        *("no barrier between store and load", "transpose", "tile", "tile["),
        *("__syncthreads();", "__syncwarp();"),
    ),
    _shared_race(
        *("no barrier inside of a tree", "sum_squares", "partial", "partial["),
        *("    __syncthreads();", "    if (half == 64) __syncthreads();"),
    ),
    _shared_race(
        *("no barrier between zeroing and counting", "histogram", "bins", "bins["),
        "__syncthreads();  // all bins are zero",
    ),
    _shared_race(
        *("no barrier between counting and adding", "histogram", "bins", "bins["),
        "__syncthreads();  // all is counted",
    ),
    _shared_race(
        *("a consumer that does not wait", "relay", "box", "box["),
        *("sync(2);  // the box is full", "arrive(2);"),
    ),
    _block_race(
        *("blocks add to one output without an atomic", "sum_squares", 1, "*out"),
        *("atomicAdd(out, partial[0])", "*out += partial[0]"),
    ),
    _block_race(
        *("blocks write one tile", "transpose", 1, "y[("),
        *("y[(blockIdx.x * 32 + r)", "y[(r)"),
    ),
    _block_race(
        *("parts of blocks overlap", "vector_add", 2, "z"),
        *("(blockIdx.x * 256 + threadIdx.x)", "(blockIdx.x * 255 + threadIdx.x)"),
    ),
    _block_race(
        *("two blocks write one row", "softmax", 1, "y[c]"),
        *("Y + (long long)blockIdx.x", "Y + (long long)(blockIdx.x / 2)"),
    ),
    _block_race(
        *("counts are added without an atomic", "histogram", 1, "counts[b]"),
        *("atomicAdd(&counts[b], bins[b]);", "counts[b] += bins[b];"),
    ),
    _outside(
        *("16 bytes read past the end", "vector_add", "argument 0", "x + i"),
        *("if (i + 3 < n) {", "if (i < n) {"),
    ),
    _outside(
        *("a row read one too far", "softmax", "argument 0", "__ldg"),
        *("c < columns; c += 256) largest", "c <= columns; c += 256) largest"),
    ),
    _outside(
        *("one element too many", "sum_squares", "argument 0", "x[i]"),
        *("i < n;", "i <= n;"),
    ),
    _outside(
        *("a tile loaded past the last", "gemm_mma", "argument 1", "copy_async_16(Bs"),
        *("if (k_tile + 2 < k_tiles)", "if (k_tile + 2 <= k_tiles + 100)"),
    ),
    _outside(
        *("a row before the first", "transpose", "argument 0", "tile[r][tx] ="),
        *(
            "(blockIdx.y * 32 + r) * n + blockIdx.x",
            "((int)blockIdx.y * 32 + r - 1) * n + (int)blockIdx.x",
        ),
    ),
    _outside(
        *("a result written past the end", "vector_add", "argument 2", "z"),
        *("float4*>(z + i)", "float4*>(z + i + n)"),
    ),
    _misaligned(
        *("16 bytes from an odd address", "vector_add", "argument 0", "x + i"),
        *("float4*>(x + i)", "float4*>(x + i - (i > 0))"),
    ),
    _misaligned(
        *("16 bytes to an odd address", "vector_add", "argument 2", "z + i"),
        *("float4*>(z + i)", "float4*>(z + i - (i > 0))"),
    ),
    _misaligned(
        *("a tile that starts one element late", "sgemm", "argument 0", "a_tile"),
        *("float4*>(a_tile + k0)", "float4*>(a_tile + k0 - (a_row > 0))"),
    ),
    _misaligned(
        *("rows of 129 stored four at a time", "sgemm", "shared Bs", "Bs["),
        *("float Bs[8][128]", "float Bs[8][129]"),
    ),
    _misaligned(
        *("two elements of a fragment at an odd address", "gemm_mma", "argument 2", "out"),
        *(
            "float* out = C + (long long)row * N + column;",
            "float* out = C + (long long)row * N + column - (row > 0);",
        ),
    ),
    _unset(
        *("a buffer that most threads do not fill", "sum_squares", "shared partial", "partial"),
        *("partial[threadIdx.x] = sum;", "if (sum < 1.0f) partial[threadIdx.x] = sum;"),
    ),
    _unset(
        *("the last row of a tile is not loaded", "transpose", "shared tile", "tile["),
        *(
            "for (int r = ty; r < 32; r += 8) {\n    tile",
            "for (int r = ty; r < 31; r += 8) {\n    tile",
        ),
    ),
    _unset(
        *("the last warp's result is missing", "softmax", "shared partial", "partial["),
        *(
            "if (lane == 0) partial[warp] = largest;",
            "if (lane == 0 && warp < 7) partial[warp] = largest;",
        ),
    ),
    _unset(
        *("an output is added to that nobody set", "vector_add", "argument 2", "z[i]"),
        *("z[i] = x[i] + y[i]", "z[i] += x[i] + y[i]"),
    ),
    _unset(
        *("counters that start at what was there", "histogram", "shared bins", "bins["),
        "for (int b = threadIdx.x; b < 256; b += 128) bins[b] = 0;",
    ),
    _barrier(
        *("a barrier that half of the block reaches", "softmax", K.DIVERGENCE, "__syncthreads"),
        *("__syncthreads();  // `partial` is used again below", "if (warp < 4) __syncthreads();"),
    ),
    _barrier(
        *("a shuffle by half of a warp", "softmax", K.DIVERGENCE, "__shfl_down_sync"),
        *(
            "for (int o = 16; o > 0; o /= 2) sum +=",
            "for (int o = 16; o > 0; o /= 2) if (lane < 16) sum +=",
        ),
    ),
    _barrier(
        *("threads that leave before a barrier", "sum_squares", K.DIVERGENCE, "__syncthreads"),
        *(
            "partial[threadIdx.x] = sum;",
            "partial[threadIdx.x] = sum;\n  if (threadIdx.x > 100) return;",
        ),
    ),
    _barrier(
        *("a barrier in divergent code", "sum_squares", K.DIVERGENCE, "__syncthreads"),
        *(
            "    __syncthreads();\n    if (threadIdx.x < half)",
            "    if (threadIdx.x < half) __syncthreads();\n    if (threadIdx.x < half)",
        ),
    ),
    _barrier(
        *("a barrier for another number of threads", "relay", K.WRONG_USE, ""),
        *('"bar.arrive %0, 128;"', '"bar.arrive %0, 96;"'),
    ),
    _barrier(
        *("more bytes expected than copied", "gemm_wgmma", K.DEADLOCK, "wait_phase"),
        *("expect_bytes(&barrier, 2 * kTileBytes)", "expect_bytes(&barrier, 2 * kTileBytes + 16)"),
    ),
    _wait(
        *("cp.async.wait_group off by one", "gemm_mma", "tiles", "load_matrix"),
        *("copy_wait<1>()", "copy_wait<2>()"),
    ),
    _wait(
        *("no barrier after the wait for the copies", "gemm_mma", "tiles", "load_"),
        *("__syncthreads();  // after the wait", "//"),
    ),
    _wait(
        *("no wait for the mbarrier", "gemm_wgmma", "tiles", "wgmma_64x64x16"),
        "wait_phase(&barrier, parity);",
    ),
    _wait(
        *("the parity of the phase does not change", "gemm_wgmma", "tiles", "wgmma_64x64x16"),
        "parity ^= 1;",
    ),
    _wait(
        *("a stage given back before wgmma has read it", "gemm_pipeline", "tiles", "load_tile"),
        *(f"{_WAIT}\n    {_GIVE}", f"{_GIVE}\n    {_WAIT}"),
    ),
    Bug(
        *("asynchronous waits", "a result stored before wgmma is done", "gemm_wgmma"),
        *((K.UNWAITED_READ,), "accumulators of wgmma", "make_float2"),
        *("wgmma.wait_group.sync.aligned 0", "wgmma.wait_group.sync.aligned 1"),
    ),
    Bug(
        *("asynchronous waits", "a producer that does not wait for a free stage", "gemm_pipeline"),
        *((K.WRONG_USE,), "", "expect_bytes"),
        "wait_phase(&empty[i % 2], (i / 2 & 1) ^ 1);  // the stage is free",
    ),
    _wait(
        *("a consumer that does not wait for a full stage", "gemm_pipeline", "tiles", "wgmma"),
        "wait_phase(&full[i % 2], i / 2 & 1);  // the stage is full",
    ),
    _wait(
        *("a box refilled while it is stored", "stage_out", "box", "box["),
        'asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");',
    ),
    Bug(
        *("shared overflow", "too little dynamic shared memory", "sum_squares"),
        *((K.OUT_OF_BOUNDS,), "shared partial", "partial["),
        options={"shared": 256},
    ),
    Bug(
        *("shared overflow", "a stage too little", "gemm_mma", (K.OUT_OF_BOUNDS,), "shared tiles"),
        "copy_async_16(Bs",
        options={"shared": 2 * 2 * 128 * 32 * 2},
    ),
    _overflow(
        *("a row behind the last", "sgemm", "As", "As["),
        *("As[a_column + 3][a_row]", "As[a_column + 4][a_row]"),
    ),
    _overflow(
        *("a bin behind the last", "histogram", "bins", "bins["),
        *("&bins[x[i]]", "&bins[x[i] + 1]"),
    ),
    _overflow(
        *("a tile one row too small", "transpose", "tile", "tile["),
        *("tile[32][33]", "tile[31][33]"),
    ),
]
