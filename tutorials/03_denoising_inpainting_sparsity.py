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
# # 03 Denoising, inpainting, sparsity
#
# **Aim.** Regularise a large code by other means than its size: corrupt the input and
# predict the clean measurement, or allow only a few numbers of the code to be non-zero.
#
# **Prerequisites.** [Tutorial 01](01_what_an_autoencoder_is.ipynb).
#
# **Time.** About 5 minutes on two CPU cores
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
from sklearn.datasets import load_digits

import symae_keras as sk

COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
plt.rcParams.update({"figure.dpi": 110, "figure.constrained_layout.use": True})
# %matplotlib inline
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_STARS = 200 if QUICK else 4000
STEPS = 5 if QUICK else 2500  # training steps of a network for spectra
SPARSE_EPOCHS = 1 if QUICK else 100  # for the small networks of digits
IDX_FOLDER = os.environ.get("SYMAE_IMAGES")  # with idx files, such as those of MNIST

# %% [markdown]
# ## Denoising
#
# A **denoising autoencoder** (Vincent et al.,
# [2010](https://jmlr.org/papers/v11/vincent10a.html)) receives a corrupted input
# $\tilde x = x + \sigma \varepsilon$ and is trained to return the clean one:
#
# $$\min_{f, D} \; \mathbb{E} \, \lVert x - D(f(x + \sigma \varepsilon)) \rVert^2,
# \qquad \varepsilon \sim \mathcal{N}(0, 1) .$$
#
# Copying the input no longer minimises the loss, however large the code: the noise is
# drawn anew in every step and cannot be predicted. The minimum of this loss is the mean
# of all clean measurements that may have produced the corrupted one,
# $\mathbb{E}[x \mid \tilde x]$. For Gaussian noise this mean has a simple form
# (Tweedie's formula),
#
# $$\mathbb{E}[x \mid \tilde x] = \tilde x + \sigma^2 \, \nabla \log p(\tilde x) .$$
#
# It is one step towards higher density of the data. A denoiser therefore has to learn
# the distribution of the data.
#
# The data are spectra of stars as in tutorial 01. The training spectra have a
# signal-to-noise ratio of 100. The spectra to be denoised have a ratio of 10.

# %%
SIGMA = 0.1
KIND = {"n_instances": 1, "nuisances": ("velocity", "slope"), "excitation": 1.0}
stars = sk.data.simulate_exposures(n_states=N_STARS, seed=0, **KIND)
others = sk.data.simulate_exposures(n_states=300, seed=1, **KIND)
x, axis = stars.x[:, 0], stars.axis
every = np.arange(300)
truth = others.virtual(state=every, group=every, instance=0)  # without noise
noisy = truth + SIGMA * np.random.default_rng(2).standard_normal(truth.shape)
noisy = noisy.astype("float32")

# %% [markdown]
# The next figure shows the goal, with a pretrained denoiser of the package. Each row of
# an image is a spectrum. The second image shows the noise, and the third image shows
# the error that remains after denoising.

# %%
order = np.argsort(others.state["temperature"])
pretrained = sk.zoo.load("denoising_exposures")
denoised = np.asarray(pretrained.reconstruct(noisy))
fig = Figure(figsize=(7.5, 3.4))
axes = fig.subplots(1, 3, sharey=True)
options = {"aspect": "auto", "extent": (axis[0], axis[-1], len(truth), 0)}
shown = axes[0].imshow(noisy[order], cmap="inferno", vmin=0.0, vmax=1.6, **options)
options.update(cmap="RdBu_r", vmin=-0.3, vmax=0.3)
axes[1].imshow((noisy - truth)[order], **options)
error = axes[2].imshow((denoised - truth)[order], **options)
titles = ("noisy spectra", "error before", "error after")
for ax, title in zip(axes, titles, strict=True):
    ax.set(title=title, xlabel="wavelength")
axes[0].set_ylabel("star, cool to hot")
fig.colorbar(shown, ax=axes[0], label="flux (relative)", location="left")
fig.colorbar(error, ax=axes[2], label="error of the flux")
fig


# %%
def train(model):
    """Fit a model to the spectra for STEPS batches."""
    rate = keras.optimizers.schedules.CosineDecay(1e-3, STEPS)
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    batches = sk.data.instance_batches(stars, batch_size=64, seed=0).repeat()
    model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return model


scaling = sk.layers.Standardization.of(x)
keras.utils.set_random_seed(0)
plain = train(sk.models.Autoencoder((256,), code_dim=256, normalization=scaling))
keras.utils.set_random_seed(0)
denoiser = train(
    sk.models.DenoisingAutoencoder(
        (256,),
        code_dim=256,
        corruption=sk.layers.GaussianCorruption(SIGMA, seed=0),
        normalization=sk.layers.Standardization.of(x),
    )
)

# %% [markdown]
# Both codes have as many numbers as the spectra have pixels, and the networks are the
# same. The corruption is active only in training: `reconstruct` uses the noisy data as
# they are.
#
# For comparison, we use a filter without any training: a running mean, with the window
# width that gives the best result. The gain is the improvement of the signal-to-noise
# ratio in decibels. A gain of 10 dB means that the squared error is reduced to a tenth.


# %%
def running_mean(data, width):
    """Return means over `width` pixels (an odd number), with repeated edges."""
    padded = np.pad(data, ((0, 0), (width // 2, width // 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    return windows.mean(axis=-1)


gains = {
    w: sk.evaluation.snr_gain(truth, noisy, running_mean(noisy, w))
    for w in (3, 5, 7, 9)
}
width = max(gains, key=gains.get)
cleaned = {
    f"running mean, {width} pixels": running_mean(noisy, width),
    "plain autoencoder": np.asarray(plain.reconstruct(noisy)),
    "denoising autoencoder": np.asarray(denoiser.reconstruct(noisy)),
}
pd.DataFrame.from_dict(
    {
        name: sk.evaluation.snr_gain(truth, noisy, each)
        for name, each in cleaned.items()
    },
    orient="index",
    columns=["gain (dB)"],
).round(1)

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig = Figure(figsize=(7.5, 5.0))
panels = fig.subplots(4, 1, sharex=True, sharey=True)
for ax, (name, row) in zip(
    panels, {"noisy input": noisy, **cleaned}.items(), strict=True
):
    ax.plot(axis, truth[0], color="black", lw=1.0, label="truth")
    ax.plot(axis, row[0], lw=1.0, alpha=0.9)
    ax.set_title(name, fontsize=9, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
panels[0].legend(frameon=False, loc="lower right")
panels[-1].set_xlabel("normalised wavelength")
fig.supylabel("flux (relative)")
fig

# %% [markdown]
# The next figure shows the gain for other noise levels. A denoiser is trained for one
# noise level. If the noise is much weaker, it also removes part of the signal.

# %%
sigmas = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4])
noise = np.random.default_rng(3).standard_normal(truth.shape)
ways = {
    "running mean": lambda each: running_mean(each, width),
    "plain autoencoder": plain.reconstruct,
    "denoising autoencoder": denoiser.reconstruct,
}
fig = Figure(figsize=(6.0, 3.4))
ax = fig.subplots()
for (name, way), mark in zip(ways.items(), "s^o", strict=True):
    curve = []
    for sigma in sigmas:
        given = (truth + sigma * noise).astype("float32")
        curve.append(sk.evaluation.snr_gain(truth, given, way(given)))
    ax.plot(sigmas, curve, marker=mark, label=name)
ax.axhline(0.0, color="black", lw=0.8)
ax.axvline(SIGMA, color="black", lw=0.8, ls=":")
ax.set(xscale="log", xlabel="noise of the input (relative flux)", ylabel="gain (dB)")
ax.set_xticks(sigmas, sigmas)
ax.minorticks_off()
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
fig

# %% [markdown]
# If the gain is negative, the method increases the error. The dotted line marks the
# noise level of the training.
#
# ## Inpainting
#
# A gap is another kind of corruption. `BlockCorruption` sets an interval to zero, at a
# different position in every spectrum and every step. The network has to predict the
# missing pixels from the others. This is possible as far as the rest of the spectrum
# determines them: here all lines of an element share one abundance, so the lines
# outside the gap predict those inside.

# %%
keras.utils.set_random_seed(0)
inpainter = train(
    sk.models.DenoisingAutoencoder(
        (256,),
        code_dim=64,
        corruption=sk.layers.BlockCorruption(fraction=0.25, seed=0),
        normalization=sk.layers.Standardization.of(x),
    )
)

# %%
gap = sk.layers.BlockCorruption(fraction=0.25, seed=7)
spectra = others.x[:, 0]
blanked = keras.ops.convert_to_numpy(gap(spectra, training=True))
missing = blanked == 0.0
filled = np.asarray(inpainter.reconstruct(blanked))

lines = blanked.copy()
for row, hole in zip(lines, missing, strict=True):
    row[hole] = np.interp(axis[hole], axis[~hole], row[~hole])
mean = np.broadcast_to(x.mean(axis=0), truth.shape)

spread = np.mean((mean - truth)[missing] ** 2)
rows = {
    "mean spectrum": mean,
    "straight line": lines,
    "inpainting autoencoder": filled,
}
pd.Series(
    {name: np.mean((r - truth)[missing] ** 2) / spread for name, r in rows.items()},
    name="error in gaps",
).to_frame().round(3)

# %% [markdown]
# The errors are divided by that of the mean spectrum.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig = Figure(figsize=(7.5, 4.2))
panels = fig.subplots(3, 1, sharex=True)
for n, ax in enumerate(panels):
    hole = missing[n]
    ax.axvspan(axis[hole][0], axis[hole][-1], color="0.85", label="gap")
    ax.plot(axis, truth[n], color="black", lw=1.0, label="truth")
    ax.plot(axis[hole], filled[n][hole], lw=1.2, label="inpainted")
    ax.plot(axis[hole], lines[n][hole], lw=1.2, ls="--", label="straight line")
    ax.spines[["top", "right"]].set_visible(False)
panels[0].legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
panels[-1].set_xlabel("normalised wavelength")
fig.supylabel("flux (relative)")
fig

# %% [markdown]
# Data with real gaps need no corruption for training. Pass them as
# `{"instances": x, "mask": good}`, and all losses ignore the bad pixels. See [Your own
# data](../docs/data.md).
#
# ## Sparsity
#
# The third method is a large code in which only a few numbers may differ from zero. The
# non-zero numbers differ from instance to instance. With a linear decoder, an instance
# is then a sum of a few *atoms* from a learned *dictionary*,
#
# $$\hat x = b + \sum_{j \in \text{active}} z_j \, d_j , \qquad
# \lvert \text{active} \rvert \le k .$$
#
# Here $b$ is close to the mean image. The normalisation subtracts the mean image first,
# so the atoms represent the deviations of an image from the mean, and more of the atoms
# are used.
#
# `sparsity="top_k"` keeps the $k$ largest numbers and sets all others to zero. The data
# are the handwritten digits of scikit-learn with 8 x 8 pixels. The dictionary has twice
# as many atoms as there are pixels.
#
# <div class="admonition tip alert alert-success">
# <p class="admonition-title"><b>Tip</b></p>
#
# To use MNIST or Fashion-MNIST instead, set the environment variable `SYMAE_IMAGES` to
# a folder that contains their four idx files before you start the notebook. [The page
# on reproduced results](../docs/reproduction.md) says where to find these files.
#
# </div>

# %%
if IDX_FOLDER:
    digits_train, digits_test = (
        sk.data.load_idx(IDX_FOLDER, split)[0][:n].astype("float32") / 255
        for split, n in (("train", 5000), ("test", 1000))
    )
else:
    images = (load_digits().images / 16.0).astype("float32")
    digits_train, digits_test = images[:1400], images[1400:]
centre = digits_train.mean(axis=0)
spread = float(np.mean((digits_test - centre) ** 2))
SHAPE = centre.shape
ATOMS = 2 * centre.size


def sparse_autoencoder(n_active):
    """Train a dictionary of ATOMS atoms, of which each image uses n_active."""
    keras.utils.set_random_seed(0)
    model = sk.models.SparseAutoencoder(
        SHAPE,
        code_dim=ATOMS,
        encoder=sk.layers.DenseEncoder(ATOMS, units=()),
        decoder=sk.layers.DenseDecoder(SHAPE, units=()),
        sparsity="top_k",
        n_active=n_active,
        normalization=sk.layers.Standardization(mean=centre, scale=digits_train.std()),
    )
    model.compile(keras.optimizers.Adam(3e-3), loss="mse")
    model.fit(
        digits_train, digits_train, batch_size=64, epochs=SPARSE_EPOCHS, verbose=0
    )
    return model


ACTIVE = (2, 4, 8)
sparse = {k: sparse_autoencoder(k) for k in ACTIVE}

# %%
atoms = np.asarray(sparse[4].atoms())
use = np.mean(np.asarray(sparse[4].encode(digits_test)) != 0.0, axis=0)
busiest = np.argsort(-use)[:32]
sk.plotting.plot_dictionary(atoms[busiest], value_label="intensity")

# %% [markdown]
# The figure shows the 32 atoms that are used most often in the test digits, in order of
# frequency. They resemble pen strokes. Red means that the atom adds ink, and blue means
# that it removes ink.
#
# The next figure decomposes one digit. The decoder adds the four active atoms to the
# offset.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
n = 5
code = np.asarray(sparse[4].encode(digits_test[n : n + 1]))[0]
used = np.flatnonzero(code)[np.argsort(-np.abs(code[code != 0.0]))]
offset = np.asarray(sparse[4].decode(np.zeros((1, ATOMS), "float32")))[0]
parts = [digits_test[n], offset, *(code[j] * atoms[j] for j in used)]
parts.append(offset + sum(parts[2:]))
titles = ["digit", "offset", *(f"atom {j}" for j in used), "sum"]
fig = Figure(figsize=(7.5, 1.7))
for ax, part, title in zip(fig.subplots(1, len(parts)), parts, titles, strict=True):
    shown = ax.imshow(part, cmap="RdBu_r", vmin=-1.0, vmax=1.0)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
fig

# %%
difference = np.abs(
    parts[-1] - np.asarray(sparse[4].reconstruct(digits_test[n : n + 1]))[0]
).max()
display(
    Markdown(
        f"The largest difference between the sum and `reconstruct` is {difference:.1e}."
    )
)

# %% [markdown]
# Now we compare with principal components, with the same number of numbers per image.
# The components are the same for all digits. The active atoms are chosen for each
# digit.

# %%
components = np.linalg.svd(
    (digits_train - centre).reshape(len(digits_train), -1), full_matrices=False
)[2]
rows = []
for k in ACTIVE:
    basis = components[:k]
    flat = (digits_test - centre).reshape(len(digits_test), -1)
    pca = np.mean((flat - flat @ basis.T @ basis) ** 2) / spread
    made = np.asarray(sparse[k].reconstruct(digits_test))
    in_use = int(np.any(np.asarray(sparse[k].encode(digits_test)) != 0.0, axis=0).sum())
    ours = np.mean((made - digits_test) ** 2) / spread
    rows.append((k, pca, ours, f"{in_use} of {ATOMS}"))
heads = ["active numbers", "error of PCA", "error of the sparse code", "atoms in use"]
pd.DataFrame(rows, columns=heads).round(3)

# %% [markdown]
# <div class="admonition note alert alert-info">
# <p class="admonition-title"><b>Note</b></p>
#
# The comparison favours the sparse code: the choice of the active atoms is additional
# information, and PCA does not have it.
#
# </div>
#
# Atoms that no digit uses are *dead*: they receive no gradient and do not change.
#
# ## Exercises
#
# **1. Salt and pepper.** Train a denoiser with `sk.layers.SaltAndPepper` and apply it
# to spectra with such noise. Which is the better baseline, a running mean or a running
# median?
#
# <details><summary>Solution</summary>
#
# ```python
# dirt = sk.layers.SaltAndPepper(0.1, low=0.0, high=2.0, seed=0)
# keras.utils.set_random_seed(0)
# cleaner = train(
#     sk.models.DenoisingAutoencoder(
#         (256,), 256, corruption=dirt, normalization=sk.layers.Standardization.of(x)
#     )
# )
# dirty = keras.ops.convert_to_numpy(dirt(truth, training=True))
# windows = np.pad(dirty, ((0, 0), (2, 2)), mode="edge")
# windows = np.lib.stride_tricks.sliding_window_view(windows, 5, axis=1)
# for name, result in {
#     "mean": windows.mean(axis=-1),
#     "median": np.median(windows, axis=-1),
#     "autoencoder": cleaner.reconstruct(dirty),
# }.items():
#     print(name, sk.evaluation.snr_gain(truth, dirty, result))
# ```
#
# The median is better: it ignores outliers, while a mean spreads each outlier over its
# window.
#
# </details>
#
# **2. Larger gaps.** The network was trained with gaps of a quarter of the spectrum.
# How large is the error in the gaps if half of the spectrum is missing?
#
# <details><summary>Solution</summary>
#
# ```python
# for fraction in (0.1, 0.25, 0.5):
#     hole = sk.layers.BlockCorruption(fraction=fraction, seed=7)
#     given = keras.ops.convert_to_numpy(hole(others.x[:, 0], training=True))
#     gone = given == 0.0
#     result = np.asarray(inpainter.reconstruct(given))
#     scale = np.mean((mean - truth)[gone] ** 2)
#     print(fraction, np.mean((result - truth)[gone] ** 2) / scale)
# ```
#
# If the gaps have another size than in training, the inputs differ from all training
# inputs. Train with the gap sizes that you expect.
#
# </details>
#
# **3. A penalty instead of a limit.** `sparsity="l1"` adds a penalty on the sum of the
# code to the loss. How many numbers are active, and what is the error, for several
# weights?
#
# <details><summary>Solution</summary>
#
# ```python
# for weight in (1e-4, 1e-3, 1e-2):
#     keras.utils.set_random_seed(0)
#     model = sk.models.SparseAutoencoder(
#         SHAPE,
#         code_dim=ATOMS,
#         encoder=sk.layers.DenseEncoder(ATOMS, units=()),
#         decoder=sk.layers.DenseDecoder(SHAPE, units=()),
#         sparsity="l1",
#         sparsity_weight=weight,
#         normalization=sk.layers.Standardization(centre, digits_train.std()),
#     )
#     model.compile(keras.optimizers.Adam(3e-3), loss="mse")
#     options = {"batch_size": 64, "epochs": SPARSE_EPOCHS, "verbose": 0}
#     model.fit(digits_train, digits_train, **options)
#     active = np.mean(np.asarray(model.encode(digits_test)) > 0.0) * ATOMS
#     made = np.asarray(model.reconstruct(digits_test))
#     print(weight, active, np.mean((made - digits_test) ** 2) / spread)
# ```
#
# With a higher weight, fewer numbers are active and the error is larger. Their number
# is not fixed, and it differs from digit to digit.
#
# </details>

# %% [markdown]
# ## Summary
#
# - With a corrupted input, copying does not minimise the loss. Even a code as large as
#   the data has to learn the distribution of the data.
# - A denoiser returns the mean of all possible clean measurements. It is trained for
#   one noise level.
# - An inpainting autoencoder fills gaps as far as the rest of the measurement
#   determines them.
# - A sparse code uses a few atoms of a large dictionary, and other atoms for each
#   instance.
#
# Next: [04 Variational autoencoders](04_variational_autoencoders.ipynb) adds a penalty
# on the information in the code, and generates new data.
