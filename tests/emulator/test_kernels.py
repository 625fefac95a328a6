"""Whole kernels, by NVRTC, against NumPy: in three thread orders, checked, and profiled."""

from __future__ import annotations

import pytest

from emulator.cases import CASES
from emulator.harness import CHECKED, ORDERS, PROFILED
from tensorc.emulator import LaunchOptions


@pytest.mark.parametrize("options", ORDERS, ids=[options.order for options in ORDERS])
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_gives_numpys_result_in_every_thread_order(
    name: str, options: LaunchOptions
) -> None:
    result, error = CASES[name].run(options)
    assert result.ok, result.describe()
    assert error <= CASES[name].tolerance


@pytest.mark.parametrize("name", CASES)
def test_a_correct_kernel_is_clean_in_checked_mode(name: str) -> None:
    for order in ("forward", "reverse", "random"):
        result, error = CASES[name].run(LaunchOptions(checked=True, order=order))
        assert result.ok, result.describe()
        assert error <= CASES[name].tolerance


def test_checked_mode_gives_the_same_bits_as_fast_mode() -> None:
    fast, checked = (CASES["softmax"].run(options)[1] for options in (ORDERS[0], CHECKED))
    assert fast == checked


def test_a_padded_transpose_is_coalesced_and_has_no_bank_conflicts() -> None:
    result, _ = CASES["transpose"].run(PROFILED)
    assert [access.ratio for access in result.accesses] == [1.0] * 4


def test_a_transpose_without_padding_has_32_way_bank_conflicts() -> None:
    source = CASES["transpose"].source.replace("[33]", "[32]")
    result, _ = CASES["transpose"].run(PROFILED, source)
    by_place = {(a.space, a.is_write): a.ratio for a in result.accesses}
    assert by_place == {
        ("global", False): 1.0,
        ("shared", True): 1.0,
        ("shared", False): 32.0,
        ("global", True): 1.0,
    }


def test_eight_neighbours_that_read_every_other_16_bytes_take_two_wavefronts() -> None:
    result, _ = CASES["sgemm"].run(PROFILED)
    loads = {a.ratio for a in result.accesses if a.space == "shared" and not a.is_write}
    assert loads == {1.0, 2.0}  # A thread's rows of A are its neighbours' too; its columns are not.


def test_swizzled_tiles_are_free_of_conflicts() -> None:
    result, _ = CASES["gemm_mma"].run(PROFILED)
    shared = [access for access in result.accesses if access.space == "shared"]
    assert shared
    assert all(access.ratio == 1.0 for access in shared)
