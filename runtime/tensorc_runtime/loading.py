"""Load exported functions: a manifest, the shared library beside it, and saved state if any."""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import overload

from tensorc_runtime.errors import LoadError
from tensorc_runtime.function import Function, NativeCode
from tensorc_runtime.machine import why_not_here
from tensorc_runtime.manifest import FORMAT, FileInfo, Manifest
from tensorc_runtime.openmp import load_openmp
from tensorc_runtime.tensor_file import load_state
from tensorc_runtime.threads import available_threads

# What the dynamic linker has loaded under each path: it gives the same library again, even when
# the file has been replaced since.
_loaded: dict[Path, str] = {}


@overload
def load(
    directory: str | os.PathLike[str], name: str, *, threads: int | None = None
) -> Function: ...
@overload
def load(
    directory: str | os.PathLike[str], name: None = None, *, threads: int | None = None
) -> Function | SimpleNamespace: ...
def load(
    directory: str | os.PathLike[str], name: str | None = None, *, threads: int | None = None
) -> Function | SimpleNamespace:
    """The functions exported to `directory`: the one of `name`, the only one, or all by name.

    State that was exported with a function is attached to it, a fresh copy at each `load`. A call
    uses `threads` threads; by default as many as the function was compiled for, or as there are
    here where that is less.

    Raises:
        LoadError: there is no such function, a file is missing or damaged, or the code is for
            another machine.
    """
    folder = Path(directory)
    if threads is not None and threads < 1:
        raise LoadError(f"load: threads must be 1 or more, got {threads}")
    if name is not None:
        path = folder / f"{name}.json"
        if not path.is_file():
            found = ", ".join(p.stem for p in _manifests(folder)) or "none"
            raise LoadError(f"{folder}: no exported function {name!r}; there is {found}")
        return _load_one(path, threads)
    paths = _manifests(folder)
    if not paths:
        raise LoadError(f"{folder}: no exported function here: there is no manifest NAME.json")
    functions = {p.stem: _load_one(p, threads) for p in paths}
    return next(iter(functions.values())) if len(paths) == 1 else SimpleNamespace(**functions)


def _manifests(folder: Path) -> list[Path]:
    """The manifests in a folder, other JSON files left aside."""
    if not folder.is_dir():
        raise LoadError(f"{folder}: no such directory")
    mark = f'"{FORMAT}"'.encode()
    found = []
    for path in sorted(folder.glob("*.json")):
        with path.open("rb") as file:
            start = file.read(200)
        # Without its mark, a file named as an exported library is a damaged manifest.
        if mark in start or (folder / f"lib{path.stem}.so").exists():
            found.append(path)
    return found


def _load_one(path: Path, threads: int | None) -> Function:
    try:
        manifest = Manifest.from_json(path.read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror or error}") from None
    except LoadError as error:
        raise LoadError(f"{path}: {error}") from None
    reason = why_not_here(manifest.target)
    if reason is not None:
        raise LoadError(f"{path}: {manifest.name} cannot run here: {reason}")
    library = path.parent / f"lib{manifest.name}.so"
    digest = _verified(library, manifest.shared_library, manifest.name)
    state = None
    if manifest.state is not None:
        _verified(path.parent / manifest.state.name, manifest.state, manifest.name)
        state = load_state(path.parent / manifest.state.name)
    if threads is None:
        threads = min(manifest.target.threads, available_threads())
    manifest = replace(manifest, target=replace(manifest.target, threads=threads))
    load_openmp()
    native = _open(library.resolve(), digest)
    try:
        run, workspace = native[manifest.run_symbol], native[manifest.workspace_symbol]
    except AttributeError as error:
        raise LoadError(f"{library}: {error}") from None
    code = NativeCode(_address(run), _address(workspace), native)
    return Function(manifest, code, state)


def _verified(path: Path, info: FileInfo | None, name: str) -> str:
    """The digest of a file that the manifest describes, once it is as described.

    A library that was linked by hand from the object has no description, and is taken as it is.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        hint = ""
        if path.suffix == ".so":
            hint = f"; with the object there: cc -shared -o lib{name}.so {name}.o"
        raise LoadError(f"{path}: no such file{hint}") from None
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror or error}") from None
    digest = hashlib.sha256(data).hexdigest()
    if info is not None and (len(data), digest) != (info.bytes, info.sha256):
        what = f"has {len(data)} bytes, not {info.bytes}" if len(data) != info.bytes else "differs"
        raise LoadError(f"{path}: is not the file that {name}.json describes: it {what}")
    return digest


def _open(library: Path, digest: str) -> ctypes.CDLL:
    try:
        if _loaded.setdefault(library, digest) == digest:
            return ctypes.CDLL(os.fspath(library))
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / library.name
            copy.write_bytes(library.read_bytes())
            return ctypes.CDLL(os.fspath(copy))
    except OSError as error:
        raise LoadError(f"{library}: {error}") from None


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address, "a symbol that was found has an address"
    return address
