"""A PTX module as the text of a C++ one: a function for each kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tensorc.emulator.accumulators import guarded, tag, tracked_registers
from tensorc.emulator.ops import HANDLERS
from tensorc.emulator.ptx import (
    PtxKernel,
    PtxModule,
    Site,
    Statement,
    Variable,
    declared_registers,
    parse_ptx,
    parse_variable,
    split_operands,
)
from tensorc.emulator.types import FLOATS, UnsupportedPtxError, register_c_type
from tensorc.emulator.writer import Opcode, Symbols, Writer, c_name

_GAP = 128  # Bytes between shared arrays of checked modules, so that leaving one is noticed.
_BANKS = 128  # Bytes of a row of banks: arrays keep their place in it.
_FRAME_BYTES = 48 * 1024  # What the runtime's own functions need of a fiber's stack.


@dataclass(frozen=True)
class SharedArray:
    """A static `__shared__` array; `offset` is its place in the emulator."""

    name: str
    offset: int
    bytes: int


@dataclass(frozen=True)
class KernelInfo:
    """What a launch must know of a kernel.

    Attributes:
        name: its PTX name.
        symbol: its name in the library.
        param_bytes: of each parameter.
        shared: its static arrays.
        static_bytes: static shared memory, as a GPU counts it.
        dynamic_offset: where dynamic shared memory starts in the emulator.
        dynamic_name: of the dynamic array, or "".
        local_bytes: local memory of a thread.
        stack_bytes: what a fiber needs.
        max_threads: by launch bounds, or None.
        required_block: by launch bounds, or None.
    """

    name: str
    symbol: str
    param_bytes: tuple[int, ...]
    shared: tuple[SharedArray, ...]
    static_bytes: int
    dynamic_offset: int
    dynamic_name: str
    local_bytes: int
    stack_bytes: int
    max_threads: int | None
    required_block: tuple[int, int, int] | None


@dataclass(frozen=True)
class GlobalVariable:
    """A `__device__` or `__constant__` variable of the module."""

    name: str
    symbol: str
    bytes: int
    constant: bool


@dataclass(frozen=True)
class Translation:
    """A module as C++, and what is in it."""

    text: str
    target: str
    version: str
    kernels: dict[str, KernelInfo]
    variables: dict[str, GlobalVariable]
    sites: tuple[Site, ...]


def translate(ptx: str, *, checked: bool = False) -> Translation:
    """Translate all kernels of a PTX text.

    Args:
        ptx: as NVRTC writes it.
        checked: leave gaps between shared arrays.

    Raises:
        UnsupportedPtxError: the text is not PTX, or has an instruction that is not translated;
            the message quotes its line.
    """
    module = parse_ptx(ptx)
    if not module.target:
        raise UnsupportedPtxError("this is not PTX: there is no .target")
    variables = {
        name: GlobalVariable(name, c_name(name, "tcemu_g"), v.size or 0, v.space == "const")
        for name, v in module.variables.items()
        if v.space != "shared"
    }
    sites: list[Site] = []
    kernels: dict[str, KernelInfo] = {}
    texts = [_variable_text(v) for v in module.variables.values() if v.space != "shared"]
    for number, kernel in enumerate(module.kernels):
        info, text = _kernel(module, kernel, f"tcemu_kernel_{number}", sites, checked)
        kernels[kernel.name] = info
        texts.append(text)
    return Translation(
        text='#include "kernel.h"\n\nusing namespace tcemu;\n\n' + "\n".join(texts),
        target=module.target,
        version=module.version,
        kernels=kernels,
        variables=variables,
        sites=tuple(sites),
    )


def _variable_text(variable: Variable) -> str:
    values = ", ".join(str(byte) for byte in variable.initial.rstrip(b"\0")) or "0"
    size = max(1, variable.size or 0)
    symbol = c_name(variable.name, "tcemu_g")
    return (
        f'extern "C" __attribute__((visibility("default"), aligned({variable.align})))\n'
        f"unsigned char {symbol}[{size}];\n"
        f'extern "C" unsigned char {symbol}[{size}] = {{{values}}};\n'
        f"#define {c_name(variable.name, 'g')} {symbol}\n"
    )


def source_name(symbol: str) -> str:
    """`As` for `_ZZ5sgemmE2As`, the mangled name of an array inside of a function.

    >>> source_name("_ZZ5sgemmE2As"), source_name("tiles")
    ('As', 'tiles')
    """
    match = re.match(r"_ZZ.*E(\d+)([A-Za-z_]\w*)$", symbol)
    return match.group(2)[: int(match.group(1))] if match else symbol


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _shared_layout(
    variables: list[Variable], checked: bool
) -> tuple[dict[str, int], list[SharedArray], int, int, str]:
    """Offsets by name, the arrays, a GPU's static bytes, start and name of the dynamic one."""
    offsets: dict[str, int] = {}
    arrays: list[SharedArray] = []
    real_end = end = 0
    dynamic: list[Variable] = []
    for variable in variables:
        if variable.size is None:
            dynamic.append(variable)
            continue
        real = _round_up(real_end, variable.align)
        real_end = real + variable.size
        offset = real
        if checked and arrays:
            align = max(variable.align, _BANKS)
            offset = _round_up(end + _GAP, align) + real % align
        offsets[variable.name] = offset
        arrays.append(SharedArray(source_name(variable.name), offset, variable.size))
        end = offset + variable.size
    align = max([16, *(variable.align for variable in dynamic)])
    start = _round_up(real_end, align)
    if checked and arrays:
        start = _round_up(end + _GAP, max(align, _BANKS)) + start % max(align, _BANKS)
    for variable in dynamic:
        offsets[variable.name] = start
    name = source_name(dynamic[0].name) if dynamic else ""
    return offsets, arrays, real_end, start, name


def _kernel(
    module: PtxModule, kernel: PtxKernel, symbol: str, sites: list[Site], checked: bool
) -> tuple[KernelInfo, str]:
    words = set(re.findall(r"[\w$]+", kernel.body))
    shared = [v for v in module.variables.values() if v.space == "shared" and v.name in words]
    symbols = Symbols(
        params={param.name: i for i, param in enumerate(kernel.params)},
        variables={v.name for v in module.variables.values() if v.space != "shared"},
    )
    declarations = _declare(kernel, symbols, shared)
    offsets, arrays, static_bytes, dynamic_offset, dynamic = _shared_layout(shared, checked)
    symbols.shared = offsets
    writer = Writer(symbols)
    if checked:
        writer.tracked = tracked_registers(kernel.statements)
    lines = [f"TCEMU_KERNEL {symbol}(Thread* self) {{", "  uint32_t carry = 0; (void)carry;"]
    lines += [f"  {line}" for line in declarations]
    lines += [f"  uint32_t {tag(name)} = 0;" for name in sorted(writer.tracked)]
    for statement in kernel.statements:
        text = _statement(writer, kernel, statement, sites)
        if text:
            lines.append(f"  {text}")
    local = sum(symbols.local.values())
    info = KernelInfo(
        name=kernel.name,
        symbol=symbol,
        param_bytes=tuple(param.bytes for param in kernel.params),
        shared=tuple(arrays),
        static_bytes=static_bytes,
        dynamic_offset=dynamic_offset,
        dynamic_name=dynamic,
        local_bytes=local,
        stack_bytes=_FRAME_BYTES + local + 16 * len(symbols.registers),
        max_threads=kernel.max_threads,
        required_block=kernel.required_block,
    )
    return info, "\n".join([*lines, "}", ""])


def _declare(kernel: PtxKernel, symbols: Symbols, shared: list[Variable]) -> list[str]:
    """Enter what the body declares in `symbols`; the C++ declarations."""
    lines: list[str] = []
    by_type: dict[str, list[str]] = {}
    for statement in kernel.statements:
        text = statement.text
        for name, ptx_type in declared_registers(text):
            symbols.registers[name] = ptx_type
            by_type.setdefault(register_c_type(ptx_type), []).append(c_name(name))
        if re.match(r"\.(local|param|shared)\b", text):
            lines += _declared_memory(text, symbols, shared)
    _name_tables(kernel, symbols)
    for ctype, names in by_type.items():
        zero = "0" if ctype not in FLOATS else "0.0f"
        lines.append(f"{ctype} {', '.join(f'{name} = {zero}' for name in names)};")
    return lines


def _declared_memory(text: str, symbols: Symbols, shared: list[Variable]) -> list[str]:
    variable = parse_variable(text)
    size = variable.size or 0
    if variable.space == "shared":
        shared.append(variable)
        return []
    prefix = "l" if variable.space == "local" else "q"
    target = symbols.local if variable.space == "local" else symbols.call_params
    target[variable.name] = size
    align = max(variable.align, 8)
    return [f"alignas({align}) unsigned char {c_name(variable.name, prefix)}[{max(size, 1)}];"]


def _name_tables(kernel: PtxKernel, symbols: Symbols) -> None:
    """`label: .branchtargets a, b;` names a table for brx.idx."""
    label = ""
    for statement in kernel.statements:
        if table := re.match(r"\.branchtargets\s+(.*)", statement.text):
            symbols.tables[label] = split_operands(table.group(1))
        label = statement.text[:-1] if statement.text.endswith(":") else ""


def _statement(writer: Writer, kernel: PtxKernel, statement: Statement, sites: list[Site]) -> str:
    """The C++ of one statement; empty for what needs none."""
    text = statement.text
    if text.startswith("."):
        if re.match(r"\.(reg|local|param|shared|branchtargets|pragma|loc|file)\b", text):
            return ""
        raise UnsupportedPtxError(_quoted(statement, f"directive {text.split()[0]}"))
    if text.endswith(":"):
        if text[:-1] in writer.symbols.tables:
            return ""
        writer.seen_labels.add(text[:-1])
        return f"{c_name(text[:-1], 'b')}:;"
    writer.site = len(sites)
    guard = re.match(r"@(!?)(%?[\w$]+)\s+(.*)", text)
    body = guard.group(3) if guard else text
    name, _, operands = body.partition(" ")
    parts = name.split(".")
    handler = HANDLERS.get(parts[0])
    if handler is None:
        raise UnsupportedPtxError(_quoted(statement, f"no instruction {parts[0]}"))
    try:
        op, args = Opcode(parts[0], tuple(parts[1:])), split_operands(operands)
        writer.read_now, writer.written_now = [], []
        code = handler(writer, op, args)
        if writer.tracked and code:
            code = guarded(writer, op, args, code)
        if guard and guard.group(2) not in writer.symbols.registers:
            raise UnsupportedPtxError(f"predicate {guard.group(2)}")
    except UnsupportedPtxError as error:
        raise UnsupportedPtxError(_quoted(statement, str(error))) from None
    except (KeyError, IndexError, ValueError) as error:
        raise UnsupportedPtxError(_quoted(statement, f"this form of {parts[0]}")) from error
    if not code:
        return ""
    sites.append(Site(kernel.name, statement.line, text, statement.source_line))
    condition = f"if ({guard.group(1)}{c_name(guard.group(2))}) " if guard else ""
    return f"{condition}{{ {code} }}"


def _quoted(statement: Statement, reason: str) -> str:
    return (
        f"PTX line {statement.line}: {statement.text}\n"
        f"  the emulator does not translate this: {reason}"
    )
