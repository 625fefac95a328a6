"""Examples from files of numbers: CSV, and NumPy's npz."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.npyio import NpzFile

from tensorc.data.dataset import ArrayDataset
from tensorc.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


def load_csv(path: str | os.PathLike[str], target: int | str = -1) -> ArrayDataset:
    """Rows of numbers as examples (x, y): y is the column `target`, x are the others, in order.

    A first row with something that is no number names the columns. x is float32 (n, columns - 1);
    y is int32 (n,) where all of its values are whole, else float32.

    Raises:
        ArgumentError: there is no column `target`.
        DataError: the file is missing or empty; a row of another length, or with something that is
            no number: the message has the line.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{path}: {problem}") from None
    names: list[str] | None = None
    if rows and not all(_is_number(cell) for cell in rows[0][1]):
        names = [cell.strip() for cell in rows.pop(0)[1]]
    if not rows:
        raise DataError(f"{path}: there are no rows")
    columns = len(names) if names is not None else len(rows[0][1])
    values = np.array([_numbers(path, line, row, columns) for line, row in rows])
    at = _column(path, target, names, columns)
    y = values[:, at]
    whole = bool(np.all((y == np.floor(y)) & (abs(y) < 2**31)))
    x = np.delete(values, at, axis=1).astype(np.float32)
    return ArrayDataset((x, y.astype(np.int32 if whole else np.float32)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(
    path: str | os.PathLike[str], line: int, row: Sequence[str], columns: int
) -> list[float]:
    if len(row) != columns:
        raise DataError(f"{path}, line {line}: {len(row)} cells, and there are {columns} columns")
    for k, cell in enumerate(row):
        if not _is_number(cell):
            raise DataError(f"{path}, line {line}: {cell!r} in column {k} is not a number")
    return [float(cell) for cell in row]


def _column(
    path: str | os.PathLike[str], target: int | str, names: list[str] | None, columns: int
) -> int:
    if isinstance(target, str):
        if names is None or target not in names:
            known = "columns without names" if names is None else ", ".join(names)
            raise ArgumentError(f"load_csv: {path} has no column {target!r}; it has {known}")
        return names.index(target)
    if not -columns <= target < columns:
        raise ArgumentError(f"load_csv: {path} has {columns} columns, and no column {target}")
    return target % columns


def load_npz(path: str | os.PathLike[str], names: Sequence[str] | None = None) -> ArrayDataset:
    """The arrays of an npz file, whose first axis counts the examples.

    Args:
        path: of the file that `numpy.savez` wrote; pickled objects are refused.
        names: which arrays, in which order; by default all, in the file's order.

    Raises:
        ArgumentError: there is no array of a name, or the arrays differ in length.
        DataError: the file is missing, damaged, or holds pickled objects.
    """
    try:
        with Path(path).open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, NpzFile):
                raise DataError(f"{path}: this is one array; load it with numpy.load")
            chosen = list(file.files) if names is None else list(names)
            for name in chosen:
                if name not in file.files:
                    raise ArgumentError(
                        f"load_npz: {path} has no array {name!r}; it has {', '.join(file.files)}"
                    )
            arrays = [file[name] for name in chosen]
    except (ArgumentError, DataError):
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
        raise DataError(f"{path}: {problem}") from None
    return ArrayDataset(arrays)
