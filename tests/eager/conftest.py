"""What the tests of imperative use share."""

from __future__ import annotations

from typing import Any

import pytest

import tensorc as tc
from tensorc.eager import evaluate


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions that are compiled while the test runs, by name, newest last."""
    names: list[str] = []
    real = tc.compile

    def counted(*args: Any, **kwargs: Any) -> Any:
        names.append(kwargs["name"])
        return real(*args, **kwargs)

    monkeypatch.setattr(evaluate, "compile", counted)
    monkeypatch.setattr(evaluate, "_plans", type(evaluate._plans)())
    return names
