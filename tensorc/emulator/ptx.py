"""PTX text, as NVRTC writes it, to kernels, variables and statements.

Inline assembly comes through as NVRTC printed it: after unrolling, its `{ }` scopes repeat labels
and register names, so the names of each scope are made unique. `.loc` lines give each statement a
line of the CUDA source.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from tensorc.emulator.types import UnsupportedPtxError, type_bytes

_NAME = r"[A-Za-z_$%][\w$]*"
_SCOPED_NAME = re.compile(r"(?<![\w$%.])[%A-Za-z_$][\w$]*")


@dataclass(frozen=True)
class Site:
    """One instruction: where it stands in the PTX, and in the CUDA source (0: not known)."""

    kernel: str
    ptx_line: int
    text: str
    source_line: int


@dataclass
class Statement:
    """One instruction, directive or label, and the `{ }` scopes around it."""

    line: int
    text: str
    scopes: tuple[int, ...]
    source_line: int


@dataclass(frozen=True)
class Param:
    """A kernel parameter; structs are arrays of bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Variable:
    """A `.global`, `.const` or `.shared` variable; `size` is None for dynamic shared memory."""

    space: str
    name: str
    align: int
    size: int | None
    initial: bytes


@dataclass(frozen=True)
class PtxKernel:
    """An `.entry`: its statements in order, and the launch bounds it declares."""

    name: str
    params: tuple[Param, ...]
    statements: tuple[Statement, ...]
    max_threads: int | None
    required_block: tuple[int, int, int] | None
    body: str


@dataclass
class PtxModule:
    """All of a PTX text."""

    target: str = ""
    version: str = ""
    kernels: list[PtxKernel] = field(default_factory=list)
    variables: dict[str, Variable] = field(default_factory=dict)


def split_operands(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    operands: list[str] = []
    depth, current = 0, ""
    for char in text:
        depth += (char in "{[(") - (char in "}])")
        if char == "," and depth == 0:
            operands.append(current.strip())
            current = ""
        else:
            current += char
    if current.strip():
        operands.append(current.strip())
    return operands


def parse_ptx(text: str) -> PtxModule:
    """Read a module.

    Raises:
        UnsupportedPtxError: the text is not PTX, or declares something unknown.
    """
    text, source_lines = _strip(text)
    module = PtxModule()
    position = 0
    while True:
        match = re.compile(r"\s*").match(text, position)
        position = match.end() if match else position
        if position >= len(text):
            return module
        position = _top_level(module, text, position, source_lines)


def _strip(text: str) -> tuple[str, list[int]]:
    """Blank out comments and debug lines; also the CUDA line of each PTX line."""
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)
    source_lines, lines, current = [0], [], 0
    for line in text.rstrip("\0").split("\n"):
        code = re.sub(r"//.*", "", line)
        location = re.match(r"\s*\.loc\s+\d+\s+(\d+)", code)
        if location:
            # Within an inlined helper, the line of the call says more than the helper's own.
            inlined = re.search(r"inlined_at\s+\d+\s+(\d+)", code)
            current = int((inlined or location).group(1))
            code = ""
        elif re.match(r"\s*\.file\s", code):
            code = ""
        source_lines.append(current)
        lines.append(code)
    return "\n".join(lines), source_lines


def _top_level(module: PtxModule, text: str, start: int, source_lines: list[int]) -> int:
    """Read one declaration at `start`; return where it ends."""
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    first = text[start:line_end]
    if directive := re.match(r"\.(version|target|address_size)\s+(\S+)", first):
        if directive.group(1) != "address_size":
            setattr(module, directive.group(1), directive.group(2).rstrip(","))
        return line_end
    if first.startswith(".pragma"):
        return text.index(";", start) + 1
    if first.startswith(".section"):
        return _matching_brace(text, text.index("{", start))
    if re.match(r"(\.\w+\s+)*\.(entry|func)\b", first):
        return _function(module, text, start, source_lines)
    if re.match(r"(\.\w+\s+)*\.(global|const|shared)\b", first):
        end = text.index(";", start)
        variable = parse_variable(" ".join(text[start:end].split()))
        module.variables[variable.name] = variable
        return end + 1
    line = text.count("\n", 0, start) + 1
    raise UnsupportedPtxError(f"PTX line {line}: this is not a declaration of PTX: {first.strip()}")


def _matching_brace(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1
    raise UnsupportedPtxError("the PTX ends inside of a { } block")


def _function(module: PtxModule, text: str, start: int, source_lines: list[int]) -> int:
    brace, semicolon = text.find("{", start), text.find(";", start)
    if brace < 0 or 0 <= semicolon < brace:
        return semicolon + 1  # A declaration alone.
    end = _matching_brace(text, brace)
    header = " ".join(text[start:brace].split())
    entry = re.search(rf"\.entry\s+({_NAME})\s*(?:\((.*?)\))?([^()]*)$", header)
    if entry is None:
        return end  # A device function: a call of it is refused where it stands.
    body = text[brace + 1 : end - 1]
    statements = _split_statements(body, text.count("\n", 0, brace) + 1, source_lines)
    _rename_scoped(statements)
    bounds = {
        key: tuple(int(n) for n in values.split(","))
        for key, values in re.findall(r"\.(\w+)\s+([\d, ]+)", entry.group(3))
    }
    threads = bounds.get("maxntid")
    required = bounds.get("reqntid")
    module.kernels.append(
        PtxKernel(
            name=entry.group(1),
            params=tuple(_param(item) for item in split_operands(entry.group(2) or "")),
            statements=tuple(statements),
            max_threads=_product(threads) if threads else None,
            required_block=(*required, 1, 1)[:3] if required else None,  # type: ignore[arg-type]
            body=body,
        )
    )
    return end


def _product(values: tuple[int, ...]) -> int:
    result = 1
    for value in values:
        result *= value
    return result


def _param(text: str) -> Param:
    """`.param .u64 .ptr .align 1 name` or `.param .align 64 .b8 name[128]`."""
    words = re.search(rf"({_NAME})(?:\[(\d+)\])?$", text)
    ptx_type = re.search(r"\.([bufs]\d+)\b", text)
    if words is None or ptx_type is None:
        raise UnsupportedPtxError(f"kernel parameter {text}")
    return Param(words.group(1), type_bytes(ptx_type.group(1)) * int(words.group(2) or 1))


def parse_variable(text: str) -> Variable:
    """`.visible .global .align 4 .b8 name[12] = {1, 2}` and its like.

    Raises:
        UnsupportedPtxError: another form.
    """
    declaration, _, initial = text.partition("=")
    match = re.search(rf"\.([a-z]+\d+)\s+({_NAME})\s*((?:\[\s*\d*\s*\])*)\s*$", declaration)
    space = re.search(r"\.(global|const|shared|local|param)\b", declaration)
    if match is None or space is None:
        raise UnsupportedPtxError(f"declaration {text}")
    ptx_type, name, extents = match.groups()
    size = type_bytes(ptx_type)
    align = re.search(r"\.align\s+(\d+)", declaration)
    counts = re.findall(r"\[\s*(\d*)\s*\]", extents)
    total: int | None = size
    for count in counts:
        total = None if count == "" or total is None else total * int(count)
    data = _initial_bytes(initial, ptx_type) if initial else b""
    if total is None and space.group(1) != "shared":
        total = len(data)
    return Variable(
        space.group(1),
        name,
        int(align.group(1)) if align else size,
        total,
        data.ljust(total or 0, b"\0") if space.group(1) != "shared" else b"",
    )


def _initial_bytes(text: str, ptx_type: str) -> bytes:
    size = type_bytes(ptx_type)
    result = b""
    for item in re.sub(r"[{}\s]", "", text).split(","):
        if re.fullmatch(r"0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}", item):
            result += int(item[2:], 16).to_bytes(size, "little")
        elif re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", item):
            value = int(item.rstrip("U"), 0)
            result += (value % (1 << (8 * size))).to_bytes(size, "little")
        elif re.fullmatch(r"-?\d+\.\d*(e[+-]?\d+)?", item):
            result += struct.pack("<f" if size == 4 else "<d", float(item))
        else:
            raise UnsupportedPtxError(f"initial value {item}")
    return result


def _split_statements(body: str, first_line: int, source_lines: list[int]) -> list[Statement]:
    """Cut a body at `;` and labels, noting which `{ }` scopes are open."""
    statements: list[Statement] = []
    scopes: tuple[int, ...] = ()
    current, braces, opened, line, start = "", 0, 0, first_line, first_line

    def add(text: str) -> None:
        statements.append(Statement(start, text, scopes, source_lines[start]))

    for char in body:
        line += char == "\n"
        if not current.strip():
            start = line
        if char == "{" and not current.strip():
            opened += 1
            scopes = (*scopes, opened)
        elif char == "}" and braces == 0:
            scopes = scopes[:-1]
        elif char == ";":
            add(" ".join(current.split()))
            current = ""
        elif char == ":" and re.fullmatch(r"[\w$]+", current.strip()):
            add(current.strip() + ":")
            current = ""
        else:
            braces += (char == "{") - (char == "}")
            current += char
    return [statement for statement in statements if statement.text]


def declared_registers(text: str) -> list[tuple[str, str]]:
    """(name, type) of what a `.reg` statement declares; `%r<3>` is three names."""
    match = re.match(r"\.reg\s*\.(\w+)\s+(.*)", text)
    if match is None:
        return []
    names: list[str] = []
    for item in split_operands(match.group(2)):
        several = re.match(r"(%?[\w$]+)<(\d+)>", item)
        if several:
            names += [f"{several.group(1)}{i}" for i in range(int(several.group(2)))]
        else:
            names.append(item)
    return [(name, match.group(1)) for name in names]


def _one_by_one(text: str) -> str:
    """`.reg .b32 %r<2>` as `.reg .b32 %r0, %r1`, which a renaming finds."""
    registers = declared_registers(text)
    if not registers:
        return text
    return f".reg .{registers[0][1]} {', '.join(name for name, _ in registers)}"


def _declared_names(text: str) -> list[str]:
    if text.endswith(":"):
        return [text[:-1]]
    if re.match(r"\.(param|local|shared)\b", text):
        found = re.search(rf"({_NAME})\s*(\[\d*\])?$", text)
        return [found.group(1)] if found else []
    return [name for name, _ in declared_registers(text)]


def _rename_scoped(statements: list[Statement]) -> None:
    """Make the registers, parameters and labels that a scope declares unique."""
    local_names: dict[int, set[str]] = {}
    for statement in statements:
        if statement.scopes:
            statement.text = _one_by_one(statement.text)
            local_names.setdefault(statement.scopes[-1], set()).update(
                _declared_names(statement.text)
            )
    for statement in statements:
        if not statement.scopes:
            continue

        def unique(match: re.Match[str], scopes: tuple[int, ...] = statement.scopes) -> str:
            for scope in reversed(scopes):
                if match.group() in local_names.get(scope, ()):
                    return f"{match.group()}__s{scope}"
            return match.group()

        statement.text = _SCOPED_NAME.sub(unique, statement.text)
