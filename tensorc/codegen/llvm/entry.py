"""The exported functions around a program's body: argument checks, workspace size, threads.

Error codes, and what `error_info` then holds, are those of `tensorc.h`: (argument, dimension, got,
expected), -1 where there is none; the workspace is argument -1; for OVERLAP the dimension is the
other argument, for DIM_TOO_SMALL the argument is the number of the size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.llvm.builder import Builder, Module
from tensorc.codegen.llvm.expr import ExprEmitter
from tensorc.codegen.llvm.helpers import (
    DIM_TOO_SMALL,
    MISALIGNED,
    NULL_ARGUMENT,
    WORKSPACE,
)
from tensorc.errors import CompileError
from tensorc.ir.expr import Dim, Expr
from tensorc.ir.stmt import Program, Role
from tensorc.lower.memory import ALIGNMENT, WorkspaceLayout

if TYPE_CHECKING:
    from tensorc.dtypes import DType


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
    return function(f"define i64 @{program.name}_workspace(ptr %dims, i32 %num_threads)", b.body())


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
    b.line(f"ret i32 {b.op(f'call i32 @tensorc.report(ptr %error_info, i32 {code}, {args})')}")
