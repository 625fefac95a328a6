"""Rows of the lists of illegal and of legal schedules: a program, and steps written in short.

    split C:i 4 tail=peel; reorder C:k C:i.inner

is `s.split(s.loop("C", "i"), 4, tail="peel")`, then `s.reorder(...)` of two loops.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from tensorc.ir.parser import parse
from tensorc.schedule.schedule import Schedule


def program(params: str, body: str, reducer: str = "") -> str:
    """The text of a program; sizes that are names become its dimensions."""
    sizes = dict.fromkeys(re.findall(r"(?<=[\[ ])[nm](?=[\],])", params))
    dims = f" dims({', '.join(f'{size} >= 0' for size in sizes)})" if sizes else ""
    lines = "".join(f"  {line}\n" for line in body.strip("\n").splitlines())
    head = f"{reducer}\n" if reducer else ""
    return f"{head}program main({params}){dims}:\n{lines}"


@dataclass(frozen=True)
class Refused:
    """A mistake: what it is, the program, the legal steps before it, and the step."""

    name: str
    program: str
    before: str
    step: str
    strict: bool = False

    def schedule(self) -> Schedule:
        """The schedule as it stands before the step."""
        s = Schedule(parse(self.program), strict=self.strict)
        take(s, self.before)
        return s


@dataclass(frozen=True)
class Accepted:
    """Legal steps that are hard to prove: what they are, the program, the steps."""

    name: str
    program: str
    steps: str


def take(s: Schedule, steps: str) -> None:
    """Take steps written in short (see above)."""
    for text in filter(None, map(str.strip, steps.split(";"))):
        primitive, *words = text.split()
        args = [_value(s, word) for word in words if "=" not in word]
        options = {k: _value(s, v) for k, v in (w.split("=", 1) for w in words if "=" in w)}
        getattr(s, primitive)(*args, **options)


def _value(s: Schedule, word: str) -> Any:
    if ":" in word:
        return s.loop(*word.split(":", 1))
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


# --- programs of several rows --------------------------------------------------------------

MATMUL = program(
    "A: in float32[8, 6], B: in float32[6, 10], C: out float32[8, 10]",
    """
for i in range(8):
  for j in range(10):
    C[i, j] = 0.0
    for k in range(6):
      C[i, j] += A[i, k] * B[k, j]""",
)

PREFIX = program(
    "A: in float32[n], S: inout float32[n]",
    """
for i in range(1, n):
  S[i] = S[i - 1] + A[i]""",
)

STENCIL = program(
    "W: inout float32[10]",
    """
for t in range(4):
  for x in range(1, 9):
    W[x] = W[x - 1] + W[x + 1]""",
)

DIAGONAL = program(
    "W: inout float32[8, 8]",
    """
for i in range(1, 8):
  for j in range(7):
    W[i, j] = W[i - 1, j + 1] * 0.5""",
)

CHECKED = program(
    "A: in float32[4, 3], B: inout float32[4, 3]",
    """
for i in range(4):
  for j in range(3):
    check A[i, j] > -9.0, "A[{0}, {1}] is too low", (i, j)
    B[i, j] = A[i, j]""",
)

TWO = program(
    "A: in float32[11], C: out float32[9]",
    """
alloc B: float32[10]
  for i in range(10):
    B[i] = A[i] + A[i + 1]
  for j in range(9):
    C[j] = B[j] * B[j + 1]""",
)

EPILOGUE = program(
    "A: in float32[8, 6], B: in float32[6, 10], D: out float32[8, 10]",
    """
alloc C: float32[8, 10]
  for i in range(8):
    for j in range(10):
      C[i, j] = 0.0
      for k in range(6):
        C[i, j] += A[i, k] * B[k, j]
  for x in range(8):
    for y in range(10):
      D[x, y] = max(C[x, y], 0.0)""",
)

UPDATE = program(
    "W: inout float32[4], G: in float32[4], E: out float32[4]",
    """
alloc D: float32[4]
  for i in range(4):
    D[i] = W[i] * 0.5 + G[i]
  for j in range(4):
    W[j] = W[j] - D[j]
    E[j] = D[j]""",
)

TILE = program(
    "A: in float32[4, 16], B: in float32[16], C: inout float32[4, 16]",
    """
for i in range(4):
  for k in range(4):
    for j in range(8):
      C[i, 8 + j] += A[i, k] * B[j]""",
)

ROWMAX = program(
    "A: in float32[4, 10], M: out float32[4]",
    """
for i in range(4):
  M[i] = float32(-inf)
  for k in range(10):
    M[i] max= A[i, k]""",
)
