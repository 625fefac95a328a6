# %% [markdown]
# # Gradients are programs
#
# A tensor is a function of its indices, so its gradient is one too: no tape that is played back,
# but another tensor expression. This page reads some of them, asks why each has the form it has,
# and asserts what it claims. Run it whole, or cell by cell in an editor that knows `# %%`.
"""Gradients as index notation: derived, read, checked, compiled."""

import numpy as np

import tensorc as tc

rng = np.random.default_rng(0)

# %% [markdown]
# ## One product
#
# `C[i, j] = sum(A[i, k] * B[k, j])`. The element `A[i, k]` is read by all `C[i, j]`, so its
# cotangent sums over j. `explain_grad` prints the definitions and, for each read, how the index
# was inverted.

# %%
A, B = tc.placeholder((4, 5), "float64", name="A"), tc.placeholder((5, 3), "float64", name="B")
k = tc.reduce_axis(5, "k")
C = tc.compute((4, 3), lambda i, j: tc.sum(A[i, k] * B[k, j], axis=k), name="C")
g = tc.placeholder((4, 3), "float64", name="g")
report = tc.explain_grad(C, [A, B], g)
print(report)
assert report.definitions == (
    "d.A[i, k] = sum(g[i, j] * B[k, j], axis=j)",
    "d.B[k, j] = sum(A[i, k] * g[i, j], axis=i)",
)
assert all(label.kind == "gather" for label in report.labels)

# %% [markdown]
# In a notebook a tensor shows itself as a formula; the cotangent of B is B with a bar.

# %%
by_a, by_b = tc.grad(C, [A, B], g)
print(by_b._repr_latex_())
assert by_b._repr_latex_() == r"${\bar{B}}_{k,j} = \sum_{0 \le i < 4} {A}_{i,k} {g}_{i,j}$"

# %% [markdown]
# ## A convolution of stride 2
#
# Even elements of x meet other weights than odd ones. So the gradient has a definition for each
# remainder, each a dense sum, and picks from them: no iteration is spent on a test that fails.

# %%
x, w = tc.placeholder((21,), "float64", name="x"), tc.placeholder((3,), "float64", name="w")
r = tc.reduce_axis(3, "r")
y = tc.compute((10,), lambda i: tc.sum(x[2 * i + r] * w[r], axis=r), name="y")
dy = tc.placeholder((10,), "float64", name="dy")
report = tc.explain_grad(y, [x, w], dy)
print(report)
assert report.definitions[2] == "d.x[i0] = where(i0 % 2 == 0, d.x.0[i0 // 2], d.x.1[i0 // 2])"
assert {label.tensor: label.kind for label in report.labels} == {
    "x": "strided gather",
    "w": "gather",
}

# %% [markdown]
# ## What has no inverse
#
# `T[idx[i], j]` may read any row. Its gradient goes where data says: it is added up in order, one
# read after the other, and says so. The program takes as many steps as there are reads, whatever
# the size of the table. Where that must not happen, `require="gather"` refuses it.

# %%
T, idx = tc.placeholder((1000, 4), name="T"), tc.placeholder((6,), "int32", name="idx")
rows = tc.compute((6, 4), lambda i, j: T[idx[i], j], name="rows")
seed = tc.placeholder((6, 4), name="seed")
by_t = tc.grad(rows, T, seed)
lookup = tc.compile([by_t], inputs=[idx, seed])
print(lookup.inspect("program"))
assert "d.T[int64(idx[i]), j] += seed[i, j]" in lookup.inspect("program")
which, weights = np.array([7, 7, 3, 999, 3, 7], np.int32), np.ones((6, 4), np.float32)
assert lookup(which, weights)[[3, 7, 999], 0].tolist() == [2.0, 3.0, 1.0]
try:
    tc.grad(rows, T, seed, require="gather")
    raise AssertionError("a scatter was taken for a gather")
except tc.GradientError as error:
    print(error)

# %% [markdown]
# ## Recurrences
#
# `scan` defines an element from the one before it. The gradient of a recurrence is a recurrence
# that runs the other way, and takes as many steps.

# %%
a, u = (tc.placeholder((8, 16), "float64", name=name) for name in "au")
s = tc.scan((8, 16), lambda s, t, j: a[t, j] * s + u[t, j], dtype="float64", name="s")
ds = tc.placeholder((8, 16), "float64", name="ds")
report = tc.explain_grad(s, [u], ds)
print(report)
assert report.definitions[0] == (
    "d.s[t, j] = ds[t, j] + where(t == 7, float64(0.0), a[t + 1, j] * after), "
    "after from float64(0.0) down t"
)
tc.check_grad(s, [a, u], {a: rng.uniform(0, 1, (8, 16)), u: rng.standard_normal((8, 16))})

# %% [markdown]
# ## Other directions, higher orders
#
# `jvp` goes forward, `grad` and `vjp` backward; `jacfwd`, `jacrev` and `hessian` go along all unit
# vectors at once. `hvp` is the Hessian times a vector, for a few gradients' cost: what Newton's
# method with conjugate gradients needs. All of them are tensors again, and compile.

# %%
z, v = (tc.placeholder((6,), "float64", name=name) for name in "zv")
n = tc.reduce_axis(5, "n")


def rosenbrock() -> tc.Tensor:
    """The valley that optimizers are tried on."""
    bend = tc.compute((5,), lambda i: z[i + 1] - z[i] * z[i], name="bend")
    return tc.compute(
        (),
        lambda: tc.sum(100.0 * bend[n] * bend[n] + (1.0 - z[n]) * (1.0 - z[n]), axis=n),
        name="valley",
    )


valley = rosenbrock()
newton = tc.compile(
    [tc.grad(valley, z), tc.hessian(valley, z), tc.hvp(valley, z, v)], inputs=[z, v]
)
at, along = np.ones(6) + 0.1 * rng.standard_normal(6), rng.standard_normal(6)
slope, curvature, product = newton(at, along)
assert np.allclose(product, curvature @ along)
for _ in range(20):  # Newton's method, by the compiled Hessian.
    slope, curvature, _unused = newton(at, along)
    at = at - np.linalg.solve(curvature, slope)
print("the valley's lowest point:", at)
assert np.allclose(at, 1.0)

# %% [markdown]
# ## Stating a derivative, and computing again
#
# `custom_vjp` replaces the derivative of a function. `checkpoint` keeps it, but the gradient
# computes the function's inner values again instead of storing them; `recomputation` counts them.

# %%
clipped = tc.custom_vjp(lambda x: x * 1.0, lambda u, _y, _x: tc.ops.clip(u, -1.0, 1.0))
total = tc.ops.sum(clipped(z) * 100.0)
assert tc.compile(tc.grad(total, z))().tolist() == [1.0] * 6

layer = tc.checkpoint(lambda h: tc.ops.tanh(tc.ops.matmul(tc.ops.tanh(tc.ops.matmul(h, B)), g.T)))
loss = tc.ops.sum(layer(A))
print(tc.recomputation(tc.grad(loss, [A, B])))
assert len(tc.recomputation(tc.grad(loss, [A, B])).again) == 4

# %% [markdown]
# ## Formulas
#
# With sympy installed, a formula becomes a kernel, with its gradient, and a definition becomes a
# formula.

# %%
try:
    import sympy
except ImportError:
    print("without sympy, this part is left out: pip install 'tensorc[sympy]'")
else:
    q, c = sympy.symbols("q c")
    bell = tc.from_sympy(sympy.exp(-c * q**2), {q: z, c: v}, name="bell")
    slope_of_bell = tc.grad(bell, z, tc.compute((6,), lambda _: tc.cast(1.0, "float64")))
    kernel = tc.compile([bell, slope_of_bell], inputs=[z, v])
    value, slope = kernel(at, along)
    assert np.allclose(slope, -2 * along * at * value)
    print(tc.to_sympy(C))
