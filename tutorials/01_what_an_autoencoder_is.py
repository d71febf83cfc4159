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
# # 01 Linear and deep autoencoders
#
# **Aim.** See that a linear autoencoder is equivalent to principal component analysis
# (PCA), what hidden layers add, and why the size of the code must be limited or the
# code regularised.
#
# **Prerequisites.** Python with NumPy; vectors, matrices and eigenvectors.
#
# **Time.** About 4 minutes on two CPU cores
# ([measured times](../docs/tutorials.md#running-times)).

# %% tags=["install", "hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Installation
# This cell does nothing if the package is installed. Otherwise it installs a wheel from
# the notebook's folder, the sources that contain the notebook, or the released package.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("symae_keras") is None:
    sources = Path("../symae_keras/__init__.py").exists()
    wheels = [str(path) for path in Path().glob("symae_keras-*.whl")]
    where = [*wheels, ".." if sources else "symae_keras"][0]
    # %pip install "{where}"
    importlib.invalidate_caches()

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Imports and settings
import os

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure

import symae_keras as sk

COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
plt.rcParams.update({"figure.dpi": 110, "figure.constrained_layout.use": True})
# %matplotlib inline
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
# Training spectra; the test set has a quarter as many.
N_STARS = 400 if QUICK else 4000
LINEAR_EPOCHS = 2 if QUICK else 30
DEEP_EPOCHS = 2 if QUICK else 40
CODE_DIMS = (4, 8) if QUICK else (2, 4, 8, 16)

# %% [markdown]
# ## A code, and back again
#
# An **autoencoder** consists of two functions. The *encoder* $f$ maps a measurement $x$
# to a short vector, the *code* $z = f(x)$. The *decoder* $D$ maps the code back to a
# measurement, the *reconstruction* $\hat x = D(z)$. Both are trained together so that
# the reconstruction is close to the input:
#
# $$\min_{f, D} \; \frac{1}{N} \sum_{n=1}^{N} \lVert x_n - D(f(x_n)) \rVert^2 .$$
#
# The loss does not prescribe what the code means. The code has only a few numbers, so
# it can only store how measurements differ from each other. The weights of the networks
# have to store what all measurements have in common.
#
# ## Data: spectra of stars
#
# The package simulates spectra of 256 pixels. Eight parameters determine each noiseless
# spectrum: a temperature, the abundances of four elements, the width of the lines, a
# velocity that shifts all lines, and a slope from the instrument. The temperature also
# tilts the spectrum. Noise is added to each spectrum.

# %%
EIGHT = {"n_instances": 1, "nuisances": ("velocity", "slope"), "excitation": 1.0}
stars = sk.data.simulate_exposures(n_states=N_STARS, seed=0, **EIGHT)
others = sk.data.simulate_exposures(n_states=N_STARS // 4, seed=1, **EIGHT)
x, x_test = stars.x[:, 0], others.x[:, 0]
every = np.arange(len(x_test))
truth = others.virtual(state=every, group=every, instance=0)  # without the noise
x.shape, x_test.shape

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
order = np.argsort(stars.state["temperature"])
fig = Figure(figsize=(7.5, 5.0))
top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[3, 2])
edges = (stars.axis[0], stars.axis[-1], len(x), 0)
shown = top.imshow(x[order], cmap="inferno", aspect="auto", extent=edges)
top.set(ylabel="star, cool to hot", title=f"{len(x)} spectra, one per row")
fig.colorbar(shown, ax=top, label="flux (relative)")
for place, shift in zip((0.1, 0.5, 0.9), (0, 1, 2), strict=True):
    bottom.plot(stars.axis, x[order[int(place * len(x))]] + shift, lw=1.0)
bottom.set(xlabel="normalised wavelength", ylabel="flux + 0, 1, 2")
bottom.spines[["top", "right"]].set_visible(False)
fig

# %% [markdown]
# All errors in this tutorial are relative: the mean squared error divided by the
# variance of the data around the mean spectrum. A model that always predicts the mean
# spectrum has an error of 1. The noiseless spectra have a small error against the noisy
# data. A model that does not copy the noise cannot have a smaller one.

# %%
mean = x.mean(axis=0)
variance = float(np.mean((x_test - mean) ** 2))


def error(reconstruction, target=x_test):
    """Return the mean squared error over the variance of the data."""
    return float(np.mean((np.asarray(reconstruction) - target) ** 2)) / variance


floor = error(truth)
display(Markdown(f"The error of the noiseless spectra themselves is {floor:.4f}."))

# %% [markdown]
# ## Principal components
#
# The oldest autoencoder needs no training loop. Subtract the mean, and let the columns
# of $V_k$ be the $k$ directions in which the data vary most. These are the first
# eigenvectors of the covariance matrix. Then
#
# $$z = V_k^\top (x - \bar x), \qquad \hat x = \bar x + V_k z$$
#
# has the smallest mean squared error of all linear maps with $k$ numbers in the code
# (Eckart and Young). A singular value decomposition computes the directions.

# %%
components = np.linalg.svd(x - mean, full_matrices=False)[2]


def pca(data, k):
    """Reconstruct spectra from k principal components."""
    basis = components[:k]
    return mean + (data - mean) @ basis.T @ basis


errors = {k: error(pca(x_test, k)) for k in (1, 2, 3, 8, 16, 32)}
pd.DataFrame({"components": errors.keys(), "error": errors.values()}).round(4)

# %% [markdown]
# The spectra have eight parameters, but the error with eight components is still larger
# than that of the noise alone. A line that moves or widens does not add a multiple of
# one fixed pattern. The spectra therefore lie on a *curved* surface, and a subspace of
# components is flat.
#
# ## The same subspace by gradient descent
#
# Now we find the components by gradient descent. `LinearAutoencoder` has one matrix for
# the encoder, and by default the decoder uses its transpose. The loss has no local
# minimum other than the global one. At the global minimum, the rows of the decoder span
# the first principal components (Baldi and Hornik,
# [1989](https://doi.org/10.1016/0893-6080(89)90014-2)).
#
# `Standardization.of` returns a layer that subtracts the mean spectrum and divides by
# *one* number. This does not change the principal components. The layer is part of the
# model, so the output of the model has the units of the data.

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

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig = Figure(figsize=(7.5, 3.0))
left, right = fig.subplots(1, 2)
left.plot(np.array(history.history["val_loss"]) / variance, label="linear autoencoder")
left.axhline(errors[K], color="black", ls="--", lw=1.0, label=f"PCA, {K} components")
left.set(xlabel="epoch", ylabel="validation error", ylim=(0.0, None))
left.legend(frameon=False)

# Principal angles between the learned subspace and that of the components
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
# The *subspaces* agree, but the *coordinates* do not: the loss has the same value for
# the eigenvectors and for any rotation of them. The correlations between the numbers of
# the code and the principal components show this.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
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
# ## Hidden layers
#
# With hidden layers and nonlinear activations, the encoder and the decoder are
# nonlinear functions. The surface of all reconstructions $D(z)$ can then follow the
# curved surface of the data. By default, the encoder and the decoder of `Autoencoder`
# have two hidden layers each, with 512 and 256 units.


# %%
def deep_autoencoder(code_dim):
    """Train an autoencoder with hidden layers on the spectra."""
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
        f"Error with 8 numbers: PCA {error(pca(x_test, 8)):.4f}, with hidden layers "
        f"{error(deep[8].reconstruct(x_test)):.4f}, noise alone {floor:.4f}."
    )
)

# %% [markdown]
# One spectrum shows where the two methods differ. PCA cannot shift a line, so its
# residual has the shape of the derivative of that line.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
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
bottom.set(xlabel="normalised wavelength", ylabel="residual")
fig

# %% [markdown]
# ## Undercomplete and overcomplete
#
# An autoencoder is **undercomplete** if its code has fewer numbers than the
# measurement. It cannot copy its input and has to learn the typical shapes of spectra.
# An autoencoder is **overcomplete** if its code has at least as many numbers as the
# measurement. It can copy its input: the copy has zero loss, but the model has learned
# nothing about spectra.
#
# PCA shows this without any training. For each number of components, we compute three
# errors:
#
# 1. The error of the reconstruction against its noisy input. This is what the loss
#    measures.
# 2. The error against the *noiseless truth*.
# 3. The reconstruction error for spectra that are read from right to left. They do not
#    look like the training data, so a model that has learned the typical shapes of
#    spectra reconstructs them badly.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
backwards = x_test[:, ::-1]
sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256)
to_input = [error(pca(x_test, k)) for k in sizes]
to_truth = [error(pca(x_test, k), truth) for k in sizes]
to_backwards = [error(pca(backwards, k), backwards) for k in sizes]

fig = Figure(figsize=(7.5, 3.6))
ax = fig.subplots()
ax.plot(sizes[:-1], to_backwards[:-1], "^:", label="reversed spectra")
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
        f"The reconstruction is closest to the truth with {best} numbers: its error is "
        f"{min(to_truth) / to_truth[-1]:.2f} times that of the noisy input. With 256 "
        f"numbers, the error is {to_input[-1]:.1e} against the input and "
        f"{to_backwards[-1]:.1e} for reversed spectra. Against the truth, it is "
        f"{to_truth[-1] / error(x_test, truth):.2f} times that of the input."
    )
)

# %% [markdown]
# The loss decreases to zero. With 256 numbers the autoencoder is the identity. (Two
# curves omit this point, because a logarithmic axis cannot show zero.) It copies the
# noise, and it copies reversed spectra as well as true ones. With a number of
# components in between, the code can represent the spectra but not the noise. Its
# reconstructions are then *closer to the truth than the data*.
#
# <div class="admonition warning alert alert-warning">
# <p class="admonition-title"><b>Warning</b></p>
#
# A low reconstruction error alone does not show that a model has learned anything. This
# also holds for networks with hidden layers, except that a network has to learn to
# copy, and training may stop before that.
#
# </div>
#
# A large code can still be useful if something other than its size limits it: noise on
# the input, sparsity, or a penalty on the information in the code. [Tutorial
# 03](03_denoising_inpainting_sparsity.ipynb) and [tutorial
# 04](04_variational_autoencoders.ipynb) cover these methods.

# %% [markdown]
# ## Exercises
#
# **1. Untied weights.** With `tied=False`, the encoder and the decoder have separate
# matrices. Does the decoder still span the principal components?
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
# Yes, up to small deviations because training is finite. The theorem is about the
# product of the two matrices, and the best product is the same.
#
# </details>
#
# **2. Linear hidden layers.** Give the deep autoencoder a linear activation. What is
# its error with 8 numbers, and why?
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
# A product of matrices is a matrix. However many linear layers the network has, its
# error cannot be lower than that of PCA.
#
# </details>
#
# **3. Anomaly detection.** Add a broad emission line,
# `0.5 * np.exp(-((axis / 0.05) ** 2))`, to one spectrum of the test set. Find this
# spectrum by its reconstruction error.
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
# A small code cannot represent an emission line, so the line remains in the residual.
# The identity would copy it.
#
# </details>

# %% [markdown]
# ## Summary
#
# - An autoencoder learns a code and a decoder by reconstructing its input.
# - A linear autoencoder finds the subspace of the principal components, but in rotated
#   coordinates.
# - Hidden layers can follow curved data: the error is lower for the same size of the
#   code.
# - A code as large as the data can store a copy. A low reconstruction error then proves
#   nothing.
#
# Next: [02 Convolutional autoencoders](02_convolutional_autoencoders.ipynb). [What
# autoencoders are for](../docs/uses.md) lists applications of codes.
