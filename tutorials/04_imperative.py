# %% [markdown]
# # Imperative use: compute, look, differentiate, as in needle and PyTorch
#
# A compiled step is made once and called many times. While you explore, or teach, you would rather
# compute with tensors that hold data, look at a value whenever you like, and call `backward()`.
# tensorc does that with the same operations, modules and optimizers: what you do is recorded, and
# compiled when a value is asked for; the next graph of the same structure finds it again.
"""Train a digit classifier in an imperative loop, and show that it is the compiled step."""

import time

import numpy as np

import tensorc as tc
from tensorc import nn, optim
from tensorc.data import DataLoader, load_digits


def title(text: str) -> None:
    print(f"\n{'=' * 80}\n{text}\n{'=' * 80}")


# %% [markdown]
# ## 1. Tensors that hold data
# `tc.tensor` copies numbers, lists or arrays. Shapes and dtypes are known at once, and a mistake is
# refused in the line that makes it; values are computed when `print`, `float`, `if` or `.numpy()`
# want them.
# %%
title("1. values when they are asked for")
x = tc.tensor([[1.0, 2.0], [3.0, 4.0]])
y = tc.exp(x @ x.T / 10) + 1
print(y.shape, y.dtype)
print(y)
if y.max() > 12:
    print("the greatest value is", f"{y.max():.2f}")
np.testing.assert_allclose(y.numpy(), np.exp(x.numpy() @ x.numpy().T / 10) + 1, rtol=1e-6)

try:
    x @ tc.tensor([1.0, 2.0, 3.0])
except tc.ShapeError as refusal:
    print("refused:", refusal)
else:
    raise AssertionError("a product of shapes that do not fit was not refused")

# %% [markdown]
# ## 2. Gradients
# `backward` adds to the `grad` of every leaf with `requires_grad`. A gradient is a tensor like any
# other; `tc.grad` gives one that can be differentiated again.
# %%
title("2. gradients")
w = tc.tensor([1.0, 2.0], requires_grad=True)
loss = (w * w * w).sum()
loss.backward()
print("d loss / d w =", w.grad)
assert w.grad.tolist() == [3.0, 12.0]

first = tc.grad((w * w * w).sum(), w)
second = tc.grad(first.sum(), w)
print("and its derivative:", second)
assert second.tolist() == [6.0, 12.0]

with tc.no_grad():
    assert not (w * 2).requires_grad

# %% [markdown]
# What was recorded keeps the values that it read. Setting `data`, or an optimizer, changes
# the tensor, and nothing that was computed from it before, even if nobody has looked at that yet.
# %%
before = (w * w).sum()
w.data = [10.0, 10.0]
assert (float(before), float((w * w).sum())) == (5.0, 200.0)

# %% [markdown]
# ## 3. A training loop
# The modules and the optimizers are those of a compiled step; `bind` gives a rule its parameters.
# `optimizer.step()` runs forward, backward and update of one batch as one function.
# %%
title("3. a training loop")
digits = load_digits()
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
model.initialize(0)
loss_of = nn.SoftmaxLoss()
optimizer = optim.Adam(lr=2e-3).bind(model.parameters())
images = (digits.train_images, digits.train_labels)


def error_rate() -> float:
    with tc.no_grad():
        guesses = model(tc.tensor(digits.test_images)).argmax(axis=1)
    return float((guesses != tc.tensor(digits.test_labels)).astype("float32").mean())


for epoch in range(15):
    total = 0.0
    loader = DataLoader(images, batch_size=32, shuffle=True, seed=epoch, drop_last=True)
    for pixels, labels in loader:
        optimizer.zero_grad()
        loss = loss_of(model(tc.tensor(pixels)), tc.tensor(labels))
        loss.backward()
        optimizer.step()
        total += float(loss)
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1}: loss {total / len(loader):.4f}, test error {error_rate():.1%}")
assert error_rate() < 0.05

# %% [markdown]
# ## 4. The same program
# A loop gives the very bits of the compiled step, since both compile the same definitions. What
# recording adds to a step is the same some 0.1 ms of Python for a small and for a large model.
# %%
title("4. the same bits as the compiled step")


def fresh() -> nn.Sequential:
    made = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    made.initialize(1)
    return made


eager, compiled = fresh(), fresh()
step = tc.compile(nn.training_step(compiled, loss_of, optim.SGD(lr=0.1), batch=32))
by_hand = optim.SGD(lr=0.1).bind(eager.parameters())
data = list(DataLoader(images, batch_size=32, drop_last=True))
seconds = {"imperative": 0.0, "compiled": 0.0}
for pixels, labels in data:
    start = time.process_time()
    by_hand.zero_grad()
    loss = loss_of(eager(tc.tensor(pixels)), tc.tensor(labels))
    loss.backward()
    by_hand.step()
    middle = time.process_time()
    wanted = step(pixels, labels)
    if pixels is not data[0][0]:  # The first one compiles.
        seconds["imperative"] += middle - start
        seconds["compiled"] += time.process_time() - middle
    assert float(loss) == wanted
for name, array in eager.state_dict().items():
    np.testing.assert_array_equal(array, compiled.state_dict()[name])
for name, total in seconds.items():
    print(f"{name}: {total / (len(data) - 1) * 1e6:.0f} us of CPU time for each step")
print("every loss and every weight is the same")


# %% [markdown]
# ## 5. A module that looks at values
# The `forward` of your own module runs as it stands, so it may decide by what it sees. A kernel
# written by index joins in as an operation.
# %%
title("5. a module of one's own")


@tc.operation
def smoothed(x):
    """The mean of each element and its neighbours, which wrap around."""
    n = x.shape[0]
    return tc.compute((n,), lambda i: (x[(i + n - 1) % n] + x[i] + x[(i + 1) % n]) / 3.0)


class Calm(nn.Module):
    """Smooths its input until it varies little."""

    def forward(self, x):
        while x.std() > 0.5:
            x = smoothed(x)
        return x


rough = tc.tensor(np.tile([0.0, 4.0], 8), dtype="float32", requires_grad=True)
calm = Calm()(rough)
calm.square().sum().backward()
print("after smoothing:", calm.numpy().round(3))
print("gradient:       ", rough.grad.numpy().round(3))
assert float(calm.std()) <= 0.5
