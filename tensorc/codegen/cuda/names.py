"""C identifiers for the names of a program."""

from __future__ import annotations

import re

from tensorc.codegen.cuda.helpers import HELPERS

# What CUDA C reserves or declares, as far as a tensor, a loop or a size might be called so.
RESERVED = frozenset(
    (
        *("alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break"),
        *("case", "catch", "char", "char16_t", "char32_t", "class", "compl", "const", "constexpr"),
        *("const_cast", "continue", "decltype", "default", "delete", "do", "double", "else"),
        *(
            "dynamic_cast",
            "enum",
            "explicit",
            "export",
            "extern",
            "false",
            "float",
            "for",
            "friend",
        ),
        *("goto", "if", "inline", "int", "long", "mutable", "namespace", "new", "noexcept", "not"),
        *("not_eq", "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "this"),
        *(
            "register",
            "reinterpret_cast",
            "return",
            "short",
            "signed",
            "sizeof",
            "static",
            "struct",
        ),
        *("static_assert", "static_cast", "switch", "template", "thread_local", "throw", "true"),
        *("try", "typedef", "typeid", "typename", "union", "unsigned", "using", "virtual", "void"),
        *("volatile", "wchar_t", "while", "xor", "xor_eq", "threadIdx", "blockIdx", "blockDim"),
        *("gridDim", "warpSize", "tid", "smem", "status", "main", "abs", "acos", "asin", "atan"),
        *("ceil", "cos", "div", "erf", "erfc", "exp", "exp2", "fabs", "fabsf", "floor", "fma"),
        *("fmaf", "fmax", "fmin", "fmod", "gamma", "hypot", "isinf", "isnan", "j0", "j1", "jn"),
        *("labs", "lgamma", "log", "log2", "log10", "logb", "max", "min", "modf", "norm", "pow"),
        *("rint", "round", "rsqrt", "signbit", "sin", "sinh", "sqrt", "tan", "tanh", "tgamma"),
        *("trunc", "y0", "y1", "yn", "clock", "time", "printf", "malloc", "free", "memcpy"),
        *("memset", "assert", "float2", "float4", "double2", "int2", "int4", "uint2", "uint4"),
        *("dim3", "half", "NULL"),
    )
) | frozenset(HELPERS)


def identifier(name: str) -> str:
    """`name` with everything that C does not allow replaced by `_`.

    >>> identifier("i.outer")
    'i_outer'
    """
    text = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    text = re.sub(r"__+", "_", text)  # Two underscores belong to the compiler.
    return f"v{text}" if text[0].isdigit() else text


class Names:
    """The identifiers that are taken, and new ones beside them."""

    def __init__(self, taken: frozenset[str] = RESERVED) -> None:
        """With `taken`, nothing else."""
        self.taken = set(taken)

    def fresh(self, name: str) -> str:
        """`name` as an identifier that nothing else has, and that is taken from now on."""
        base = identifier(name)
        text, count = base, 0
        while text in self.taken:
            count += 1
            text = f"{base}_{count}"
        self.taken.add(text)
        return text

    def inner(self) -> Names:
        """Names for a scope inside: what is taken there is free again after it."""
        return Names(frozenset(self.taken))
