from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tensorc_runtime.cuda.plan import CudaPlan, KernelArg, Launch, Temp, TensorMap
from tensorc_runtime.errors import LoadError

PLAN = CudaPlan(
    arch="sm_80",
    launches=(
        Launch(
            "scale",
            ("(n + 255) // 256", 1, 1),
            (256, 1, 1),
            1024,
            (KernelArg("param", 0), KernelArg("temp", 0), KernelArg("dim", 0), KernelArg("status")),
        ),
    ),
    temps=(Temp("T", "4 * n", 0),),
    arena="(4 * n + 255) // 256 * 256",
    checks=("index {0} is outside",),
    params=2,
    dims=("n",),
)


def refusal(**changes: Any) -> str:
    with pytest.raises(LoadError) as caught:
        replace(PLAN, **changes)
    return str(caught.value)


def launch(**changes: Any) -> tuple[Launch, ...]:
    return (replace(PLAN.launches[0], **changes),)


def test_a_plan_comes_back_from_its_json() -> None:
    assert CudaPlan.from_json(PLAN.to_json()) == PLAN


def test_a_plan_without_sizes_and_checks_comes_back_from_its_json() -> None:
    empty = CudaPlan("sm_90a", (), (), 0, (), 0)
    assert CudaPlan.from_json(empty.to_json()) == empty


def test_an_argument_that_is_not_there_is_refused() -> None:
    assert refusal(launches=launch(args=(KernelArg("param", 2),))) == (
        "CUDA plan: launch of 'scale': there is no param 2, the plan has 2"
    )
    assert refusal(launches=launch(args=(KernelArg("texture", 0),))) == (
        "CUDA plan: launch of 'scale': argument of kind 'texture'; there are param, temp, dim, "
        "status, map"
    )


MAP = TensorMap(KernelArg("param", 1), "bfloat16", ("n", 64), (64, 16), 128)


def test_a_plan_with_tensor_maps_comes_back_from_its_json() -> None:
    plan = replace(PLAN, launches=launch(args=(KernelArg("map", 0),)), maps=(MAP,))
    assert CudaPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (replace(MAP, source=KernelArg("dim", 0)), "there is no dim 0 to map"),
        (replace(MAP, source=KernelArg("param", 2)), "there is no param 2 to map"),
        (
            replace(MAP, dtype="int8"),
            "dtype 'int8'; there are float16, bfloat16, float32, float64, int32, int64, uint8",
        ),
        (replace(MAP, box=(64,)), "2 sizes and a box of rank 1"),
        (replace(MAP, sizes=("m", 64)), "size 'm' names 'm', which is not known here"),
        (replace(MAP, box=(64, 257)), "a box of (64, 257), whose rows have 128 bytes"),
        (replace(MAP, box=(12, 16)), "a box of (12, 16), whose rows have 24 bytes"),
        (replace(MAP, swizzle=64), "rows of 128 bytes in a pattern of 64"),
    ],
)
def test_a_tensor_map_that_the_hardware_has_not_is_refused(wrong: TensorMap, why: str) -> None:
    assert refusal(maps=(wrong,)) == f"CUDA plan: tensor map 0: {why}"


def test_a_size_over_an_unknown_name_is_refused() -> None:
    assert refusal(launches=launch(grid=("m", 1, 1))) == (
        "CUDA plan: launch of 'scale': its grid: size 'm' names 'm', which is not known here"
    )


def test_a_block_without_threads_is_refused() -> None:
    assert refusal(launches=launch(block=(0, 1, 1))) == (
        "CUDA plan: launch of 'scale': block (0, 1, 1) with 1024 bytes of shared memory"
    )


def test_a_kernel_needs_a_name_that_c_knows() -> None:
    assert refusal(launches=launch(kernel="a b")) == (
        "CUDA plan: launch of 'a b': the name is no C identifier"
    )


def test_a_misaligned_temporary_is_refused() -> None:
    assert refusal(temps=(Temp("T", 4, 64),)) == (
        "CUDA plan: temporary 'T' lies at 64, which is no multiple of 256"
    )


def test_a_negative_size_is_refused() -> None:
    assert refusal(arena=-1) == "CUDA plan: the arena: negative size -1"


def test_temporaries_are_held_against_the_arena_of_a_call() -> None:
    PLAN.check_room({"n": 100})
    short = replace(PLAN, arena="2 * n")
    with pytest.raises(LoadError) as caught:
        short.check_room({"n": 100})
    assert str(caught.value) == ("CUDA plan: temporary 'T' has 400 bytes at 0 of an arena of 200")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "x", 'not a CUDA plan: there is no "format": "tensorc-cuda-plan"'),
        ("version", 1, "CUDA plan of version 1, this is 2"),
        ("arch", 80, "CUDA plan: arch: expected a text, got 80"),
        ("params", True, "CUDA plan: params: expected an integer, got True"),
        ("checks", "x", "CUDA plan: checks: expected a list, got 'x'"),
        (
            "temps",
            [{"name": "T"}],
            "CUDA plan: temporary: expected an object of name, bytes, offset, got {'name': 'T'}",
        ),
    ],
)
def test_json_of_another_form_is_refused(key: str, value: object, message: str) -> None:
    data = json.loads(PLAN.to_json())
    data[key] = value
    with pytest.raises(LoadError) as caught:
        CudaPlan.from_json(json.dumps(data))
    assert str(caught.value) == message


def test_a_grid_of_two_sizes_is_refused() -> None:
    data = json.loads(PLAN.to_json())
    data["launches"][0]["grid"] = [1, 1]
    with pytest.raises(LoadError) as caught:
        CudaPlan.from_json(json.dumps(data))
    assert str(caught.value) == "CUDA plan: grid: expected 3 values, got [1, 1]"


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(LoadError, match="not JSON"):
        CudaPlan.from_json("{")
