"""Every example in Python of the README and of `docs/` runs, with what it takes for granted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from test_tutorials import ROOT, can_emulate, run_python

if TYPE_CHECKING:
    from pathlib import Path

# What the text around an example has introduced before.
_DATA = """
import numpy as np
import tensorc as tc
from tensorc import nn, optim
x, y = np.ones((128, 784), np.float32), np.zeros(128, np.int32)
loader = [(x, y)] * 2
"""
_GPU = """
import numpy as np
import tensorc as tc
A, B, r = tc.placeholder((40, 24), name="A"), tc.placeholder((24, 16), name="B"), tc.reduce_axis(24)
C = c = tc.compute((40, 16), lambda i, j: tc.sum(A[i, r] * B[r, j], axis=r), name="C")
a, b = np.ones((40, 24), np.float32), np.ones((24, 16), np.float32)
"""
EXAMPLES = {
    "README.md": ("", _DATA, _GPU),
    "docs/networks.md": (_DATA, _DATA),
    "docs/cuda.md": (None,),  # It passes torch's arrays on a GPU: `tests/gpu` does so where one is.
}


def examples(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "number"),
    [(p, n) for p, befores in EXAMPLES.items() for n, b in enumerate(befores) if b is not None],
)
def test_an_example_runs(page: str, number: int, tmp_path: Path) -> None:
    code = examples(page)[number]
    if "cuda" in code and not can_emulate():
        pytest.skip("needs NVRTC and a C++ compiler")
    said = run_python("-W", "error", "-c", f"{EXAMPLES[page][number]}\n{code}", folder=tmp_path)
    if (page, number) == ("README.md", 0):
        assert "for i" in said
        assert (tmp_path / "build" / "gemm" / "gemm.h").is_file()
    if (page, number) == ("README.md", 2):
        assert "__global__" in said
        assert "no findings" in said


def test_every_example_is_listed() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {str(p.relative_to(ROOT)): len(examples(str(p.relative_to(ROOT)))) for p in pages}
    assert {p: n for p, n in found.items() if n} == {p: len(b) for p, b in EXAMPLES.items()}
