# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 What an autoencoder is
#
# **Aim.** See that a linear autoencoder is principal component analysis, what depth
# adds to it, and why a code must be small or otherwise held back.
#
# **Prerequisites.** Python with NumPy; vectors, matrices and eigenvectors.
#
# **Time.** See the [list of tutorials](../docs/tutorials.md).

# %% tags=["install"]
# Where the package is there, nothing happens. Else this installs a wheel beside the
# notebook, or the sources that the notebook is part of, or the released package.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("symae_keras") is None:
    sources = Path("../symae_keras/__init__.py").exists()
    wheels = [str(path) for path in Path().glob("symae_keras-*.whl")]
    where = [*wheels, ".." if sources else "symae_keras"][0]
    # %pip install "{where}"
    importlib.invalidate_caches()

# %%
import os

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib.figure import Figure

import symae_keras as sk

plt.style.use("tableau-colorblind10")
plt.rcParams.update({"figure.dpi": 110, "figure.constrained_layout.use": True})
# %matplotlib inline
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_STARS = (
    1000 if QUICK else 4000
)  # spectra to learn from, and a fourth as many to judge
LINEAR_EPOCHS = 50 if QUICK else 30
DEEP_EPOCHS = 30 if QUICK else 40
CODE_DIMS = (4, 8) if QUICK else (2, 4, 8, 16)

# %% [markdown]
# ## A code, and back again
#
# An **autoencoder** is two functions. The *encoder* $f$ turns a measurement $x$ into a
# short list of numbers, the *code* $z = f(x)$. The *decoder* $D$ makes a measurement of
# the code again, the *reconstruction* $\hat x = D(z)$. Both are learned together, so
# that reconstructions resemble what came in:
#
# $$\min_{f, D} \; \frac{1}{N} \sum_{n=1}^{N} \lVert x_n - D(f(x_n)) \rVert^2 .$$
#
# Nobody says what the code should mean. It has to hold what tells one measurement from
# another, and there is only room for a few numbers: whatever all measurements have in
# common must be learned by the networks.
#
# ## Data: spectra of stars
#
# The package simulates spectra of 256 pixels. Eight numbers make one of ours: a
# temperature, the abundances of four elements, the width of the lines, a velocity that
# shifts all lines, and a slope from the instrument. The temperature tilts the spectrum,
# too. On top comes noise.

# %%
EIGHT = {"n_instances": 1, "nuisances": ("velocity", "slope"), "excitation": 1.0}
stars = sk.data.simulate_exposures(n_states=N_STARS, seed=0, **EIGHT)
others = sk.data.simulate_exposures(n_states=N_STARS // 4, seed=1, **EIGHT)
x, x_test = stars.x[:, 0], others.x[:, 0]
every = np.arange(len(x_test))
truth = others.virtual(state=every, group=every, instance=0)  # without the noise
x.shape, x_test.shape

# %%
fig = Figure(figsize=(7.5, 3.2))
ax = fig.subplots()
for n in range(3):
    ax.plot(stars.axis, x[n] + n, lw=1.0)
ax.set(xlabel="normalised wavelength", ylabel="flux (relative), shifted by 1 each")
ax.spines[["top", "right"]].set_visible(False)
fig

# %% [markdown]
# The error that we quote is relative: the mean squared error over the variance of the
# data around the mean spectrum. Who always answers with the mean spectrum has an error
# of 1. The noise has an error of its own, which is the least that anybody can reach who
# does not copy the noise.

# %%
mean = x.mean(axis=0)
variance = float(np.mean((x_test - mean) ** 2))


def error(reconstruction, target=x_test):
    """Mean squared error over the variance of the data."""
    return float(np.mean((np.asarray(reconstruction) - target) ** 2)) / variance


floor = error(truth)
display(Markdown(f"The error of the noiseless spectra themselves is {floor:.4f}."))

# %% [markdown]
# ## Principal components
#
# The oldest autoencoder has no training loop. Take off the mean and let $V_k$ hold the
# $k$ directions in which the data vary most, the first eigenvectors of their
# covariance. Then
#
# $$z = V_k^\top (x - \bar x), \qquad \hat x = \bar x + V_k z$$
#
# has the smallest mean squared error of all that are linear with $k$ numbers (Eckart
# and Young). A singular value decomposition gives the directions.

# %%
components = np.linalg.svd(x - mean, full_matrices=False)[2]


def pca(data, k):
    """Reconstruction of spectra from k principal components."""
    basis = components[:k]
    return mean + (data - mean) @ basis.T @ basis


errors = {k: error(pca(x_test, k)) for k in (1, 2, 3, 8, 16, 32)}
display(
    Markdown(
        "| components | "
        + " | ".join(str(k) for k in errors)
        + " |\n|---|"
        + "---|" * len(errors)
        + "\n| error | "
        + " | ".join(f"{each:.4f}" for each in errors.values())
        + " |"
    )
)

# %% [markdown]
# Eight numbers made the spectra, yet eight components do not bring the error down to
# that of the noise. A line that moves or widens does not add a multiple of one fixed
# pattern: the spectra lie on a *curved* surface, and components are flat.
#
# ## A linear autoencoder finds the same
#
# Now let gradient descent do it. `LinearAutoencoder` has one matrix to the code and,
# by default, the same matrix transposed back. Its loss has no local minima besides the
# global one, where the rows of the decoder span the first principal components (Baldi
# and Hornik, [1989](https://doi.org/10.1016/0893-6080(89)90014-2)).
#
# `Standardization.of` is a layer that takes off the mean spectrum and divides by *one*
# number, which leaves principal components as they are. It lives inside of the model,
# so that what comes out is in the units of the data.

# %%
K = 3
linear = sk.models.LinearAutoencoder(
    (256,), code_dim=K, normalization=sk.layers.Standardization.of(x)
)
steps = LINEAR_EPOCHS * -(-len(x) // 64)
rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
linear.compile(keras.optimizers.Adam(rate), loss="mse")
history = linear.fit(
    x,
    x,
    batch_size=64,
    epochs=LINEAR_EPOCHS,
    validation_data=(x_test, x_test),
    verbose=0,
)

# %%
fig = Figure(figsize=(7.5, 3.0))
left, right = fig.subplots(1, 2)
left.plot(np.array(history.history["val_loss"]) / variance, label="linear autoencoder")
left.axhline(errors[K], color="black", ls="--", lw=1.0, label=f"PCA, {K} components")
left.set(xlabel="epoch", ylabel="error of new spectra", ylim=(0.0, None))
left.legend(frameon=False)

# How far is each learned direction inside of the span of the components?
overlaps = np.linalg.svd(linear.components() @ components[:K].T)[1]
angles = np.degrees(np.arccos(np.clip(overlaps, 0.0, 1.0)))
right.bar(np.arange(1, K + 1), angles)
right.set(xlabel="principal angle", ylabel="between subspaces (degrees)")
right.set(ylim=(0.0, max(5.0, 1.1 * angles.max())), xticks=np.arange(1, K + 1))
for each in (left, right):
    each.spines[["top", "right"]].set_visible(False)
fig

# %%
display(
    Markdown(
        f"PCA with {K} components: {errors[K]:.4f}. Linear autoencoder: "
        f"{error(linear.reconstruct(x_test)):.4f}. The largest of the {K} principal "
        f"angles between the two subspaces is {angles.max():.2f} degrees of 90."
    )
)

# %% [markdown]
# The *subspace* is the same, the *coordinates* are not: nothing in the loss prefers the
# eigenvectors over any rotation of them. The correlation of its numbers with the
# principal components shows it.

# %%
codes = np.asarray(linear.encode(x_test))
scores = (x_test - mean) @ components[:K].T
correlation = np.corrcoef(codes.T, scores.T)[:K, K:]
fig = Figure(figsize=(3.6, 3.0))
ax = fig.subplots()
shown = ax.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1)
ax.set(xlabel="principal component", ylabel="number of the code")
ax.set_xticks(range(K), range(1, K + 1))
ax.set_yticks(range(K), range(1, K + 1))
fig.colorbar(shown, label="correlation")
fig

# %% [markdown]
# ## Depth bends the surface
#
# With hidden layers and a nonlinear activation between them, encoder and decoder are
# curved functions, and the surface of all $D(z)$ can bend along the data. `Autoencoder`
# has two hidden layers each way, 512 and 256 wide, unless told otherwise.


# %%
def deep_autoencoder(code_dim):
    """An autoencoder with hidden layers, trained on the spectra."""
    keras.utils.set_random_seed(0)
    model = sk.models.Autoencoder(
        (256,), code_dim=code_dim, normalization=sk.layers.Standardization.of(x)
    )
    steps = DEEP_EPOCHS * -(-len(x) // 64)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    model.fit(x, x, batch_size=64, epochs=DEEP_EPOCHS, verbose=0)
    return model


deep = {k: deep_autoencoder(k) for k in CODE_DIMS}

# %%
deep_errors = [error(deep[k].reconstruct(x_test)) for k in CODE_DIMS]
pca_errors = [error(pca(x_test, k)) for k in CODE_DIMS]
sk.plotting.plot_bottleneck_sweep(
    CODE_DIMS, {"autoencoder with hidden layers": deep_errors, "PCA": pca_errors}
)

# %%
display(
    Markdown(
        f"With 8 numbers: PCA {error(pca(x_test, 8)):.4f}, with hidden layers "
        f"{error(deep[8].reconstruct(x_test)):.4f}; noise alone {floor:.4f}."
    )
)

# %% [markdown]
# One spectrum shows where the difference lies. Components that cannot move a line leave
# the shape of a derivative beside it.

# %%
worst = int(np.argmax(np.mean((pca(x_test, 8) - truth) ** 2, axis=1)))
fig = Figure(figsize=(7.5, 3.6))
top, bottom = fig.subplots(2, 1, sharex=True)
top.plot(others.axis, truth[worst], color="black", lw=1.0, label="truth")
rows = {
    "PCA, 8 components": pca(x_test, 8)[worst],
    "autoencoder, 8 numbers": np.asarray(deep[8].reconstruct(x_test))[worst],
}
for (name, row), style in zip(rows.items(), ("-", "--"), strict=True):
    top.plot(others.axis, row, lw=1.0, ls=style, label=name)
    bottom.plot(others.axis, row - truth[worst], lw=1.0, ls=style)
top.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
top.set_ylabel("flux (relative)")
bottom.set(xlabel="normalised wavelength", ylabel="minus truth")
fig

# %% [markdown]
# ## Undercomplete and overcomplete
#
# A code with fewer numbers than the measurement makes an autoencoder **undercomplete**.
# It cannot copy; it has to know what spectra look like. With at least as many numbers
# it is **overcomplete**: copying is possible, and a copy is a perfect solution of the
# loss that has learned nothing about spectra.
#
# The linear case shows it without any training. We ask three things of every number of
# components. How near is a reconstruction to its noisy input, which is what the loss
# sees? How near to the *noiseless truth*? And what becomes of a thing that is no
# spectrum of ours, a spectrum read from right to left? Who knows spectra fails at that.

# %%
backwards = x_test[:, ::-1]
sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256)
to_input = [error(pca(x_test, k)) for k in sizes]
to_truth = [error(pca(x_test, k), truth) for k in sizes]
to_backwards = [error(pca(backwards, k), backwards) for k in sizes]

fig = Figure(figsize=(7.5, 3.6))
ax = fig.subplots()
ax.plot(sizes[:-1], to_backwards[:-1], "^:", label="spectra read backwards")
ax.plot(sizes, to_truth, "s-", label="against the noiseless truth")
ax.plot(sizes[:-1], to_input[:-1], "o--", label="against the noisy input (loss)")
ax.axhline(error(x_test, truth), color="black", lw=1.0, label="noise of the input")
ax.set(xscale="log", yscale="log", xlabel="numbers in the code", ylabel="error")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend(frameon=False, fontsize=9, loc="center right")
ax.spines[["top", "right"]].set_visible(False)
fig

# %%
best = sizes[int(np.argmin(to_truth))]
display(
    Markdown(
        f"Nearest to the truth are {best} numbers, {min(to_truth) / to_truth[-1]:.2f} "
        "times the error of the noisy input itself. With 256 numbers the error is "
        f"{to_input[-1]:.1e} against the input, {to_backwards[-1]:.1e} for backward "
        f"spectra, and {to_truth[-1] / error(x_test, truth):.2f} times that of the "
        "input against the truth."
    )
)

# %% [markdown]
# The loss falls all the way, down to nothing: with 256 numbers (left out of two curves,
# which have no place for zero) the autoencoder is the identity. It copies the noise,
# and it copies backward spectra as well as true ones. Somewhere in between lies a code
# that can tell what spectra have to tell and has no room for the noise, and its
# reconstructions are *better than the data*.
#
# So a low reconstruction error, by itself, says nothing about what was learned. With
# hidden layers it is no different, except that a copy has to be learned, and training
# may stop before.
#
# A large code can still be useful, if something other than its size holds it back:
# noise at the input, sparsity, a price for information. These are the subjects of
# [tutorial 03](03_denoising_inpainting_sparsity.ipynb) and
# [tutorial 04](04_variational_autoencoders.ipynb).

# %% [markdown]
# ## Exercises
#
# **1. Untied.** With `tied=False`, encoder and decoder have matrices of their own. Does
# the decoder still span the principal components?
#
# <details><summary>Solution</summary>
#
# ```python
# untied = sk.models.LinearAutoencoder(
#     (256,), code_dim=K, tied=False, normalization=sk.layers.Standardization.of(x)
# )
# rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
# untied.compile(keras.optimizers.Adam(rate), loss="mse")
# untied.fit(x, x, batch_size=64, epochs=LINEAR_EPOCHS, verbose=0)
# overlaps = np.linalg.svd(untied.components() @ components[:K].T)[1]
# print("error", error(untied.reconstruct(x_test)), "PCA", errors[K])
# print("angles", np.degrees(np.arccos(np.clip(overlaps, 0.0, 1.0))))
# ```
#
# It does, up to what is left of the training: the theorem is about the product of the
# two matrices, which is the same.
#
# </details>
#
# **2. Depth without bends.** Give the deep autoencoder a linear activation. What is its
# error with 8 numbers, and why?
#
# <details><summary>Solution</summary>
#
# ```python
# straight = sk.models.Autoencoder(
#     (256,),
#     code_dim=8,
#     encoder=sk.layers.DenseEncoder(8, units=(512, 256), activation="linear"),
#     normalization=sk.layers.Standardization.of(x),
# )
# straight.compile("adam", loss="mse")
# straight.fit(x, x, batch_size=64, epochs=DEEP_EPOCHS, verbose=0)
# print(error(straight.reconstruct(x_test)), "PCA", error(pca(x_test, 8)))
# ```
#
# A product of matrices is a matrix: however many layers, it cannot beat PCA.
#
# </details>
#
# **3. A strange spectrum.** Add a broad emission line,
# `0.5 * np.exp(-((axis / 0.05) ** 2))`, to one spectrum of the test set. Find it among
# all by its reconstruction error.
#
# <details><summary>Solution</summary>
#
# ```python
# strange = x_test.copy()
# strange[17] += 0.5 * np.exp(-((others.axis / 0.05) ** 2))
# residuals = np.mean((np.asarray(deep[8].reconstruct(strange)) - strange) ** 2, axis=1)
# print("the largest residual has number", int(residuals.argmax()))
# ```
#
# A small code cannot tell an emission line, so that the line stays in the residual. An
# identity would copy it.
#
# </details>

# %% [markdown]
# ## Summary
#
# - An autoencoder learns a code and the way back by reconstructing its input.
# - A linear one finds the subspace of the principal components, in rotated coordinates.
# - Hidden layers bend the surface of what can be told: less error with as many numbers.
# - A code as large as the data can copy; a low reconstruction error proves nothing
#   then.
#
# Next: [02 Convolutional autoencoders](02_convolutional_autoencoders.ipynb).
# More about what codes are good for: [What autoencoders are for](../docs/uses.md).
