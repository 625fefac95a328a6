"""A program with the lines marked that a step changed, as text and as HTML."""

from __future__ import annotations

import html
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from tensorc.ir.printer import show

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program


def changed_lines(before: Program, after: Program) -> list[tuple[str, bool]]:
    """The lines of `after`, each with whether `before` has it too; how far in does not matter."""
    lines = show(after).splitlines()
    old, new = ([x.strip() for x in text] for text in (show(before).splitlines(), lines))
    marked = [True] * len(lines)
    for _, start, size in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        marked[start : start + size] = [False] * size
    return list(zip(lines, marked, strict=True))


def as_text(before: Program, after: Program) -> str:
    """The lines of `after`, those that changed marked by `> `."""
    return "\n".join(("> " if new else "  ") + line for line, new in changed_lines(before, after))


def as_html(before: Program, after: Program) -> str:
    """The lines of `after` as HTML, those that changed highlighted."""
    lines = [
        f"<mark>{html.escape(line)}</mark>" if new else html.escape(line)
        for line, new in changed_lines(before, after)
    ]
    return f'<pre class="tensorc-program">{chr(10).join(lines)}</pre>'
