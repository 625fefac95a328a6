"""Two functions in C with the interface of compiled ones, so that the runtime is tested alone."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tensorc_runtime.function import Function, NativeCode
from tensorc_runtime.manifest import DimInfo, FileInfo, Manifest, ParamInfo, TargetInfo

INCLUDE = Path(__file__).parents[2] / "runtime" / "tensorc_runtime" / "include"
HOSTS = Path(__file__).parents[2] / "runtime" / "hosts"

SOURCE = r"""
#include "tensorc.h"
#include <string.h>

/* y = alpha * x + x[k]; threads = how many it was given. The workspace holds alpha * x. */
int64_t blend_workspace(const int64_t *dims, int32_t num_threads) {
  return dims[0] * 4 * num_threads;
}
int32_t blend_run(void *const *data, const int64_t *dims, void *workspace, int32_t num_threads,
                  int64_t *info) {
  float alpha = *(const float *)data[0], *x = data[1], *y = data[3], *scaled = workspace;
  int64_t k = *(const int64_t *)data[2], n = dims[0];
  if ((uintptr_t)workspace % 64 != 0) return TENSORC_WORKSPACE;
  if (k < 0 || k >= n) {
    if (info) { info[0] = 1; info[1] = k; info[2] = n; }
    return TENSORC_CHECK_FAILED;
  }
  for (int64_t i = 0; i < n; i++) scaled[i] = alpha * x[i];
  for (int64_t i = 0; i < n; i++) y[i] = scaled[i] + x[k];
  *(int32_t *)data[4] = num_threads;
  return 0;
}

/* total += sum(x); calls = how often it ran. Both `total` and `count` are state. */
int64_t count_workspace(const int64_t *dims, int32_t num_threads) { return 128; }
int32_t count_run(void *const *data, const int64_t *dims, void *workspace, int32_t num_threads,
                  int64_t *info) {
  double *total = data[1];
  int64_t *count = data[2];
  for (int64_t i = 0; i < dims[0]; i++) *total += ((const float *)data[0])[i];
  *(int64_t *)data[3] = ++*count;
  memset(workspace, 255, 128);
  return 0;
}
int32_t count(DLTensor *const *args, void *workspace, int64_t workspace_bytes, int32_t num_threads,
              int64_t *info) {
  void *data[4];
  for (int i = 0; i < 4; i++) data[i] = args[i]->data;
  if (workspace_bytes < 128) {
    if (info) { info[0] = -1; info[1] = 0; info[2] = workspace_bytes; info[3] = 128; }
    return TENSORC_WORKSPACE;
  }
  return count_run(data, args[0]->shape, workspace, num_threads, info);
}
"""

HERE = TargetInfo(f"{platform.machine()}-unknown-linux-gnu", "generic", threads=3)

BLEND = Manifest(
    "blend",
    (
        ParamInfo("alpha", "float32", (), "in"),
        ParamInfo("x", "float32", ("n",), "in"),
        ParamInfo("k", "int64", (), "in"),
        ParamInfo("y", "float32", ("n",), "out"),
        ParamInfo("threads", "int32", (), "out"),
    ),
    (DimInfo("n", 2),),
    ("never fails", "index {0} must be in [0, {1})"),
    HERE,
)
COUNT = Manifest(
    "count",
    (
        ParamInfo("x", "float32", ("n",), "in"),
        ParamInfo("total", "float64", (1,), "inout", state=True),
        ParamInfo("count", "int64", (), "inout", state=True),
        ParamInfo("calls", "int64", (), "out"),
    ),
    (DimInfo("n"),),
    (),
    HERE,
)


def need_cc() -> str:
    """The C compiler, or skip the test."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("there is no C compiler")
    return found


def compile_c(source: str, to: Path, *options: str) -> Path:
    """Compile C, warnings being errors."""
    file = to.with_name(f"{to.name}.c")
    file.write_text(source)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", f"-I{INCLUDE}"]
    command = [need_cc(), *flags, "-o", str(to), str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return to


def example_library(folder: Path) -> Path:
    return compile_c(SOURCE, folder / "libexample.so", "-shared", "-fPIC", "-O1")


def native(library: Path, name: str) -> NativeCode:
    """The code of a function in a library."""
    loaded = ctypes.CDLL(str(library))
    addresses = [
        ctypes.cast(loaded[f"{name}_{part}"], ctypes.c_void_p).value
        for part in ("run", "workspace")
    ]
    assert addresses[0] is not None
    assert addresses[1] is not None
    return NativeCode(addresses[0], addresses[1], loaded)


def function(library: Path, manifest: Manifest) -> Function:
    return Function(manifest, native(library, manifest.name))


def write_exported(folder: Path, library: Path, manifest: Manifest) -> Path:
    """Put a function there as an export does; returns its manifest."""
    folder.mkdir(exist_ok=True)
    data = library.read_bytes()
    name = f"lib{manifest.name}.so"
    (folder / name).write_bytes(data)
    info = FileInfo(name, len(data), hashlib.sha256(data).hexdigest())
    path = folder / f"{manifest.name}.json"
    path.write_text(replace(manifest, shared_library=info).to_json())
    return path
