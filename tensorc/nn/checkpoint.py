"""Checkpoints: the state of a model or of a step in a safetensors file.

The format is read by many other programs: https://github.com/huggingface/safetensors. A file is
written beside its place and then renamed, so that a reader finds the old one or the new one, whole.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.dtypes import as_dtype
from tensorc.errors import ArgumentError, DataError
from tensorc.nn.module import Module, copy_into

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from numpy.typing import NDArray

# The dtypes of the format.
_DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}


def save_checkpoint(
    path: str | os.PathLike[str],
    what: Module | Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write all arrays of `what` to the file `path`, which appears whole or not at all.

    Args:
        path: of the file; its folder exists.
        what: a model, whose parameters and buffers are written, or a mapping of arrays: the `state`
            of a step has the model's and the optimizer's.
        metadata: texts to keep with them, such as the number of the epoch.

    Raises:
        ArgumentError: the package safetensors is not there, or metadata that are no texts.
        DTypeError: an array of a dtype that is none of tensorc's.
        DataError: the file cannot be written, as where its folder is missing.
    """
    texts = dict(metadata or {})
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ArgumentError(
                f"save_checkpoint: metadata must be texts, and {name} is {text!r}; use str() or "
                "json.dumps"
            )
    arrays = {}
    for name, array in _state(what).items():
        as_dtype(array.dtype)
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    _write(Path(path), _safetensors("save_checkpoint").numpy.save(arrays, texts or None))


def load_checkpoint(
    path: str | os.PathLike[str], into: Module | Mapping[str, Any]
) -> dict[str, str]:
    """Copy the arrays of the file `path` into those of `into`, in place; give the metadata.

    Compiled steps that hold the arrays go on from there, as if they had not stopped.

    Raises:
        ArgumentError: a name that is missing or unknown, or an array of another shape or dtype: the
            message has both; nothing is copied. Or the package safetensors is not there.
        DataError: the file is missing or damaged.
    """
    arrays, metadata = read_checkpoint(path)
    copy_into(f"load_checkpoint: {path}", _state(into), arrays)
    return metadata


def read_checkpoint(
    path: str | os.PathLike[str],
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays of the file `path` by their names, and the metadata.

    Raises:
        ArgumentError: the package safetensors is not there.
        DataError: the file is missing, damaged, or of a dtype that is none of tensorc's.
    """
    safetensors = _safetensors("read_checkpoint")
    try:
        entries = safetensors.deserialize(Path(path).read_bytes())
        with safetensors.safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as problem:
        raise DataError(f"{path}: {problem}") from None
    arrays = {}
    for name, entry in sorted(entries, key=lambda item: item[0]):
        if entry["dtype"] not in _DTYPES:
            raise DataError(f"{path}: {name} is of dtype {entry['dtype']}, which is not supported")
        dtype = as_dtype(_DTYPES[entry["dtype"]]).numpy
        arrays[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    return arrays, metadata


def _state(what: Module | Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    if isinstance(what, Module):
        return {name: stored.value for name, stored in what.named_state()}
    return {name: np.asarray(array) for name, array in what.items()}


def _write(path: Path, content: bytes) -> None:
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _safetensors(asked: str) -> ModuleType:
    """The package, which is an extra: most programs that build steps write no checkpoints."""
    try:
        import safetensors.numpy  # noqa: PLC0415
    except ImportError:
        raise ArgumentError(
            f"{asked}: the package safetensors is not there; pip install 'tensorc[checkpoint]'"
        ) from None
    return safetensors
