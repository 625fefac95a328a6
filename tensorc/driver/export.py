"""Write a compiled function for machines without the compiler: header, object, library, manifest.

Each file appears whole or not at all, and the manifest last, with the checksums of the others.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tensorc_runtime
from tensorc.driver.header import header_text
from tensorc.driver.linker import NoLinkerError, link_shared
from tensorc.errors import CompileError
from tensorc_runtime.manifest import FileInfo
from tensorc_runtime.tensor_file import save_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc_runtime.manifest import Manifest
    from tensorc_runtime.signature import Array

_TENSORC_H = Path(tensorc_runtime.__file__).parent / "include" / "tensorc.h"


def write_export(
    directory: str | os.PathLike[str],
    manifest: Manifest,
    object_bytes: bytes,
    state: Mapping[str, Array],
    library: bool,
) -> list[Path]:
    """Write NAME.o, libNAME.so, NAME.h, tensorc.h, NAME.state if there is state, and NAME.json.

    Args:
        directory: made where it is missing.
        manifest: the signature; its `shared_library` and `state` are filled in here.
        object_bytes: what goes into NAME.o.
        state: what goes into NAME.state.
        library: whether to link libNAME.so.

    Returns:
        The files written.

    Raises:
        CompileError: the directory cannot be written, or there is no linker; in that case all but
            the library is there.
    """
    folder, name = Path(directory), manifest.name
    missing: NoLinkerError | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as temporary:
            work = Path(temporary)
            (work / f"{name}.o").write_bytes(object_bytes)
            if library:
                try:
                    link_shared(work / f"{name}.o", work / f"lib{name}.so", manifest.target.triple)
                    manifest = replace(manifest, shared_library=_file_info(work / f"lib{name}.so"))
                except NoLinkerError as error:
                    missing = error
            if state:
                save_state(work / f"{name}.state", state)
                manifest = replace(manifest, state=_file_info(work / f"{name}.state"))
            (work / "tensorc.h").write_bytes(_TENSORC_H.read_bytes())
            (work / f"{name}.h").write_text(header_text(manifest), encoding="utf-8")
            (work / f"{name}.json").write_text(manifest.to_json(), encoding="utf-8")
            written = _publish(work, folder, name)
    except OSError as error:
        raise CompileError(f"{name}: cannot export to {folder}: {error}") from error
    if missing is not None:
        raise CompileError(
            f"{name}: {missing}, so there is no lib{name}.so; {folder / f'{name}.o'} is there, "
            f"link it where there is one: cc -shared -o lib{name}.so {name}.o -lm; "
            "or export(..., library=False)"
        )
    return written


def _publish(work: Path, folder: Path, name: str) -> list[Path]:
    """Move what was written to its place, the manifest last."""
    # What an earlier export left would not fit the new manifest.
    for stale in (f"{name}.json", f"lib{name}.so", f"{name}.state"):
        if not (work / stale).exists() or stale.endswith(".json"):
            (folder / stale).unlink(missing_ok=True)
    made = sorted(work.iterdir(), key=lambda p: (p.name == f"{name}.json", p.name))
    for path in made:
        os.replace(path, folder / path.name)
    return [folder / path.name for path in made]


def _file_info(path: Path) -> FileInfo:
    data = path.read_bytes()
    return FileInfo(path.name, len(data), hashlib.sha256(data).hexdigest())
