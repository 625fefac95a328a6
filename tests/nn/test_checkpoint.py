"""Checkpoints: what is written is read back, whole; a run that resumes goes on bit for bit."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

import tensorc as tc
from nn.mlp import batches
from tensorc import nn, optim
from tensorc.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from pathlib import Path


def model() -> nn.Sequential:
    made = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )
    made.initialize(4)
    return made


def compiled(net: nn.Module) -> tc.CompiledFunction:
    return tc.compile(nn.training_step(net, nn.SoftmaxLoss(), optim.Adam(1e-2), batch=16))


def test_a_resumed_run_gives_the_same_bits_as_one_that_did_not_stop(tmp_path: Path) -> None:
    data = batches(8, 16, 6, 3)
    whole = compiled(model())
    losses = [float(whole(x, y)) for x, y in data]
    first = compiled(model())
    for x, y in data[:5]:
        first(x, y)
    nn.save_checkpoint(tmp_path / "a.safetensors", first.state, {"step": "5"})
    other = model()
    other.initialize(99)
    second = compiled(other)
    assert nn.load_checkpoint(tmp_path / "a.safetensors", second.state) == {"step": "5"}
    assert [float(second(x, y)) for x, y in data[5:]] == losses[5:]
    for name, value in whole.state.items():
        np.testing.assert_array_equal(np.asarray(second.state[name]), np.asarray(value))


def test_a_model_is_saved_with_its_buffers_and_restored_in_place(tmp_path: Path) -> None:
    net, other = model(), model()
    other.initialize(1)
    arrays = [p.value for p in other.parameters()]
    nn.save_checkpoint(tmp_path / "a.safetensors", net)
    assert nn.load_checkpoint(tmp_path / "a.safetensors", other) == {}
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)
    assert all(p.value is a for p, a in zip(other.parameters(), arrays, strict=True))


def test_every_dtype_reads_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    kinds += ["float16", "float32", "float64", ml_dtypes.bfloat16]
    state = {f"a{k}": (rng.normal(size=(3, 2)) * 5).astype(kind) for k, kind in enumerate(kinds)}
    state |= {"number": np.array(3.5), "none": np.ones((0, 2))}
    state |= {"turned": np.arange(6.0).reshape(2, 3).T}
    nn.save_checkpoint(tmp_path / "a.safetensors", state)
    found, metadata = nn.read_checkpoint(tmp_path / "a.safetensors")
    assert metadata == {}
    assert found.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_a_mismatch_names_the_parameter_and_both_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    nn.save_checkpoint(path, nn.Sequential(nn.Linear(3, 4)))
    other = nn.Sequential(nn.Linear(3, 5))
    before = other.state_dict()
    with pytest.raises(ArgumentError) as e:
        nn.load_checkpoint(path, other)
    assert str(e.value) == (
        f"load_checkpoint: {path}: layer0.weight is float32 (3, 5), got float32 (3, 4)"
    )
    with pytest.raises(ArgumentError) as e:
        nn.load_checkpoint(path, nn.Sequential(nn.ReLU(), nn.Linear(3, 4, bias=False)))
    assert str(e.value) == (
        f"load_checkpoint: {path}: missing layer1.weight; unknown layer0.bias, layer0.weight; "
        "the parameters are layer1.weight"
    )
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    nn.save_checkpoint(path, {"a": np.arange(3)})

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        nn.save_checkpoint(path, {"a": np.arange(5)})
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    np.testing.assert_array_equal(nn.read_checkpoint(path)[0]["a"], np.arange(3))


def test_a_damaged_file_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    nn.save_checkpoint(path, {"a": np.arange(30)})
    for content in (b"", path.read_bytes()[:-3], b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.safetensors"):
            nn.read_checkpoint(path)
    with pytest.raises(DataError, match="No such file"):
        nn.read_checkpoint(tmp_path / "b")


def test_what_cannot_be_saved_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError) as e:
        nn.save_checkpoint(tmp_path / "a", {}, {"epoch": 3})  # type: ignore[dict-item]
    assert str(e.value) == (
        "save_checkpoint: metadata must be texts, and epoch is 3; use str() or json.dumps"
    )
    with pytest.raises(DataError) as d:
        nn.save_checkpoint(tmp_path / "none" / "a", {})
    assert str(d.value) == f"{tmp_path}/none/a: cannot be written: No such file or directory"
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ArgumentError) as e:
        nn.save_checkpoint(tmp_path / "a", {})
    assert str(e.value) == (
        "save_checkpoint: the package safetensors is not there; pip install 'tensorc[checkpoint]'"
    )
