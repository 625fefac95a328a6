"""Manifests: they survive JSON, and what contradicts itself is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.c_example import BLEND, COUNT
from tensorc_runtime import LoadError, Manifest, sizes
from tensorc_runtime.manifest import DimInfo, FileInfo, ParamInfo


def refusal(data: object) -> str:
    with pytest.raises(LoadError) as caught:
        Manifest.from_json(json.dumps(data))
    return str(caught.value)


def changed(**fields: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(BLEND.to_json())
    return data | fields


@pytest.mark.parametrize(
    "manifest",
    [BLEND, COUNT, replace(COUNT, shared_library=FileInfo("libcount.so", 3, "ab"), state=None)],
)
def test_a_manifest_survives_json(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_the_json_names_the_c_symbols() -> None:
    assert json.loads(BLEND.to_json())["symbols"] == ["blend", "blend_run", "blend_workspace"]


def test_json_that_is_no_manifest_is_refused() -> None:
    with pytest.raises(LoadError, match="not JSON"):
        Manifest.from_json("{")
    with pytest.raises(LoadError, match="not JSON"):
        Manifest.from_json(b"\xff\xfe\x00")
    assert refusal([]) == 'not a manifest: there is no "format": "tensorc-manifest"'
    assert refusal(changed(abi=2)) == "made for version 2 of the C interface, this is 1"
    assert refusal(changed(params=None)) == "params: expected a list, got None"
    assert refusal(changed(target=[])) == "TargetInfo: expected an object, got []"
    assert refusal(changed(dims=[{"name": "n", "lower": "2"}])) == "DimInfo: lower is '2'"
    assert refusal(changed(dims=[{"size": 2}])) == "DimInfo has no field 'size'"
    assert "missing 1 required positional argument" in refusal(changed(dims=[{"lower": 2}]))
    assert refusal(changed(name=3)) == "name: expected a text, got 3"
    assert refusal(changed(checks=[1])) == "checks: expected a text, got 1"


def test_parts_that_contradict_each_other_are_refused() -> None:
    def refused(**fields: Any) -> str:
        with pytest.raises(LoadError) as caught:
            replace(BLEND, **fields)
        return str(caught.value).removeprefix("manifest of 'blend': ")

    x = BLEND.params[1]
    assert refused(params=(x, x)) == "two arguments are named 'x'"
    assert refused(dims=(DimInfo("n"), DimInfo("n"))) == "two dims are named 'n'"
    assert refused(dims=()) == "argument 'x': size 'n' names 'n', which is not known here"
    assert refused(params=(replace(x, role="read"),)) == (
        "argument 'x' has role 'read'; there are in, out, inout"
    )
    assert refused(params=(replace(x, dtype="float8"),)) == (
        "argument 'x' has the unknown dtype 'float8'"
    )
    assert refused(params=(replace(x, shape=(-1,)),)) == "argument 'x' has the negative size -1"
    assert refused(params=(replace(x, role="out", state=True),)) == (
        "argument 'x' is state, so its role cannot be 'out'"
    )
    with pytest.raises(LoadError, match="no C identifier"):
        replace(BLEND, name="a-b")


def test_sizes_are_small_formulas() -> None:
    dims = {"n": 7, "m": 2}
    for text in ("2 * n + 1", "(n + 3) // 4", "n % m", "max(n, m) - min(n, 3)", "-n + 10", "n"):
        expected = eval(text, {"max": max, "min": min}, dict(dims))
        assert sizes.evaluate(text, dims) == expected
    assert sizes.evaluate("n // 0", dims) == 0
    assert sizes.names("max(m, 2) + n * m") == ("m", "n")


@pytest.mark.parametrize(
    "text",
    ["n.real", "__import__('os')", "n ** 9", "[n]", "n if n else 1", "True", "2.5", "", "f(n, 1)"],
)
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        sizes.evaluate(text, {"n": 1})
    with pytest.raises(LoadError):
        replace(BLEND, params=(ParamInfo("x", "float32", (text,), "in"),))


@given(st.text(alphabet="nm0123456789+-*/%() ,max", max_size=12))
def test_no_text_does_more_than_fail(text: str) -> None:
    try:
        value = sizes.evaluate(text, {"n": 3, "m": 5})
    except ValueError:
        return
    assert isinstance(value, int)
