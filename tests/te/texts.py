"""Comparing the text of built programs."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.verify import verify
from tensorc.ir.walk import same
from tensorc.te.build import build


def assert_builds(expected: str, *args: Any, **kwargs: Any) -> None:
    """`build(*args, **kwargs)` is a valid program whose text is `expected` and parses back."""
    program = build(*args, **kwargs)
    verify(program)
    text = show(program)
    assert text.strip() == dedent(expected).strip()
    assert same(parse(text), program)
