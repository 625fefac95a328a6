"""Rules for a few nests, taken apart from the rest of the program.

The steps of a rule then cost what the nests are, and nests that are equal but for names, as those
of equal layers, are scheduled once: the steps and what they made are put in place of each.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.facts import facts, nests
from tensorc.ir.stmt import For, If, Store
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.excerpt import (
    Excerpt,
    Made,
    Outline,
    Renewed,
    cut,
    filled_buffers,
    put_back,
    renewed,
)
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.spine import spine_of
from tensorc.schedule.tree import used_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from tensorc.ir.stmt import Stmt
    from tensorc.target import Target

    Rule: TypeAlias = Callable[[Schedule, str, Target], object]
    Span: TypeAlias = Callable[[Outline, str], tuple[int, int] | None]

MANY = 128  # Nests of a program in which a step costs more than to cut an excerpt for it.
LONGEST = 64  # Nests of an excerpt: the steps on a longer one are taken in the whole.


class Apart:
    """Takes rules' steps in excerpts of one schedule's program, each kind of excerpt once."""

    def __init__(self, s: Schedule, target: Target) -> None:
        """`s` is as it was built: nests in order, each over all of what it computes."""
        self.s, self.target = s, target
        self._filled = filled_buffers(s.program)
        self._made: dict[object, Made | None] = {}

    def attempt_all(
        self,
        rule: Rule,
        stages: Iterable[str],
        span: Span | None = None,
        whole: Iterable[str] = (),
    ) -> None:
        """Take the steps of a rule for each stage together or, where one is refused, none of them.

        What has no nest in common is cut, and put back, together; all else is taken in order.

        Args:
            rule: told apart from others by its name.
            stages: what the nests compute.
            span: the places of the first and the last nest that the rule may change; those of the
                nests that compute the stage where it is left out. None for a stage to be left.
            whole: the stages for which the rule must see the whole program.
        """
        pending = list(stages)
        alone = set(whole)
        while pending:
            spine = spine_of(self.s.program.body)
            if spine is None:
                for stage in pending:
                    attempt(self.s, partial(rule, self.s, stage, self.target))
                return
            outline = Outline(self.s.program, spine)
            round_ = _Round(self, rule, outline, span or own_nests, alone)
            single, pending = round_.run(pending)
            for stage in single:
                attempt(self.s, partial(rule, self.s, stage, self.target))

    def is_known(self, key: object) -> bool:
        """Whether `made` was asked about this before."""
        return key in self._made

    def made(self, key: object, excerpt: Excerpt, rule: Rule, name: str) -> Made | None:
        """What a rule makes of an excerpt; None where one of its steps is refused."""
        if key not in self._made:
            s = Schedule(excerpt.program(self.s.program))
            taken = attempt(s, partial(rule, s, name, self.target))
            self._made[key] = Made(excerpt, s.program.body, s.trace.steps) if taken else None
        return self._made[key]

    def cut(self, outline: Outline, places: tuple[int, int]) -> Excerpt | None:
        """An excerpt, where it is one with all that it computes, and not too long."""
        first, last = places
        if last - first >= LONGEST or not outline.is_whole(first, last):
            return None
        return cut(outline, first, last, self._filled)


class _Round:
    """Excerpts of one program that have no nest in common."""

    def __init__(
        self, apart: Apart, rule: Rule, outline: Outline, span: Span, whole: set[str]
    ) -> None:
        """`whole` are the stages to be scheduled in the whole program."""
        self.apart, self.rule, self.outline, self.span = apart, rule, outline, span
        self.whole = whole

    def run(self, stages: Sequence[str]) -> tuple[list[str], list[str]]:
        """Take what can be taken together.

        Returns the stages to be scheduled in the whole program next, and those that are left.
        """
        chosen, single, later = self._chosen(stages)
        keys = [(self.rule.__qualname__, x.name_of(stage), x.key) for stage, x in chosen]
        counts = Counter(keys)
        few = len(self.outline.spine.nests) < MANY
        taken = used_names(self.outline.program)
        parts: list[Renewed] = []
        for (stage, excerpt), key in zip(chosen, keys, strict=True):
            if few and counts[key] == 1 and not self.apart.is_known(key):
                single.append(stage)
                continue
            made = self.apart.made(key, excerpt, self.rule, key[1])
            if made is None or not made.steps:
                continue
            part = renewed(excerpt, made, taken)
            if part is None:
                single.append(stage)
            else:
                parts.append(part)
        if parts:
            steps = [step for part in parts for step in part.steps]
            self.apart.s.adopt(put_back(self.outline, parts), steps)
        return single, later

    def _chosen(
        self, stages: Sequence[str]
    ) -> tuple[list[tuple[str, Excerpt]], list[str], list[str]]:
        """Excerpts, each with its stage; a stage that makes none, if it is the next; the others."""
        chosen: list[tuple[str, Excerpt]] = []
        later: list[str] = []
        busy: set[int] = set()
        for position, stage in enumerate(stages):
            places = self.span(self.outline, stage)
            if places is None:
                continue
            nests_ = range(places[0], places[1] + 1)
            if not busy.isdisjoint(nests_):
                later.append(stage)
            else:
                excerpt = None if stage in self.whole else self.apart.cut(self.outline, places)
                if excerpt is None and busy:
                    return chosen, [], [*later, *stages[position:]]
                if excerpt is None:
                    return [], [stage], list(stages[position + 1 :])
                chosen.append((stage, excerpt))
            busy.update(nests_)
        return chosen, [], later


def own_nests(outline: Outline, stage: str) -> tuple[int, int]:
    """From the first nest that computes a stage to the last."""
    places = outline.writers[stage]
    return places[0], places[-1]


def with_readers(outline: Outline, stage: str) -> tuple[int, int]:
    """From the nest that computes a stage to the last that may be computed in the same tiles.

    That is one that stores elements, and reads the stage or what came of it so. What reads more
    that depends on the stage comes too late.
    """
    first, last = own_nests(outline, stage)
    made, late = {stage}, set[str]()
    for place in range(last + 1, min(first + LONGEST, len(outline.spine.nests))):
        nest = outline.spine.nests[place]
        known = [facts(part) for part in nests(nest)]
        read = {b.name for f in known for b in f.read}
        if made.isdisjoint(read) and late.isdisjoint(read):
            continue
        written = {name for f in known for name in f.stages}
        if late.isdisjoint(read) and _stores_elements(nest):
            made |= written
            last = place
        else:
            late |= written
    return first, last


def _stores_elements(nest: Stmt) -> bool:
    """Whether a nest runs one store alone."""
    while isinstance(nest, For | If):
        if isinstance(nest, If) and nest.orelse is not None:
            return False
        nest = nest.body
    return isinstance(nest, Store)
