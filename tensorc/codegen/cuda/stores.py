"""Copies of boxes from shared memory to an array: what they wait for, and what waits for them.

    C.local[w] = ...; publish_shared();             by all threads
    __syncthreads();
    if (tid == 0) { tma_store_2d(C_map, x, y, C_local); bulk_commit(); }
    ...
    if (tid == 0) bulk_wait_read();                 before the barrier behind which others
    __syncthreads();                                write C.local again
    C.local[w] = ...

The barriers are those that any thread would need that reads what others have written, and that
others write again. What is new is that the thread, at the second one, must wait for its copies:
they read later than it issues them. At the end of the kernel it waits for the last of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.cuda.barriers import Tree, meets
from tensorc.errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.codegen.cuda.barriers import Barrier, Spot, Touch
    from tensorc.codegen.cuda.kernel import Kernel, Phase
    from tensorc.codegen.cuda.tma import BoxCopy


def need_apart(
    kernel: Kernel, stores: Sequence[BoxCopy], touches: Mapping[Phase, Sequence[Touch]]
) -> None:
    """Refuse where something else touches an element to which a box is stored.

    Raises:
        CompileError: another phase uses the array, or a later iteration stores the element again:
            nothing orders the two. The message shows it.
    """
    tree = Tree(kernel)
    for copy in stores:
        around = tree.loops(copy.phase)
        for t in touches[copy.phase]:
            again = (
                n.loop.var.name
                for at, n in enumerate(around)
                if t.buffer is copy.spec.source
                and meets(kernel, t, t, around, around, at, carried=True)
            )
            name = next(again, None)
            if name is not None:
                raise CompileError(
                    f"{t.text}: later iterations of loop {name} may store the same elements of "
                    f"{t.buffer.name} again, and copies of boxes end in no order; store it "
                    "without the hint"
                )
        for phase, own in touches.items():
            for t in own:
                if phase is not copy.phase and t.buffer is copy.spec.source:
                    raise CompileError(
                        f"{t.text}: it uses {t.buffer.name}, to which the same kernel stores "
                        "boxes, and nothing orders the two; store it without the hint"
                    )


def waits(
    stores: Sequence[BoxCopy],
    touches: Mapping[Phase, Sequence[Touch]],
    placed: Sequence[Barrier],
) -> dict[Spot, str]:
    """Before which barriers copies must have read, and the names of the buffers."""
    found: dict[Spot, str] = {}
    for copy in stores:
        texts = {t.text for t in touches[copy.phase] if not t.writes}
        name = copy.target.name
        for barrier in placed:
            if any(d.first in texts and d.buffer == name for d in barrier.serves):
                found[barrier.spot] = name
    return found
