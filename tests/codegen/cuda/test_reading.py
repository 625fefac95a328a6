"""A kernel reads as a person would write it: short names, whole comments, no idle lines."""

from __future__ import annotations

import re

from codegen.cuda.programs import emitted
from codegen.cuda.schedules import tensor_core_schedule
from tensorc.codegen.cuda.reading import root, tidied


def test_loops_lose_what_steps_added_to_their_names() -> None:
    assert root("i.inner.inner.outer") == "i"
    assert root("i0.outer.i1.outer_2") == "i0.i1"
    assert root("C.out0.inner") == "C.out0"
    assert root("k.ahead_1") == "k"
    assert root("lane") == "lane"
    assert root("inner") == "inner"


def test_a_schedule_of_many_steps_has_short_names() -> None:
    source = emitted(tensor_core_schedule(128, 3).program).source.split("extern")[1]
    code = "\n".join(x for x in source.splitlines() if not x.lstrip().startswith("//"))
    assert not re.search(r"_(inner|outer|init|ahead)\b", code)
    assert "const int i_block = blockIdx.y;" in code
    assert "const int i_thread = tid / 64;" in code
    assert code.count("const int lane = tid % 32;") == 1
    assert code.count("tid % 32;") == 1  # The same number is one variable in every phase.


def test_comments_are_whole_and_in_the_names_of_the_code() -> None:
    source = emitted(tensor_core_schedule(128, 3).program).source
    lines = [line.strip() for line in source.splitlines()]
    row = "i_thread * 32 + i * 16 + lane // 4 + h * 8"
    expected = [
        f"// C.local[{row}, j_thread * 32 + j * 8 + lane % 4 * 2",
        f"//     + c] += float32(A.local[k % 3, {row}, k_1]) *",
        "//     float32(B.local[k % 3, k_1, j_thread * 32 + j * 8 + lane % 4 * 2 + c])",
        "{",
    ]
    at = lines.index(expected[0])
    assert lines[at : at + 4] == expected
    assert all(len(line) <= 100 for line in lines if line.startswith("//"))


def test_idle_numbers_and_double_braces_go() -> None:
    text = """  const int a = tid / 4;
  const int b = a + 1;
  if (tid < 3) {
    {
      x[tid] = 1;
    }
  }
  else {
    {
      y[0] = 1;
    }
    y[1] = 1;
  }"""
    assert (
        "\n".join(tidied(text.splitlines()))
        == """  if (tid < 3) {
    x[tid] = 1;
  }
  else {
    {
      y[0] = 1;
    }
    y[1] = 1;
  }"""
    )
