"""tensorc: a small optimizing compiler for tensor programs.

Define tensors by index, differentiate them, schedule them, compile them. What defines tensors is
imported at once; the rest (gradients, schedules, the compiler, `nn`...) with the first use of its
name, which halves the time of `import tensorc`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tensorc.dtypes import (
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from tensorc.errors import (
    ArgumentError,
    BoundsError,
    CheckFailed,
    CompileError,
    DataError,
    DTypeError,
    GradientError,
    IRError,
    ParseError,
    ScheduleError,
    ShapeError,
    TensorcError,
)
from tensorc.ir.printer import (
    show,
)
from tensorc.te.dispatch import (
    operation,
)
from tensorc.te.math import (
    abs_ as abs,
)
from tensorc.te.math import (
    cast,
    ceil,
    cos,
    erf,
    exp,
    exp2,
    expm1,
    floor,
    isfinite,
    isinf,
    isnan,
    log,
    log1p,
    log2,
    maximum,
    minimum,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    stop_gradient,
    tanh,
    tf32,
    trunc,
    where,
)
from tensorc.te.math import (
    pow_ as pow,
)
from tensorc.te.math import (
    round_ as round,
)
from tensorc.te.reduce import (
    all,
    any,
    argmax,
    argmin,
    max,
    max_with_index,
    min,
    min_with_index,
    prod,
    reduce_axis,
    reducer,
    sum,
)
from tensorc.te.scan import (
    cumprod,
    cumsum,
    scan,
)
from tensorc.te.tensor import (
    Tensor,
    compute,
    computes,
    dim,
    placeholder,
)

if TYPE_CHECKING:
    from tensorc import (
        data,
        nn,
        ops,
        optim,
    )
    from tensorc.autodiff.check import (
        check_grad,
    )
    from tensorc.autodiff.custom import (
        checkpoint,
        custom_vjp,
        recomputation,
    )
    from tensorc.autodiff.explain import (
        explain_grad,
    )
    from tensorc.autodiff.forward import (
        jvp,
    )
    from tensorc.autodiff.grad import (
        grad,
        vjp,
    )
    from tensorc.autodiff.jacobian import (
        hessian,
        hvp,
        jacfwd,
        jacrev,
    )
    from tensorc.driver import (
        CompiledFunction,
        compile,
    )
    from tensorc.eager import (
        EagerTensor,
        no_grad,
        tensor,
    )
    from tensorc.ir.parser import (
        parse,
    )
    from tensorc.schedule.intrinsics import (
        Intrinsic,
    )
    from tensorc.schedule.schedule import (
        Schedule,
    )
    from tensorc.schedule.trace import (
        Trace,
    )
    from tensorc.symbolic import (
        from_sympy,
        to_sympy,
    )
    from tensorc.target import (
        Target,
    )
    from tensorc_runtime import (
        cuda,
    )

__version__ = "0.1.0"

_MODULES = {
    **{name: f"tensorc.{name}" for name in ("data", "nn", "ops", "optim")},
    "cuda": "tensorc_runtime.cuda",
}
_HOMES = {
    "check_grad": "tensorc.autodiff.check",
    "checkpoint": "tensorc.autodiff.custom",
    "custom_vjp": "tensorc.autodiff.custom",
    "recomputation": "tensorc.autodiff.custom",
    "explain_grad": "tensorc.autodiff.explain",
    "jvp": "tensorc.autodiff.forward",
    "grad": "tensorc.autodiff.grad",
    "vjp": "tensorc.autodiff.grad",
    "hessian": "tensorc.autodiff.jacobian",
    "hvp": "tensorc.autodiff.jacobian",
    "jacfwd": "tensorc.autodiff.jacobian",
    "jacrev": "tensorc.autodiff.jacobian",
    "CompiledFunction": "tensorc.driver",
    "compile": "tensorc.driver",
    "EagerTensor": "tensorc.eager",
    "no_grad": "tensorc.eager",
    "tensor": "tensorc.eager",
    "parse": "tensorc.ir.parser",
    "Intrinsic": "tensorc.schedule.intrinsics",
    "Schedule": "tensorc.schedule.schedule",
    "Trace": "tensorc.schedule.trace",
    "from_sympy": "tensorc.symbolic",
    "to_sympy": "tensorc.symbolic",
    "Target": "tensorc.target",
}

__all__ = [
    "ArgumentError",
    "BoundsError",
    "CheckFailed",
    "CompileError",
    "CompiledFunction",
    "DTypeError",
    "DataError",
    "EagerTensor",
    "GradientError",
    "IRError",
    "Intrinsic",
    "ParseError",
    "Schedule",
    "ScheduleError",
    "ShapeError",
    "Target",
    "Tensor",
    "TensorcError",
    "Trace",
    "abs",
    "all",
    "any",
    "argmax",
    "argmin",
    "bfloat16",
    "bool_",
    "cast",
    "ceil",
    "check_grad",
    "checkpoint",
    "compile",
    "compute",
    "computes",
    "cos",
    "cuda",
    "cumprod",
    "cumsum",
    "custom_vjp",
    "data",
    "dim",
    "erf",
    "exp",
    "exp2",
    "explain_grad",
    "expm1",
    "float16",
    "float32",
    "float64",
    "floor",
    "from_sympy",
    "grad",
    "hessian",
    "hvp",
    "int8",
    "int16",
    "int32",
    "int64",
    "isfinite",
    "isinf",
    "isnan",
    "jacfwd",
    "jacrev",
    "jvp",
    "log",
    "log1p",
    "log2",
    "max",
    "max_with_index",
    "maximum",
    "min",
    "min_with_index",
    "minimum",
    "nn",
    "no_grad",
    "operation",
    "ops",
    "optim",
    "parse",
    "placeholder",
    "pow",
    "prod",
    "recomputation",
    "reduce_axis",
    "reducer",
    "round",
    "rsqrt",
    "scan",
    "show",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "stop_gradient",
    "sum",
    "tanh",
    "tensor",
    "tf32",
    "to_sympy",
    "trunc",
    "uint8",
    "vjp",
    "where",
]


def __getattr__(name: str) -> Any:
    """Import what `name` needs, with its first use."""
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'tensorc' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
