"""Run every small case under the tools of NVIDIA's compute-sanitizer, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
_FOUND_ERRORS = 9  # What the sanitizer returns where it found something.
_SECONDS = 600


def main() -> int:
    """Print a line for each tool; 0 where none found anything, or there is no sanitizer."""
    program = _sanitizer()
    if program is None:
        print("compute-sanitizer is not installed; it comes with the CUDA toolkit")
        return 0
    wrong = 0
    for tool in TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", str(_FOUND_ERRORS)]
        command += [sys.executable, "-m", "benchmarks.gpu", "--check"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{tool}: took more than {_SECONDS} s")
            wrong += 1
            continue
        print(f"{tool}: {'clean' if done.returncode == 0 else f'exit status {done.returncode}'}")
        if done.returncode != 0:
            wrong += 1
            print(done.stdout[-4000:], done.stderr[-4000:], sep="\n")
    return 1 if wrong else 0


def _sanitizer() -> str | None:
    homes = (os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH"))
    places = [Path(home) / "bin" for home in homes if home]
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, places), "/usr/local/cuda/bin"])
    return shutil.which("compute-sanitizer", path=path)


if __name__ == "__main__":
    sys.exit(main())
