from __future__ import annotations

import numpy as np
import pytest

from tensorc import nn
from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.te.tensor import Tensor, placeholder


class Tied(nn.Module):
    """One weight in two places."""

    def __init__(self) -> None:
        self.first = nn.Linear(4, 4, bias=False)
        self.second = self.first
        self.shift = nn.Parameter((4,))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.shift.tensor


def test_parameters_are_named_in_order_of_definition() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2, bias=False)))
    assert [name for name, _ in model.named_parameters()] == [
        "layer0.weight",
        "layer0.bias",
        "layer2.layer0.weight",
    ]
    assert [p.shape for p in model.parameters()] == [(3, 2), (2,), (2, 2)]


def test_a_shared_parameter_counts_once_under_its_first_name() -> None:
    assert [name for name, _ in Tied().named_parameters()] == ["first.weight", "shift"]


def test_calling_a_module_builds_an_expression_over_its_placeholders() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    y = model(placeholder((5, 3), name="x"))
    assert isinstance(y, Tensor)
    assert [int(str(size)) for size in y.shape] == [5, 2]


def test_a_module_prints_its_parts() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 1, bias=False)))
    assert repr(model) == "\n".join(
        [
            "Sequential(",
            "  layer0: Linear(3, 2)",
            "  layer1: Sequential(",
            "    layer0: ReLU()",
            "    layer1: Linear(2, 1, bias=False)",
            "  )",
            ")",
        ]
    )


def test_a_state_dict_restores_a_model_in_place() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    array, saved = model.parameters()[0].value, model.state_dict()
    model.initialize(7)
    assert not np.array_equal(array, saved["layer0.weight"])
    model.load_state_dict(saved)
    np.testing.assert_array_equal(array, saved["layer0.weight"])


def test_a_state_dict_that_does_not_fit_is_refused_whole() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    before = model.state_dict()
    with pytest.raises(ArgumentError) as names:
        model.load_state_dict({"layer0.weight": before["layer0.weight"] + 1, "head": 0})
    assert str(names.value) == (
        "load_state_dict: missing layer0.bias; unknown head; "
        "the parameters are layer0.weight, layer0.bias"
    )
    with pytest.raises(ArgumentError) as shape:
        model.load_state_dict(
            {"layer0.weight": before["layer0.weight"] + 1, "layer0.bias": np.zeros(3)}
        )
    assert str(shape.value) == ("load_state_dict: layer0.bias is float32 (2,), got float64 (3,)")
    np.testing.assert_array_equal(model.state_dict()["layer0.weight"], before["layer0.weight"])


def test_a_parameter_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(DTypeError, match="must be of a float dtype, got int32"):
        nn.Parameter((2,), dtype="int32")
    with pytest.raises(ShapeError, match=r"cannot have the shape \(-1,\)"):
        nn.Parameter((-1,))
    parameter = nn.Parameter((2,))
    with pytest.raises(ShapeError, match=r"shape \(2,\) cannot take \(3,\)"):
        parameter.value = np.zeros(3)
    with pytest.raises(DTypeError, match="float32 cannot take object"):
        parameter.value = np.array([None, None])
    with pytest.raises(ArgumentError, match="cannot be named 'two words'"):
        parameter.bind_name("two words")


def test_layers_refuse_sizes_and_parts_that_are_none() -> None:
    with pytest.raises(ArgumentError, match=r"^Linear: in_features must be at least 1, got 0$"):
        nn.Linear(0, 3)
    with pytest.raises(ArgumentError, match=r"^Linear: out_features must be an integer, got 2\.5$"):
        nn.Linear(3, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^Sequential: layer 1 is no nn\.Module but 'relu'$"):
        nn.Sequential(nn.ReLU(), "relu")  # type: ignore[arg-type]


def test_a_linear_layer_refuses_another_number_of_features() -> None:
    with pytest.raises(ShapeError) as refusal:
        nn.Linear(3, 2)(placeholder((5, 4), name="x"))
    assert str(refusal.value) == "Linear(3, 2) takes inputs (..., 3), got x of shape (5, 4)"
