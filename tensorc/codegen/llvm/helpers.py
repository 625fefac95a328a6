"""The checks of one argument, as LLVM functions that every entry calls.

Written out as text, since they are the same for each program but for what is passed to them.
"""

from __future__ import annotations

# The codes of tensorc.h.
(OK, NULL_ARGUMENT, DEVICE, NDIM, DTYPE, SHAPE, STRIDES, MISALIGNED, WORKSPACE, OVERLAP) = range(10)
CHECK_FAILED = 10
DIM_TOO_SMALL = 11

HELPERS = f"""
%DLTensor = type {{ ptr, i32, i32, i32, i8, i8, i16, ptr, ptr, i64 }}

define internal i32 @tensorc.report(ptr %info, i32 %code, i64 %a, i64 %b, i64 %c,
    i64 %d) noinline cold {{
  %none = icmp eq ptr %info, null
  br i1 %none, label %end, label %write
write:
  store i64 %a, ptr %info
  %p1 = getelementptr i64, ptr %info, i64 1
  store i64 %b, ptr %p1
  %p2 = getelementptr i64, ptr %info, i64 2
  store i64 %c, ptr %p2
  %p3 = getelementptr i64, ptr %info, i64 3
  store i64 %d, ptr %p3
  br label %end
end:
  ret i32 %code
}}

define internal i32 @tensorc.check_kind(ptr %t, i64 %index, i32 %ndim, i32 %dtype,
    ptr %info) noinline {{
  %none = icmp eq ptr %t, null
  br i1 %none, label %bad.null, label %device
bad.null:
  %r0 = call i32 @tensorc.report(ptr %info, i32 {NULL_ARGUMENT}, i64 %index, i64 -1, i64 0, i64 0)
  ret i32 %r0
device:
  %device.p = getelementptr %DLTensor, ptr %t, i32 0, i32 1
  %device.v = load i32, ptr %device.p
  %device.ok = icmp eq i32 %device.v, 1
  br i1 %device.ok, label %rank, label %bad.device
bad.device:
  %device.w = sext i32 %device.v to i64
  %r1 = call i32 @tensorc.report(ptr %info, i32 {DEVICE}, i64 %index, i64 -1, i64 %device.w,
      i64 1)
  ret i32 %r1
rank:
  %rank.p = getelementptr %DLTensor, ptr %t, i32 0, i32 3
  %rank.v = load i32, ptr %rank.p
  %rank.ok = icmp eq i32 %rank.v, %ndim
  br i1 %rank.ok, label %type, label %bad.rank
bad.rank:
  %rank.w = sext i32 %rank.v to i64
  %rank.e = sext i32 %ndim to i64
  %r2 = call i32 @tensorc.report(ptr %info, i32 {NDIM}, i64 %index, i64 -1, i64 %rank.w,
      i64 %rank.e)
  ret i32 %r2
type:
  %type.p = getelementptr %DLTensor, ptr %t, i32 0, i32 4
  %type.v = load i32, ptr %type.p, align 1
  %type.ok = icmp eq i32 %type.v, %dtype
  br i1 %type.ok, label %good, label %bad.type
bad.type:
  %type.w = zext i32 %type.v to i64
  %type.e = zext i32 %dtype to i64
  %r3 = call i32 @tensorc.report(ptr %info, i32 {DTYPE}, i64 %index, i64 -1, i64 %type.w,
      i64 %type.e)
  ret i32 %r3
good:
  %shape.p = getelementptr %DLTensor, ptr %t, i32 0, i32 7
  %shape = load ptr, ptr %shape.p
  %shape.none = icmp eq ptr %shape, null
  %shape.used = icmp ne i32 %ndim, 0
  %shape.bad = and i1 %shape.none, %shape.used
  br i1 %shape.bad, label %bad.null, label %fine
fine:
  ret i32 0
}}

define internal i64 @tensorc.size(ptr %t, i64 %axis) {{
  %shape.p = getelementptr %DLTensor, ptr %t, i32 0, i32 7
  %shape = load ptr, ptr %shape.p
  %p = getelementptr i64, ptr %shape, i64 %axis
  %v = load i64, ptr %p
  ret i64 %v
}}

define internal i32 @tensorc.check_layout(ptr %t, i64 %index, i64 %ndim, ptr %expected,
    i64 %bytes, ptr %info, ptr %data.out, ptr %size.out) noinline {{
entry:
  %strides.p = getelementptr %DLTensor, ptr %t, i32 0, i32 8
  %strides = load ptr, ptr %strides.p
  br label %shape.loop
shape.loop:
  %d = phi i64 [ 0, %entry ], [ %d.next, %shape.next ]
  %count = phi i64 [ 1, %entry ], [ %count.next, %shape.next ]
  %more = icmp slt i64 %d, %ndim
  br i1 %more, label %shape.body, label %shape.done
shape.body:
  %got = call i64 @tensorc.size(ptr %t, i64 %d)
  %want.p = getelementptr i64, ptr %expected, i64 %d
  %want = load i64, ptr %want.p
  %same = icmp eq i64 %got, %want
  br i1 %same, label %shape.next, label %bad.shape
bad.shape:
  %r0 = call i32 @tensorc.report(ptr %info, i32 {SHAPE}, i64 %index, i64 %d, i64 %got, i64 %want)
  ret i32 %r0
shape.next:
  %count.next = mul i64 %count, %got
  %d.next = add i64 %d, 1
  br label %shape.loop
shape.done:
  %size = mul i64 %count, %bytes
  %data.p = getelementptr %DLTensor, ptr %t, i32 0, i32 0
  %base = load ptr, ptr %data.p
  %offset.p = getelementptr %DLTensor, ptr %t, i32 0, i32 9
  %offset = load i64, ptr %offset.p
  %data = getelementptr i8, ptr %base, i64 %offset
  store ptr %data, ptr %data.out
  store i64 %size, ptr %size.out
  %empty = icmp eq i64 %size, 0
  br i1 %empty, label %good, label %strides.test
strides.test:
  %packed = icmp eq ptr %strides, null
  br i1 %packed, label %address, label %stride.loop
stride.loop:
  %s = phi i64 [ %ndim, %strides.test ], [ %s.next, %stride.next ]
  %run = phi i64 [ 1, %strides.test ], [ %run.next, %stride.next ]
  %s.next = add i64 %s, -1
  %s.more = icmp sge i64 %s.next, 0
  br i1 %s.more, label %stride.body, label %address
stride.body:
  %extent = call i64 @tensorc.size(ptr %t, i64 %s.next)
  %stride.p = getelementptr i64, ptr %strides, i64 %s.next
  %stride = load i64, ptr %stride.p
  %fits = icmp eq i64 %stride, %run
  %single = icmp eq i64 %extent, 1
  %stride.ok = or i1 %fits, %single
  br i1 %stride.ok, label %stride.next, label %bad.stride
bad.stride:
  %r1 = call i32 @tensorc.report(ptr %info, i32 {STRIDES}, i64 %index, i64 %s.next,
      i64 %stride, i64 %run)
  ret i32 %r1
stride.next:
  %run.next = mul i64 %run, %extent
  br label %stride.loop
address:
  %missing = icmp eq ptr %base, null
  br i1 %missing, label %bad.null, label %align
bad.null:
  %r2 = call i32 @tensorc.report(ptr %info, i32 {NULL_ARGUMENT}, i64 %index, i64 -1, i64 0, i64 0)
  ret i32 %r2
align:
  %word = ptrtoint ptr %data to i64
  %low = urem i64 %word, %bytes
  %aligned = icmp eq i64 %low, 0
  br i1 %aligned, label %good, label %bad.align
bad.align:
  %r3 = call i32 @tensorc.report(ptr %info, i32 {MISALIGNED}, i64 %index, i64 -1, i64 %low,
      i64 %bytes)
  ret i32 %r3
good:
  ret i32 0
}}

define internal i32 @tensorc.check_overlap(ptr %datas, ptr %sizes, i64 %index,
    i64 %count, ptr %info) noinline {{
entry:
  %mine.p = getelementptr ptr, ptr %datas, i64 %index
  %mine = load ptr, ptr %mine.p
  %low = ptrtoint ptr %mine to i64
  %size.p = getelementptr i64, ptr %sizes, i64 %index
  %size = load i64, ptr %size.p
  %high = add i64 %low, %size
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i.next, %next ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %body, label %good
body:
  %other.p = getelementptr ptr, ptr %datas, i64 %i
  %other = load ptr, ptr %other.p
  %from = ptrtoint ptr %other to i64
  %length.p = getelementptr i64, ptr %sizes, i64 %i
  %length = load i64, ptr %length.p
  %to = add i64 %from, %length
  %c0 = icmp ult i64 %low, %to
  %c1 = icmp ult i64 %from, %high
  %c2 = icmp ne i64 %i, %index
  %c3 = icmp ne i64 %size, 0
  %c4 = icmp ne i64 %length, 0
  %a0 = and i1 %c0, %c1
  %a1 = and i1 %c2, %c3
  %a2 = and i1 %a0, %a1
  %clash = and i1 %a2, %c4
  br i1 %clash, label %bad, label %next
bad:
  %r = call i32 @tensorc.report(ptr %info, i32 {OVERLAP}, i64 %index, i64 %i, i64 0, i64 0)
  ret i32 %r
next:
  %i.next = add i64 %i, 1
  br label %loop
good:
  ret i32 0
}}
"""
