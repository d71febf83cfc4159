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
# **Aim.** Hold a large code back by other means than its size: corrupt the input and
# ask for the clean measurement, or allow only few numbers to be active at a time.
#
# **Prerequisites.** [Tutorial 01](01_what_an_autoencoder_is.ipynb).
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
from sklearn.datasets import load_digits

import symae_keras as sk

plt.style.use("tableau-colorblind10")
plt.rcParams.update({"figure.dpi": 110, "figure.constrained_layout.use": True})
# %matplotlib inline
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_STARS = 1000 if QUICK else 4000
STEPS = 250 if QUICK else 2500  # training steps of a network for spectra
SPARSE_EPOCHS = 15 if QUICK else 100  # for the networks of digits, which are small

# %% [markdown]
# ## Denoising
#
# A **denoising autoencoder** (Vincent et al.,
# [2010](https://jmlr.org/papers/v11/vincent10a.html)) sees a corrupted input
# $\tilde x = x + \sigma \varepsilon$ and is asked for the clean one:
#
# $$\min_{f, D} \; \mathbb{E} \, \lVert x - D(f(x + \sigma \varepsilon)) \rVert^2,
# \qquad \varepsilon \sim \mathcal{N}(0, 1) .$$
#
# Copying is no solution any more, however large the code: the noise is drawn anew
# every time and cannot be foretold. What minimises this loss is the mean of all clean
# measurements that the corrupted one may have come from, $\mathbb{E}[x \mid \tilde x]$.
# For Gaussian noise it has a remarkable form (Tweedie's formula),
#
# $$\mathbb{E}[x \mid \tilde x] = \tilde x + \sigma^2 \, \nabla \log p(\tilde x) :$$
#
# one step uphill, towards where data are. A denoiser must know what data look like.
#
# Our data are spectra of stars as in tutorial 01. Those to learn from have a
# signal-to-noise ratio of 100; those to clean have one of 10.

# %%
SIGMA = 0.1
KIND = {"n_instances": 1, "nuisances": ("velocity", "slope"), "excitation": 1.0}
stars = sk.data.simulate_exposures(n_states=N_STARS, seed=0, **KIND)
others = sk.data.simulate_exposures(n_states=300, seed=1, **KIND)
x, axis = stars.x[:, 0], stars.axis
every = np.arange(300)
truth = others.virtual(state=every, group=every, instance=0)  # no noise at all
noisy = truth + SIGMA * np.random.default_rng(2).standard_normal(truth.shape)
noisy = noisy.astype("float32")


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
# Both codes have as many numbers as the spectra have pixels; the networks are the same.
# The corruption acts in training only: `reconstruct` takes noisy data as they are.
#
# A filter without any learning stands beside them, a running mean over as many pixels
# as serve it best. The gain is that of the signal-to-noise ratio, in decibels: 10 dB
# are a tenth of the squared error.


# %%
def running_mean(data, width):
    """Means over `width` pixels, an odd number; edges are repeated."""
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
rows = ["| | gain (dB) |", "|---|---|"]
for name, result in cleaned.items():
    rows.append(f"| {name} | {sk.evaluation.snr_gain(truth, noisy, result):.1f} |")
display(Markdown("\n".join(rows)))

# %%
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
# How does it do with other noise than it was trained for? A denoiser is made for one
# strength; far below it, it takes off more than there is.

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
# Below zero a method does harm. The dotted line is the strength that the denoiser was
# trained for.
#
# ## Inpainting
#
# Noise is one corruption; a gap is another. `BlockCorruption` blanks an interval, a
# different one in every spectrum and every step, and the network has to fill it from
# what is left. It can, as far as the rest of the spectrum tells: here all lines of an
# element share one abundance, so that those outside of the gap tell of those inside.

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

rows = ["| what fills the gap | error in gaps |", "|---|---|"]
spread = np.mean((mean - truth)[missing] ** 2)
for name, result in {
    "mean spectrum": mean,
    "straight line": lines,
    "inpainting autoencoder": filled,
}.items():
    rows.append(f"| {name} | {np.mean((result - truth)[missing] ** 2) / spread:.3f} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# Errors are relative to those of the mean spectrum.

# %%
fig = Figure(figsize=(7.5, 4.2))
panels = fig.subplots(3, 1, sharex=True)
for n, ax in enumerate(panels):
    hole = missing[n]
    ax.axvspan(axis[hole][0], axis[hole][-1], color="0.9", label="gap")
    ax.plot(axis, truth[n], color="black", lw=1.0, label="truth")
    ax.plot(axis[hole], filled[n][hole], lw=1.2, label="inpainted")
    ax.plot(axis[hole], lines[n][hole], lw=1.2, ls="--", label="straight line")
    ax.spines[["top", "right"]].set_visible(False)
panels[0].legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
panels[-1].set_xlabel("normalised wavelength")
fig.supylabel("flux (relative)")
fig

# %% [markdown]
# Data with real gaps need no corruption to be trained on: give them as
# `{"instances": x, "mask": good}`, and bad pixels count nowhere. See
# [Your own data](../docs/data.md).
#
# ## Sparsity
#
# The third way is to make the code large and to allow only a few of its numbers to
# differ from zero. Which ones differ from instance to instance. With a linear decoder
# an instance then is a sum of few *atoms* out of a learned *dictionary*,
#
# $$\hat x = b + \sum_{j \in \text{active}} z_j \, d_j , \qquad
# \lvert \text{active} \rvert \le k .$$
#
# Here $b$ is little more than the mean image, which the normalisation takes off first:
# atoms then tell how an image differs from it, and more of them find work.
#
# `sparsity="top_k"` keeps the $k$ largest numbers and sets all others to zero. The data
# are scikit-learn's handwritten digits of 8 x 8 pixels, and the dictionary has twice as
# many atoms as there are pixels.

# %%
digits = load_digits()
images = (digits.images / 16.0).astype("float32")
learn, judge = images[:1400], images[1400:]
centre = learn.mean(axis=0)
spread = float(np.mean((judge - centre) ** 2))
ATOMS = 128


def sparse_autoencoder(n_active):
    """A dictionary of ATOMS atoms, of which an image uses n_active."""
    keras.utils.set_random_seed(0)
    model = sk.models.SparseAutoencoder(
        (8, 8),
        code_dim=ATOMS,
        encoder=sk.layers.DenseEncoder(ATOMS, units=()),
        decoder=sk.layers.DenseDecoder((8, 8), units=()),
        sparsity="top_k",
        n_active=n_active,
        normalization=sk.layers.Standardization(mean=centre, scale=learn.std()),
    )
    model.compile(keras.optimizers.Adam(3e-3), loss="mse")
    model.fit(learn, learn, batch_size=64, epochs=SPARSE_EPOCHS, verbose=0)
    return model


ACTIVE = (2, 4, 8)
sparse = {k: sparse_autoencoder(k) for k in ACTIVE}

# %%
atoms = np.asarray(sparse[4].atoms())
use = np.mean(np.asarray(sparse[4].encode(judge)) != 0.0, axis=0)
busiest = np.argsort(-use)[:32]
sk.plotting.plot_dictionary(atoms[busiest], value_label="intensity")

# %% [markdown]
# These are the 32 atoms that most of the new digits use, the busiest first: strokes and
# bows, red where ink is added and blue where it is taken away.
#
# Take one digit apart. Its sum of four atoms is all that the decoder makes of the code.

# %%
n = 5
code = np.asarray(sparse[4].encode(judge[n : n + 1]))[0]
used = np.flatnonzero(code)[np.argsort(-np.abs(code[code != 0.0]))]
offset = np.asarray(sparse[4].decode(np.zeros((1, ATOMS), "float32")))[0]
parts = [judge[n], offset, *(code[j] * atoms[j] for j in used)]
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
    parts[-1] - np.asarray(sparse[4].reconstruct(judge[n : n + 1]))[0]
).max()
display(Markdown(f"The sum differs from `reconstruct` by {difference:.1e} at most."))

# %% [markdown]
# Against principal components with as many numbers: the components are the same for all
# digits, the active atoms are chosen for each.

# %%
components = np.linalg.svd(
    (learn - centre).reshape(len(learn), -1), full_matrices=False
)[2]
rows = ["| active numbers | PCA | sparse | atoms in use |", "|---|---|---|---|"]
for k in ACTIVE:
    basis = components[:k]
    flat = (judge - centre).reshape(len(judge), -1)
    pca = np.mean((flat - flat @ basis.T @ basis) ** 2) / spread
    made = np.asarray(sparse[k].reconstruct(judge))
    in_use = int(np.any(np.asarray(sparse[k].encode(judge)) != 0.0, axis=0).sum())
    ours = np.mean((made - judge) ** 2) / spread
    rows.append(f"| {k} | {pca:.3f} | {ours:.3f} | {in_use} of {ATOMS} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# The comparison is not quite fair: which of the atoms are active is information, too,
# and PCA has none of it to tell. Atoms that no digit uses are *dead*: they get no
# gradient and stay as they are.
#
# ## Exercises
#
# **1. Salt and pepper.** Train a denoiser with `sk.layers.SaltAndPepper` and give it
# spectra with such noise. Is a running mean or a running median the right rival?
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
# The median: it ignores outliers, where a mean spreads them over its window.
#
# </details>
#
# **2. Larger gaps.** How does the error in gaps grow when half of a spectrum is
# missing, for the network that was trained with a quarter?
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
# Where gaps are of another size than in training, the network is outside of what it
# knows. Train with the gaps that you expect.
#
# </details>
#
# **3. A price instead of a limit.** `sparsity="l1"` puts a price on the sum of the
# code. How many numbers are active, and what is the error, for some weights?
#
# <details><summary>Solution</summary>
#
# ```python
# for weight in (1e-4, 1e-3, 1e-2):
#     keras.utils.set_random_seed(0)
#     model = sk.models.SparseAutoencoder(
#         (8, 8),
#         code_dim=ATOMS,
#         encoder=sk.layers.DenseEncoder(ATOMS, units=()),
#         decoder=sk.layers.DenseDecoder((8, 8), units=()),
#         sparsity="l1",
#         sparsity_weight=weight,
#         normalization=sk.layers.Standardization(mean=centre, scale=learn.std()),
#     )
#     model.compile(keras.optimizers.Adam(3e-3), loss="mse")
#     model.fit(learn, learn, batch_size=64, epochs=SPARSE_EPOCHS, verbose=0)
#     active = np.mean(np.asarray(model.encode(judge)) > 0.0) * ATOMS
#     made = np.asarray(model.reconstruct(judge))
#     print(weight, active, np.mean((made - judge) ** 2) / spread)
# ```
#
# A higher price leaves fewer numbers active, and a larger error. Nothing fixes how many
# they are, and they differ from digit to digit.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A corrupted input makes copying impossible: even a code as large as the data has to
#   learn what data look like.
# - A denoiser returns the mean of what the truth may be; it is made for one strength of
#   noise.
# - Gaps are filled as far as the rest of a measurement tells of them.
# - A sparse code takes few atoms of a large dictionary, other ones for each instance.
#
# Next: [04 Variational autoencoders](04_variational_autoencoders.ipynb), where codes
# get a price in nats, and new data can be drawn.
