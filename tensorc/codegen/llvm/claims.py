"""How threads share the iterations of a parallel loop.

Each thread has a contiguous range, cut in parts. It claims the parts of its own range in order and
then what others have left of theirs, so that a core that is slower, or busy with something else,
does not hold up the rest; where nothing is in the way, a thread works where it worked before.

A range has a counter, on a cache line of its own: the number of the loop's execution, and how many
parts of it are taken. All threads go through the same parallel loops in the same order and number
their executions, so a counter with an older number is one from which nothing is taken yet, and
one with a newer number shows that another thread has gone on: nothing is left of this loop. So
counters are never set back, and no thread waits for another.
"""

from __future__ import annotations

from tensorc.codegen.llvm.builder import Helper

# What the function of a nest is given: counters, the number of the execution, and who asks.
SHARING = ("ptr %claims", "i64 %execution", "i64 %thread", "i64 %threads")
LINE = 64  # Bytes between two counters.
_PARTS = 16  # Of a range; a counter's low byte holds how many are taken.

_ARGUMENTS = (*SHARING, "i64 %count", "ptr %first")
_TEXT = f"""\
({", ".join(_ARGUMENTS)}) noinline nounwind {{
entry:
  %each = sdiv i64 %count, %threads
  %rest = srem i64 %count, %threads
  %tag = shl i64 %execution, 8
  %alone = icmp eq i64 %threads, 1
  %most = select i1 %alone, i64 1, i64 {_PARTS}
  br label %range
range:
  %turn = phi i64 [ 0, %entry ], [ %following, %exhausted ]
  %ahead = add i64 %thread, %turn
  %around = sub i64 %ahead, %threads
  %over = icmp sge i64 %ahead, %threads
  %owner = select i1 %over, i64 %around, i64 %ahead
  %longer = icmp slt i64 %owner, %rest
  %one = zext i1 %longer to i64
  %size = add i64 %each, %one
  %skipped = call i64 @llvm.smin.i64(i64 %owner, i64 %rest)
  %before = mul i64 %owner, %each
  %begin = add i64 %before, %skipped
  %parts = call i64 @llvm.smin.i64(i64 %size, i64 %most)
  %at = mul i64 %owner, {LINE}
  %counter = getelementptr i8, ptr %claims, i64 %at
  br label %look
look:
  %seen = load atomic i64, ptr %counter monotonic, align 8
  %when = lshr i64 %seen, 8
  %gone = icmp ugt i64 %when, %execution
  %now = icmp eq i64 %when, %execution
  %taken = and i64 %seen, 255
  %part = select i1 %now, i64 %taken, i64 0
  %none = icmp sge i64 %part, %parts
  %nothing = or i1 %gone, %none
  br i1 %nothing, label %exhausted, label %take
take:
  %next = add i64 %part, 1
  %new = or i64 %tag, %next
  %swap = cmpxchg ptr %counter, i64 %seen, i64 %new monotonic monotonic, align 8
  %mine = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %mine, label %done, label %look
done:
  %low.parts = mul i64 %size, %part
  %low = sdiv i64 %low.parts, %parts
  %high.parts = mul i64 %size, %next
  %high = sdiv i64 %high.parts, %parts
  %start = add i64 %begin, %low
  store i64 %start, ptr %first, align 8
  %length = sub i64 %high, %low
  ret i64 %length
exhausted:
  %following = add i64 %turn, 1
  %more = icmp slt i64 %following, %threads
  br i1 %more, label %range, label %end
end:
  ret i64 0
}}
"""
CLAIM = Helper(
    "i64 @tensorc.claim", tuple(argument.split(" ")[0] for argument in _ARGUMENTS), _TEXT
)
