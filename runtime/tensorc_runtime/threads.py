"""How many threads a call may use: what this process was given, not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

from tensorc_runtime.errors import TensorcError

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def available_threads() -> int:
    """The threads that this process may use, at least 1.

    `TENSORC_NUM_THREADS` decides where it is set, then the first number of `OMP_NUM_THREADS`;
    else it is the processors of the affinity mask, limited by the CPU quota of the cgroup.

    Raises:
        TensorcError: `TENSORC_NUM_THREADS` is not a positive integer.
    """
    asked = os.environ.get("TENSORC_NUM_THREADS", "")
    if asked:
        if not asked.isascii() or not asked.isdigit() or int(asked) < 1:
            raise TensorcError(f"TENSORC_NUM_THREADS={asked!r}: must be an integer of 1 or more")
        return int(asked)
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isascii() and openmp.isdigit() and int(openmp) >= 1:
        return int(openmp)
    return _limit(_affinity(), _quotas(_OWN_CGROUP, _CGROUP_ROOT))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limit(processors: int, quotas: list[float]) -> int:
    # Rounded down: a thread beyond the quota makes all of them wait when it runs out.
    return max(1, min([processors, *map(int, quotas)]))


def _quotas(own: Path, root: Path) -> list[float]:
    """The quotas, in processors, of this process's cgroups (version 2, then 1) and their parents.

    Inside a container the path in `own` may be that of the host, so the root is read in any case.
    """
    folders = [root, root / "cpu"]
    for line in _read(own).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        base = root / "cpu" if "cpu" in controllers.split(",") else None if controllers else root
        if base is not None:
            below = base / path.lstrip("/")
            folders += [f for f in (below, *below.parents) if f.is_relative_to(base)]
    found = []
    for folder in dict.fromkeys(folders):
        found += _ratio(*(*_read(folder / "cpu.max").split(), "", "")[:2])
        old, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        found += _ratio(old.strip(), period.strip())
    return found


def _ratio(quota: str, period: str) -> list[float]:
    """One quota, or none: "max" and -1 say that there is no limit."""
    known = quota.isdigit() and period.isdigit() and int(period) > 0
    return [int(quota) / int(period)] if known else []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
