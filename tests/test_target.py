"""What a target accepts, and what it says of a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from tensorc.errors import CompileError
from tensorc.target import ARCHS, REGISTERS, Target, as_target


def test_a_gpu_target_gets_its_architecture_and_its_size() -> None:
    assert Target("cuda").resolved() == Target("cuda", arch="sm_80", sms=108)
    assert Target("cuda", arch="sm_90", sms=114).resolved().sms == 114
    rounding = Target("cuda", precision="tf32")
    assert rounding.resolved() == Target("cuda", arch="sm_80", sms=108, precision="tf32")
    assert as_target("cuda-emu").resolved().cuda is ARCHS["sm_80"]
    assert Target("cuda", arch="sm_90a").cuda.capability == 90
    assert Target("cuda").vector_bytes == 16
    assert Target("cuda").vector_registers == 63


def test_the_table_of_architectures_agrees_with_itself() -> None:
    for arch in ARCHS.values():
        assert arch.block_shared + arch.reserved == arch.shared
        assert 32 * arch.warps <= REGISTERS, "a full multiprocessor has registers for all threads"
        assert arch.blocks <= arch.warps
    assert ARCHS["sm_75"].block_shared == 65536
    assert (ARCHS["sm_90"].warps, ARCHS["sm_90"].block_shared) == (64, 232448)
    assert (ARCHS["sm_86"].warps, ARCHS["sm_86"].block_shared) == (48, 101376)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "gpu"}, "target 'gpu' is not known; there are 'cpu', 'cuda' and 'cuda-emu'"),
        (
            {"kind": "cuda", "arch": "sm_52"},
            "target cuda: architecture 'sm_52' is not known; there are sm_75, sm_80, sm_86, sm_87, "
            "sm_89, sm_90, sm_90a, sm_100, sm_100a, sm_103, sm_103a, sm_120, sm_120a",
        ),
        (
            {"kind": "cuda", "threads": 8},
            "target cuda: cpu, features, threads and triple are for the kind 'cpu', got "
            "Target(kind='cuda', cpu='native', features='', threads=8, triple='', arch='', sms=0, "
            "precision='float32')",
        ),
        ({"arch": "sm_80"}, "target cpu: arch='sm_80' is for the kinds 'cuda' and 'cuda-emu'"),
        ({"sms": 4}, "target cpu: sms=4 is for the kinds 'cuda' and 'cuda-emu'"),
        ({"kind": "cuda", "sms": -1}, "target: sms must be 0 or more, got -1"),
        ({"threads": -1}, "target: threads must be 0 or more, got -1"),
        (
            {"kind": "cuda", "arch": 80},
            "target: cpu, features, triple, arch and precision are texts, threads and sms are "
            "integers, got Target(kind='cuda', cpu='native', features='', threads=0, triple='', "
            "arch=80, sms=0, precision='float32')",
        ),
        (
            {"kind": "cuda", "precision": "half"},
            "target: precision 'half' is not known; there are 'float32' and 'tf32'",
        ),
        (
            {"precision": "tf32"},
            "target cpu: precision='tf32' is for the kinds 'cuda' and 'cuda-emu'; a CPU multiplies "
            "float32 as it is",
        ),
    ],
)
def test_a_bad_target_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CompileError) as error:
        Target(**fields)
    assert str(error.value) == message
