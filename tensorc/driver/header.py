"""The C header of an exported function: every argument, every symbol, in plain words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tensorc_runtime.signature import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc_runtime.manifest import Manifest, ParamInfo

_ROLES = {"in": "read", "out": "written", "inout": "updated in place"}


def header_text(manifest: Manifest) -> str:
    """The text of NAME.h."""
    name = manifest.name
    target = manifest.target
    guard = f"TENSORC_{name.upper()}_H_"
    lines = [
        f"/* {name}: compiled by tensorc for {target.triple}, processor {target.cpu}.",
        " *",
        " * Arguments, in this order; data is compact and row-major:",
        *(f" *   {i}  {_argument(p)}" for i, p in enumerate(manifest.params)),
    ]
    if manifest.dims:
        lines += [
            " *",
            " * Symbolic sizes, in this order:",
            *(f" *   {i}  {d.name} >= {d.lower}" for i, d in enumerate(manifest.dims)),
        ]
    if manifest.checks:
        lines += [
            " *",
            " * Checks on values, by the index that error_info[0] has with TENSORC_CHECK_FAILED:",
            *(f" *   {i}  {_comment(c)}" for i, c in enumerate(manifest.checks)),
        ]
    if manifest.state is not None:
        lines += [" *", f" * {manifest.state.name} holds the state as it was when exported."]
    lines += [
        " *",
        " * tensorc.h says what the functions do and which errors there are.",
        " */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        '#include "tensorc.h"',
        "",
        *_enum(name, "arg", [p.name for p in manifest.params]),
        *_enum(name, "dim", [d.name for d in manifest.dims]),
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* Checks the arguments, then runs. */",
        f"int32_t {manifest.entry_symbol}(DLTensor *const *args, void *workspace,",
        "    int64_t workspace_bytes, int32_t num_threads, int64_t *error_info);",
        "",
        "/* The bytes of workspace that a call needs, aligned to 64. */",
        f"int64_t {manifest.workspace_symbol}(const int64_t *dims, int32_t num_threads);",
        "",
        "/* Runs without checks: one address and no more for each argument. */",
        f"int32_t {manifest.run_symbol}(void *const *data, const int64_t *dims, void *workspace,",
        "    int32_t num_threads, int64_t *error_info);",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _argument(param: ParamInfo) -> str:
    state = ", state: keep it from call to call" if param.state else ""
    return f"{param.name}: {describe(param)}, {_ROLES[param.role]}{state}"


def _comment(text: str) -> str:
    return text.replace("*/", "* /").replace("\n", " ")


def _enum(name: str, kind: str, names: Sequence[str]) -> list[str]:
    count = f"{name}_{kind}_count"
    labels = [count]
    for i, wanted in enumerate(names):
        label = f"{name}_{kind}_{re.sub(r'[^A-Za-z0-9_]', '_', wanted)}"
        while label in labels:
            label = f"{label}_{i}"
        labels.append(label)
    rows = [f"  {label} = {i}," for i, label in enumerate(labels[1:])]
    return ["enum {", *rows, f"  {count} = {len(names)}", "};", ""]
