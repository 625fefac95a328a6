"""tensorc: a small optimizing compiler for tensor programs.

Define tensors by index, differentiate them, schedule them, compile them.
"""

from tensorc import data, nn, ops, optim
from tensorc.autodiff.check import check_grad
from tensorc.autodiff.grad import grad
from tensorc.driver import compile  # noqa: A004
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
from tensorc.ir.expr import cast, maximum, minimum, where
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace
from tensorc.target import Target
from tensorc.te.math import (
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
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    stop_gradient,
    tanh,
    trunc,
)
from tensorc.te.math import abs_ as abs  # noqa: A004
from tensorc.te.math import pow_ as pow  # noqa: A004
from tensorc.te.math import round_ as round  # noqa: A004
from tensorc.te.reduce import (
    all,  # noqa: A004
    any,  # noqa: A004
    argmax,
    argmin,
    max,  # noqa: A004
    max_with_index,
    min,  # noqa: A004
    min_with_index,
    prod,
    reduce_axis,
    reducer,
    sum,  # noqa: A004
)
from tensorc.te.tensor import Tensor, compute, computes, dim, placeholder

__version__ = "0.1.0"
