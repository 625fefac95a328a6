"""CSV and npz files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tensorc.data import load_csv, load_npz
from tensorc.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_csv_has_features_and_a_target(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("size,kind,price\n1.5,0,10\n\n2,1,20.5\n")
    kinds = load_csv(path, "kind").arrays
    np.testing.assert_array_equal(kinds[0], np.array([[1.5, 10], [2, 20.5]], "f"), strict=True)
    np.testing.assert_array_equal(kinds[1], np.array([0, 1], np.int32), strict=True)
    features, prices = load_csv(path).arrays
    np.testing.assert_array_equal(features, np.array([[1.5, 0], [2, 1]], "f"), strict=True)
    np.testing.assert_array_equal(prices, np.array([10, 20.5], "f"), strict=True)
    path.write_text("1,2\n3,4\n")
    np.testing.assert_array_equal(load_csv(path, 0).arrays[1], [1, 3])


def test_an_npz_gives_its_arrays(tmp_path: Path) -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.arange(3)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    for names, expected in ((None, (x, y)), (["y", "x"], (y, x))):
        found = load_npz(tmp_path / "a.npz", names).arrays
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize(
    ("text", "target", "error", "message"),
    [
        ("", -1, DataError, ": there are no rows"),
        ("a,b\n", -1, DataError, ": there are no rows"),
        ("1,2\n3\n", -1, DataError, ", line 2: 1 cells, and there are 2 columns"),
        ("a,b\n1,2\n3,x\n", -1, DataError, ", line 3: 'x' in column 1 is not a number"),
    ],
)
def test_a_damaged_csv_is_refused_with_its_line(
    text: str, target: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(error) as e:
        load_csv(path, target)
    assert str(e.value) == f"{path}{message}"


def test_what_is_not_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ArgumentError) as e:
        load_csv(path, "c")
    assert str(e.value) == f"load_csv: {path} has no column 'c'; it has a, b"
    with pytest.raises(ArgumentError) as e:
        load_csv(path, 2)
    assert str(e.value) == f"load_csv: {path} has 2 columns, and no column 2"
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with pytest.raises(ArgumentError) as e:
        load_npz(tmp_path / "a.npz", ["z"])
    assert str(e.value) == f"load_npz: {tmp_path / 'a.npz'} has no array 'z'; it has x"
    for load in (load_csv, load_npz):
        with pytest.raises(DataError, match="No such file"):
            load(tmp_path / "nothing")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(DataError):
        load_npz(tmp_path / "b.npz")
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(DataError, match="this is one array"):
        load_npz(tmp_path / "a.npy")
    np.savez(tmp_path / "c.npz", x=np.array([None]))
    with pytest.raises(DataError, match="Object arrays"):
        load_npz(tmp_path / "c.npz")
