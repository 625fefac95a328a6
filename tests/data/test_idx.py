from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from data.idx_files import CODES, idx_bytes
from tensorc.data.idx import parse_idx, read_idx, unpack
from tensorc.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SQUARES = np.arange(6, dtype=np.uint8).reshape(2, 3) ** 2


def refusal(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        parse_idx(unpack(content, "bad"), "bad")
    return str(caught.value)


@given(
    npst.arrays(
        st.sampled_from(sorted(CODES)).map(np.dtype),
        npst.array_shapes(max_dims=4, min_side=0, max_side=5),
    )
)
def test_every_dtype_and_shape_reads_back(array: NDArray[Any]) -> None:
    read = parse_idx(idx_bytes(array), "generated")
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array, strict=True)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_reads_the_same_plain_and_packed(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "squares"  # The content tells gzip, not the name.
    path.write_bytes(pack(idx_bytes(SQUARES)))
    read = read_idx(path)
    np.testing.assert_array_equal(read, SQUARES, strict=True)
    assert read.flags.writeable
    assert read.flags.c_contiguous


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError) as caught:
        read_idx("/nowhere/train-images")
    assert str(caught.value) == "cannot read /nowhere/train-images: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Is a directory"):
        read_idx(tmp_path)


def test_a_truncated_array_gives_the_numbers() -> None:
    assert refusal(idx_bytes(SQUARES)[:-1]) == (
        "bad: the header says uint8 values of shape (2, 3), 6 bytes, and 5 bytes follow it: "
        "the file is truncated"
    )


def test_trailing_bytes_are_refused() -> None:
    assert refusal(idx_bytes(SQUARES.astype(np.int16)) + b"\0") == (
        "bad: the header says int16 values of shape (2, 3), 12 bytes, and 13 bytes follow it: "
        "the file is too long"
    )


def test_a_header_may_promise_more_than_any_memory_holds() -> None:
    assert "truncated" in refusal(b"\0\0\x0e\x04" + b"\xff" * 16 + b"few")


@pytest.mark.parametrize(
    "magic", [b"\x89PNG", b"\0\0\x0a\1", b"\0\0\x08\0", b"\0\0\x08\x21", b"\0\1\x08\1"]
)
def test_a_wrong_magic_number_is_shown(magic: bytes) -> None:
    assert refusal(magic + b"\0" * 200) == (
        f"bad: not an IDX file: the magic number is 0x{magic.hex()}, and should be 0x0000TTRR, "
        "TT one of 08, 09, 0b, 0c, 0d, 0e and RR the rank, 1 to 32"
    )


def test_a_file_may_end_within_its_header() -> None:
    assert refusal(b"") == "bad: 0 bytes, too short for the magic number of IDX"
    assert refusal(idx_bytes(SQUARES)[:7]) == (
        "bad: 7 bytes, truncated within the header, which takes 12 bytes for 2 sizes"
    )


@given(st.data())
def test_damage_to_a_gzip_stream_is_refused_or_harmless(data: st.DataObject) -> None:
    packed = bytearray(gzip.compress(idx_bytes(np.arange(200, dtype=np.int32)), mtime=0))
    position = data.draw(st.integers(0, len(packed) - 1))
    packed[position] ^= data.draw(st.integers(1, 255))
    try:
        read = parse_idx(unpack(bytes(packed), "bad"), "bad")
    except DataError:
        return
    # Only the time, the system or unused flags in the header of gzip may change unseen.
    np.testing.assert_array_equal(read, np.arange(200))


@pytest.mark.parametrize("kept", [2, 9, 30, -8, -1])
def test_a_truncated_gzip_stream_is_refused(kept: int) -> None:
    packed = gzip.compress(idx_bytes(np.arange(200, dtype=np.int32)))[:kept]
    assert refusal(packed).startswith(
        f"bad: the gzip stream of {len(packed)} bytes is truncated or corrupt: "
    )
