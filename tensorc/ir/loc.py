"""Where in the user's source a node was made."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

_HERE = str(Path(__file__).parent.parent) + os.sep


class Loc(NamedTuple):
    """The user's source line that made a node.

    `what` is set where the node came from one of ours that the user called: what it is there, in
    the user's words ("softmax_cross_entropy: label"), for errors that a call finds.
    """

    file: str
    line: int
    what: str = ""

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"


def caller_loc(what: str = "") -> Loc | None:
    """The nearest line on the stack that is not the compiler's own; `what` as in `Loc`."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else Loc(frame.f_code.co_filename, frame.f_lineno, what)
