"""The exported functions around a program's body: argument checks, workspace size, threads.

Error codes, and what `error_info` then holds, are those of `tensorc.h`: (argument, dimension, got,
expected), -1 where there is none; the workspace is argument -1; for OVERLAP the dimension is the
other argument, for DIM_TOO_SMALL the argument is the number of the size.
"""

from __future__ import annotations

from tensorc.codegen.llvm.builder import Builder, Module
from tensorc.codegen.llvm.expr import ExprEmitter
from tensorc.dtypes import DType
from tensorc.errors import CompileError
from tensorc.ir.expr import Dim, Expr
from tensorc.ir.stmt import Program, Role
from tensorc.lower.memory import ALIGNMENT, WorkspaceLayout

TENSOR = "%DLTensor = type { ptr, i32, i32, i32, i8, i8, i16, ptr, ptr, i64 }"

(OK, NULL_ARGUMENT, DEVICE, NDIM, DTYPE, SHAPE, STRIDES, MISALIGNED, WORKSPACE, OVERLAP) = range(10)
DIM_TOO_SMALL = 11

HELPERS = f"""
define internal i32 @tensorc.report(ptr %info, i32 %code, i64 %a, i64 %b, i64 %c, i64 %d) noinline cold {{
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

define internal i32 @tensorc.check_kind(ptr %t, i64 %index, i32 %ndim, i32 %dtype, ptr %info) noinline {{
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
  %r1 = call i32 @tensorc.report(ptr %info, i32 {DEVICE}, i64 %index, i64 -1, i64 %device.w, i64 1)
  ret i32 %r1
rank:
  %rank.p = getelementptr %DLTensor, ptr %t, i32 0, i32 3
  %rank.v = load i32, ptr %rank.p
  %rank.ok = icmp eq i32 %rank.v, %ndim
  br i1 %rank.ok, label %type, label %bad.rank
bad.rank:
  %rank.w = sext i32 %rank.v to i64
  %rank.e = sext i32 %ndim to i64
  %r2 = call i32 @tensorc.report(ptr %info, i32 {NDIM}, i64 %index, i64 -1, i64 %rank.w, i64 %rank.e)
  ret i32 %r2
type:
  %type.p = getelementptr %DLTensor, ptr %t, i32 0, i32 4
  %type.v = load i32, ptr %type.p, align 1
  %type.ok = icmp eq i32 %type.v, %dtype
  br i1 %type.ok, label %good, label %bad.type
bad.type:
  %type.w = zext i32 %type.v to i64
  %type.e = zext i32 %dtype to i64
  %r3 = call i32 @tensorc.report(ptr %info, i32 {DTYPE}, i64 %index, i64 -1, i64 %type.w, i64 %type.e)
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

define internal i32 @tensorc.check_layout(ptr %t, i64 %index, i64 %ndim, ptr %expected, i64 %bytes, ptr %info, ptr %data.out, ptr %size.out) noinline {{
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
  %r1 = call i32 @tensorc.report(ptr %info, i32 {STRIDES}, i64 %index, i64 %s.next, i64 %stride, i64 %run)
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
  %r3 = call i32 @tensorc.report(ptr %info, i32 {MISALIGNED}, i64 %index, i64 -1, i64 %low, i64 %bytes)
  ret i32 %r3
good:
  ret i32 0
}}

define internal i32 @tensorc.check_overlap(ptr %datas, ptr %sizes, i64 %index, i64 %count, ptr %info) noinline {{
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

_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}


def dlpack_type(dtype: DType) -> int:
    """DLPack's (code, bits, lanes) in one little-endian word; a bool has 8 bits."""
    code = 4 if dtype.name == "bfloat16" else _CODES[dtype.kind]
    return code | max(8, dtype.bits) << 8 | 1 << 16


def bind_dims(program: Program) -> dict[Dim, tuple[int, int]]:
    """For each symbolic size the first argument and axis that is plainly of that size.

    Raises:
        CompileError: a size that no argument's shape has by itself.
    """
    found: dict[Dim, tuple[int, int]] = {}
    for index, param in enumerate(program.params):
        for axis, size in enumerate(param.buffer.shape):
            if isinstance(size, Dim) and size not in found:
                found[size] = (index, axis)
    for dim in program.dims:
        if dim not in found:
            raise CompileError(
                f"program {program.name}: no argument has an axis of size {dim.name}, so a call "
                f"cannot know it; add an argument with an axis of size {dim.name} itself"
            )
    return found


def emit_entry(module: Module, program: Program) -> str:
    """`NAME`, which checks its arguments and then calls `NAME_run`."""
    b = Builder(module)
    e = ExprEmitter(b)
    count, rank = len(program.params), max((p.buffer.ndim for p in program.params), default=0)
    if count:
        null, given = b.new_label("null"), b.new_label("given")
        b.branch(b.op("icmp eq ptr %args, null"), null, given)
        b.label(null)
        _report(b, NULL_ARGUMENT, "-1", "-1", "0", "0")
        b.label(given)
    datas, sizes = b.alloca("ptr", count + 1), b.alloca("i64", count + 1)
    expected, dims = b.alloca("i64", rank + 1), b.alloca("i64", len(program.dims) + 1)
    tensors = [b.op(f"load ptr, ptr {_at(b, '%args', i, 'ptr')}") for i in range(count)]

    def refuse_unless_zero(code: str) -> None:
        bad, good = b.new_label("bad"), b.new_label("good")
        b.branch(b.op(f"icmp eq i32 {code}, 0"), good, bad)
        b.label(bad)
        b.line(f"ret i32 {code}")
        b.label(good)

    for i, param in enumerate(program.params):
        kind = dlpack_type(param.buffer.dtype)
        refuse_unless_zero(
            b.op(
                f"call i32 @tensorc.check_kind(ptr {tensors[i]}, i64 {i}, i32 {param.buffer.ndim}, "
                f"i32 {kind}, ptr %error_info)"
            )
        )
    binding = bind_dims(program)
    for position, dim in enumerate(program.dims):
        i, axis = binding[dim]
        size = b.op(f"call i64 @tensorc.size(ptr {tensors[i]}, i64 {axis})")
        e.env[dim] = b.named(size)
        b.line(f"store i64 {size}, ptr {_at(b, dims, position)}")
        bad, good = b.new_label("bad"), b.new_label("good")
        b.branch(b.op(f"icmp sge i64 {size}, {dim.lower}"), good, bad)
        b.label(bad)
        _report(b, DIM_TOO_SMALL, str(position), "-1", size, str(dim.lower))
        b.label(good)
    for i, param in enumerate(program.params):
        for axis, wanted in enumerate(param.buffer.shape):
            b.line(f"store i64 {_size(e, wanted)}, ptr {_at(b, expected, axis)}")
        refuse_unless_zero(
            b.op(
                f"call i32 @tensorc.check_layout(ptr {tensors[i]}, i64 {i}, "
                f"i64 {param.buffer.ndim}, ptr {expected}, i64 {param.buffer.dtype.bytes}, "
                f"ptr %error_info, ptr {_at(b, datas, i, 'ptr')}, ptr {_at(b, sizes, i)})"
            )
        )
    for i, param in enumerate(program.params):
        if param.role is not Role.IN:
            refuse_unless_zero(
                b.op(
                    f"call i32 @tensorc.check_overlap(ptr {datas}, ptr {sizes}, i64 {i}, "
                    f"i64 {count}, ptr %error_info)"
                )
            )
    _check_workspace(b, program.name, dims)
    result = b.op(
        f"call i32 @{program.name}_run(ptr {datas}, ptr {dims}, ptr %workspace, "
        "i32 %num_threads, ptr %error_info)"
    )
    b.line(f"ret i32 {result}")
    head = (
        f"define i32 @{program.name}(ptr %args, ptr %workspace, i64 %workspace_bytes, "
        "i32 %num_threads, ptr %error_info)"
    )
    return function(head, b.body())


def _check_workspace(b: Builder, name: str, dims: str) -> None:
    needed = b.op(f"call i64 @{name}_workspace(ptr {dims}, i32 %num_threads)")
    some, small, enough = b.new_label("some"), b.new_label("small"), b.new_label("enough")
    odd, good = b.new_label("odd"), b.new_label("good")
    b.branch(b.op(f"icmp sgt i64 {needed}, 0"), some, good)
    b.label(some)
    null = b.op("icmp eq ptr %workspace, null")
    have = b.op(f"select i1 {null}, i64 0, i64 %workspace_bytes")
    b.branch(b.op(f"icmp sge i64 {have}, {needed}"), enough, small)
    b.label(small)
    _report(b, WORKSPACE, "-1", "-1", have, needed)
    b.label(enough)
    word = b.op("ptrtoint ptr %workspace to i64")
    low = b.op(f"and i64 {word}, {ALIGNMENT - 1}")
    b.branch(b.op(f"icmp eq i64 {low}, 0"), good, odd)
    b.label(odd)
    _report(b, MISALIGNED, "-1", "-1", low, str(ALIGNMENT))
    b.label(good)


def emit_workspace_size(module: Module, program: Program, layout: WorkspaceLayout) -> str:
    """`NAME_workspace`: the bytes that a call with these sizes and threads needs."""
    b = Builder(module)
    e = ExprEmitter(b)
    load_dims(b, e, program, "%dims")
    shared, part = e.poly(layout.shared), e.poly(layout.slice)
    threads = b.named(thread_count(b))
    b.line(f"ret i64 {b.integer(shared + part * threads).text}")
    return function(
        f"define i64 @{program.name}_workspace(ptr %dims, i32 %num_threads)", b.body()
    )


def load_dims(b: Builder, e: ExprEmitter, program: Program, pointer: str) -> list[str]:
    """Bind the symbolic sizes to the values at `pointer`."""
    texts = []
    for i, dim in enumerate(program.dims):
        text = b.op(f"load i64, ptr {_at(b, pointer, i)}")
        e.env[dim] = b.named(text)
        texts.append(text)
    return texts


def thread_count(b: Builder) -> str:
    """`%num_threads`, at least 1, as an i64."""
    b.module.declare("llvm.smax.i32", "i32", ["i32", "i32"])
    return b.op(f"zext i32 {b.op('call i32 @llvm.smax.i32(i32 %num_threads, i32 1)')} to i64")


def function(head: str, body: list[str]) -> str:
    """The text of a function."""
    return "\n".join([head + " {", *body, "}", ""])


def _at(b: Builder, pointer: str, index: int, type_: str = "i64") -> str:
    if index == 0:
        return pointer
    return b.op(f"getelementptr {type_}, ptr {pointer}, i64 {index}")


def _size(e: ExprEmitter, size: Expr) -> str:
    return e.b.integer(e.poly(size)).text


def _report(b: Builder, code: int, *words: str) -> None:
    args = ", ".join(f"i64 {w}" for w in words)
    b.line(
        f"ret i32 {b.op(f'call i32 @tensorc.report(ptr %error_info, i32 {code}, {args})')}"
    )
