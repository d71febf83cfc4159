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
# # 02 Convolutional autoencoders
#
# **Aim.** Understand why networks for images slide small kernels, build a convolutional
# autoencoder, and choose how its decoder makes small maps large again.
#
# **Prerequisites.** [Tutorial 01](01_what_an_autoencoder_is.ipynb); what a convolution
# is.
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
N_IMAGES = 512 if QUICK else 2000  # images to learn from
STEPS = 80 if QUICK else 700  # training steps of each network
BATCH = 32

# %% [markdown]
# ## Data: glyphs
#
# `simulate_shapes` draws smooth random glyphs, shifted and turned, in uneven light. An
# image has 28 x 28 pixels and one channel, and the last axis is that of channels, as
# always in this package.

# %%
glyphs = sk.data.simulate_shapes(n_states=N_IMAGES, n_instances=1, seed=0)
others = sk.data.simulate_shapes(n_states=256, n_instances=1, seed=1)
x, x_test = glyphs.x[:, 0], others.x[:, 0]
every = np.arange(len(x_test))
truth = others.virtual(state=every, group=every, instance=0)  # without the noise
variance = float(np.mean((truth - x.mean(axis=0)) ** 2))


def error(images):
    """Mean squared error against the noiseless truth, over the variance."""
    return float(np.mean((np.asarray(images) - truth) ** 2)) / variance


x.shape, x_test.shape

# %%
fig = Figure(figsize=(7.5, 1.5))
for ax, image in zip(fig.subplots(1, 6), x, strict=False):
    ax.imshow(image[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    ax.set_axis_off()
fig

# %% [markdown]
# ## Why convolutions
#
# A dense layer gives each pair of pixel and unit a weight of its own. It does not know
# that pixels have neighbours: shuffle all pixels of all images alike, and a dense
# network learns just as well. A convolution takes one small kernel $k$ over the whole
# image,
#
# $$y_{ij} = b + \sum_{u, v} k_{uv} \, x_{s i + u, \, s j + v} ,$$
#
# with a *stride* $s$: with $s = 2$ it computes every second row and column, so that
# maps become half as wide and half as high. This builds in two facts about images.
# Neighbours belong together; and an edge is an edge wherever it is. Shift the input by
# one stride and the output shifts by one pixel, which is called *equivariance*.

# %%
layer = keras.layers.Conv2D(1, 3, strides=2, padding="same")
image = x[:1]
shifted = np.roll(image, (4, 2), axis=(1, 2))
one, two = (keras.ops.convert_to_numpy(layer(each)) for each in (image, shifted))
inner = (slice(None), slice(4, -2), slice(4, -2))
difference = np.abs(np.roll(one, (2, 1), axis=(1, 2))[inner] - two[inner]).max()
display(
    Markdown(
        "Input shifted by 4 rows and 2 columns, output by 2 and 1: away from the "
        f"borders they differ by {difference:.1e} at most."
    )
)

# %% [markdown]
# ## Dense and convolutional
#
# All models of the package take an encoder: `"dense"`, `"conv1d"`, `"conv2d"`, or a
# layer of yours. `Conv2DEncoder` is a stack of strided convolutions, then one linear
# layer to the code. Left alone, the model mirrors the encoder for its decoder. We give
# both networks a code of 16 numbers and the same steps.

# %%
CODE = 16


def trained(encoder, decoder=None):
    """An autoencoder of the glyphs, trained for STEPS batches."""
    keras.utils.set_random_seed(0)
    model = sk.models.Autoencoder(
        (28, 28, 1),
        CODE,
        encoder,
        decoder,
        normalization=sk.layers.Standardization.of(x),
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, STEPS)
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    batches = sk.data.instance_batches(glyphs, batch_size=BATCH, seed=0).repeat()
    model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return model


dense, conv = trained("dense"), trained("conv2d")

# %%
rows = ["| network | weights | error of new images |", "|---|---|---|"]
for name, model in (("dense", dense), ("convolutional", conv)):
    made = model.reconstruct(x_test)
    rows.append(f"| {name} | {model.count_params():,} | {error(made):.3f} |")
display(Markdown("\n".join(rows)))

# %%
fig = Figure(figsize=(7.5, 4.0))
axes = fig.subplots(3, 6)
rows = {
    "input": x_test[:6],
    "dense": np.asarray(dense.reconstruct(x_test[:6])),
    "convolutional": np.asarray(conv.reconstruct(x_test[:6])),
}
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(line, images, strict=True):
        ax.imshow(image[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
fig

# %% [markdown]
# Most of the convolutional network's weights are in the one dense layer to the code and
# in the one from it. What the kernels need is small: their number does not depend on
# the size of the image.

# %%
kernels = sum(np.prod(w.shape) for w in conv.trainable_weights if len(w.shape) == 4)
display(
    Markdown(
        f"The four kernels have {int(kernels):,} weights of {conv.count_params():,} in "
        "all."
    )
)

# %% [markdown]
# ## From small maps to large ones
#
# The encoder's strides leave a map of 7 x 7; the decoder has to make 28 x 28 of it.
# There is no single inverse of a stride. `mirror(..., upsampling=...)` offers four
# ways:
#
# - **transposed**: every pixel of the small map adds a multiple of the kernel to the
#   large one, two pixels apart. It is the transpose of the matrix that a strided
#   convolution is.
# - **nearest**: repeat every pixel, then convolve.
# - **bed of nails**: put zeros between the pixels, then convolve.
# - **sub-pixel**: convolve to four times the channels, then lay these out as 2 x 2
#   pixels.
#
# With a kernel of 3 and a stride of 2, kernels of a transposed convolution overlap on
# some pixels and not on others: each output pixel is a sum of 1, 2 or 4 terms, in a
# fixed pattern.

# %%
ones = np.ones((1, 4, 4, 1), "float32")
spread = keras.layers.Conv2DTranspose(
    1, 3, strides=2, padding="same", kernel_initializer="ones"
)
counts = keras.ops.convert_to_numpy(spread(ones))[0, :, :, 0]
fig = Figure(figsize=(3.8, 3.0))
ax = fig.subplots()
shown = ax.imshow(counts, cmap="viridis")
for (i, j), count in np.ndenumerate(counts):
    ax.text(
        j,
        i,
        f"{count:.0f}",
        ha="center",
        va="center",
        color="white" if count < 3 else "black",
    )
ax.set(xticks=[], yticks=[], title="terms in each pixel")
fig.colorbar(shown)
fig

# %% [markdown]
# This is the *checkerboard*. `sk.evaluation.checkerboard` measures it in images: the
# power in patterns that repeat every two pixels, over the mean power. White noise has
# 1. First the decoders as they are born, on random codes; then the same after training.

# %%
WAYS = ("transposed", "nearest", "bed_of_nails", "subpixel")


def decoder(way):
    """The mirrored decoder of a convolutional encoder."""
    return sk.layers.Conv2DEncoder(CODE).mirror((28, 28, 1), upsampling=way)


keras.utils.set_random_seed(0)
codes = keras.random.normal((64, CODE), seed=0)
born = {way: keras.ops.convert_to_numpy(decoder(way)(codes)) for way in WAYS}
models = {way: trained("conv2d", decoder(way)) for way in WAYS[1:]}
models = {"transposed": conv, **models}
made = {way: np.asarray(models[way].reconstruct(x_test)) for way in WAYS}

# %%
fig = Figure(figsize=(7.5, 5.0))
axes = fig.subplots(3, 4)
for column, way in enumerate(WAYS):
    axes[0, column].imshow(born[way][0, ..., 0], cmap="gray")
    axes[1, column].imshow(made[way][3, ..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    residual = (made[way] - truth)[3, ..., 0]
    shown = axes[2, column].imshow(residual, cmap="RdBu_r", vmin=-0.2, vmax=0.2)
    axes[0, column].set_title(way.replace("_", " "))
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
for ax, name in zip(
    axes[:, 0], ("before training", "after training", "minus truth"), strict=True
):
    ax.set_ylabel(name)
fig.colorbar(shown, ax=axes[2], shrink=0.8, label="residual")
fig

# %%
rows = [
    "| upsampling | board, untrained | board, trained | error | weights |",
    "|---|---|---|---|---|",
]
for way in WAYS:
    before = sk.evaluation.checkerboard(born[way])
    after = sk.evaluation.checkerboard(made[way] - truth)
    name, weights = way.replace("_", " "), models[way].count_params()
    rows.append(
        f"| {name} | {before:.2f} | {after:.2f} | {error(made[way]):.3f} "
        f"| {weights:,} |"
    )
display(Markdown("\n".join(rows)))

# %% [markdown]
# Before training, a pattern stands wherever the pixels of a cell are not treated alike,
# how strong it is differs from draw to draw; repeated pixels have none. Training works
# against the pattern where it is strong, since it costs error. What is left to choose:
# the transposed convolution takes few operations and is the default; repeated pixels
# are right where a pattern with the period of the stride could be taken for a signal.
# [Upsampling in decoders](../docs/upsampling.md) has longer measurements over several
# seeds.
#
# ## Strides, sizes, and spectra
#
# Any size will do. A map of 27 pixels becomes 14, then 7; on the way back 7 becomes 14,
# then 28, and the decoder crops to the 27 that the encoder saw. And what works on
# images works on spectra: `Conv1DEncoder` slides its kernels along the wavelength.

# %%
encoder = sk.layers.Conv1DEncoder(8, filters=(16, 32, 64), kernel_size=5)
spectra = np.zeros((2, 251), "float32")  # a prime number of pixels
code = encoder(spectra)
tuple(code.shape), tuple(encoder.mirror((251,))(code).shape)

# %% [markdown]
# ## Exercises
#
# **1. Shuffled pixels.** Permute the pixels of all images alike and train both networks
# again. Which of them suffers?
#
# <details><summary>Solution</summary>
#
# ```python
# order = np.random.default_rng(0).permutation(28 * 28)
#
#
# def shuffled(images):
#     return images.reshape(len(images), -1)[:, order].reshape(images.shape)
#
#
# for name in ("dense", "conv2d"):
#     keras.utils.set_random_seed(0)
#     model = sk.models.Autoencoder(
#         (28, 28, 1), CODE, name, normalization=sk.layers.Standardization.of(x)
#     )
#     model.compile(keras.optimizers.Adam(1e-3), loss="mse")
#     epochs = -(-STEPS * BATCH // len(x))
#     model.fit(shuffled(x), shuffled(x), batch_size=BATCH, epochs=epochs, verbose=0)
#     made = np.asarray(model.reconstruct(shuffled(x_test)))
#     print(name, np.mean((made - shuffled(truth)) ** 2) / variance)
# ```
#
# The dense network does not notice. The convolutional one loses what it had built in:
# neighbours no longer belong together.
#
# </details>
#
# **2. A kernel of four.** Odena, Dumoulin and Olah
# ([2016](https://doi.org/10.23915/distill.00003)) advise kernels whose size is a
# multiple of the stride. Look at the terms in each pixel for a kernel of 4, and at the
# checkerboard of an untrained decoder.
#
# <details><summary>Solution</summary>
#
# ```python
# spread = keras.layers.Conv2DTranspose(
#     1, 4, strides=2, padding="same", kernel_initializer="ones"
# )
# print(keras.ops.convert_to_numpy(spread(ones))[0, :, :, 0])
# keras.utils.set_random_seed(0)
# four = sk.layers.Conv2DDecoder((28, 28, 1), kernel_size=4)
# images = keras.ops.convert_to_numpy(four(codes))
# for each in (images, born["transposed"]):
#     print(sk.evaluation.checkerboard(each))
# ```
#
# Away from the borders every pixel has four terms. Yet each of the four pixels of a
# cell gets them from other weights of the kernel, which are random before training: a
# pattern is still there.
#
# </details>
#
# **3. Lines in spectra.** Train an autoencoder with a `Conv1DEncoder` on simulated
# exposures with 8 numbers, and compare it with a dense one.
#
# <details><summary>Solution</summary>
#
# ```python
# stars = sk.data.simulate_exposures(N_IMAGES, 1, seed=0, nuisances=("velocity",))
# news = sk.data.simulate_exposures(256, 1, seed=1, nuisances=("velocity",))
# for name in ("dense", "conv1d"):
#     keras.utils.set_random_seed(0)
#     model = sk.models.Autoencoder(
#         (256,), 8, name, normalization=sk.layers.Standardization.of(stars.x[:, 0])
#     )
#     model.compile(keras.optimizers.Adam(1e-3), loss="mse")
#     batches = sk.data.instance_batches(stars, batch_size=BATCH, seed=0).repeat()
#     model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0)
#     made = np.asarray(model.reconstruct(news.x[:, 0]))
#     spread = news.x[:, 0].var(axis=0).mean()
#     print(name, np.mean((made - news.x[:, 0]) ** 2) / spread)
# ```
#
# Which one wins depends on the steps and on how many spectra there are: lines hardly
# move here, so that it is no loss for a dense layer to know each of them by its place.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A convolution shares one kernel over all places: few weights, and shifts of the
#   input are shifts of the output.
# - `encoder="conv2d"` (or `"conv1d"`, or your own) is all it takes; the decoder mirrors
#   it and gives any size back exactly.
# - Decoders can enlarge maps in four ways, which differ in the pattern that they bring
#   along, in operations and in weights.
#
# Next: [03 Denoising, inpainting, sparsity](03_denoising_inpainting_sparsity.ipynb).
