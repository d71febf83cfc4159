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
# **Aim.** Understand why networks for images use small sliding kernels, build a
# convolutional autoencoder, and choose how the decoder upsamples small feature maps.
#
# **Prerequisites.** [Tutorial 01](01_what_an_autoencoder_is.ipynb); the definition of a
# convolution.
#
# **Time.** About 6 minutes on two CPU cores
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
N_IMAGES = 128 if QUICK else 2000  # training images
IDX_FOLDER = os.environ.get("SYMAE_IMAGES")  # with idx files, such as those of MNIST
STEPS = 4 if QUICK else 700  # training steps of each network
BATCH = 32

# %% [markdown]
# ## Data: simulated glyphs
#
# `simulate_shapes` draws smooth random glyphs that are shifted, rotated and unevenly
# lit. An image has 28 x 28 pixels and one channel. As everywhere in this package, the
# last axis holds the channels.
#
# <div class="admonition tip alert alert-success">
# <p class="admonition-title"><b>Tip</b></p>
#
# To use MNIST or Fashion-MNIST instead, set the environment variable `SYMAE_IMAGES` to
# a folder that contains their four idx files before you start the notebook. [The page
# on reproduced results](../docs/reproduction.md) says where to find these files. These
# images are measurements without a known noiseless truth, so errors are then computed
# against the test images themselves.
#
# </div>

# %%
glyphs = sk.data.simulate_shapes(n_states=N_IMAGES, n_instances=1, seed=0)
others = sk.data.simulate_shapes(n_states=256, n_instances=1, seed=1)
x, x_test = glyphs.x[:, 0], others.x[:, 0]
every = np.arange(len(x_test))
truth = others.virtual(state=every, group=every, instance=0)  # without the noise
if IDX_FOLDER:
    x, x_test = (
        sk.data.load_idx(IDX_FOLDER, split)[0][:n, ..., None].astype("float32") / 255
        for split, n in (("train", N_IMAGES), ("test", 256))
    )
    glyphs, truth = sk.data.GroupedData(x[:, None]), x_test
variance = float(np.mean((truth - x.mean(axis=0)) ** 2))


def error(images):
    """Return the mean squared error against the truth, over the variance."""
    return float(np.mean((np.asarray(images) - truth) ** 2)) / variance


x.shape, x_test.shape

# %%
fig = Figure(figsize=(7.5, 3.2))
for ax, image in zip(fig.subplots(6, 14).flat, x, strict=False):
    ax.imshow(image[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    ax.set_axis_off()
fig

# %% [markdown]
# ## Why convolutions
#
# A dense layer has a separate weight for each pair of pixel and unit. It does not use
# the fact that pixels have neighbours: if you permute the pixels of all images in the
# same way, a dense network learns equally well. A convolution moves one small kernel
# $k$ over the whole image:
#
# $$y_{ij} = b + \sum_{u, v} k_{uv} \, x_{s i + u, \, s j + v} ,$$
#
# Here $s$ is the *stride*. With $s = 2$, only every second row and column is computed,
# so the feature maps have half the width and half the height. A convolution uses two
# properties of images. Neighbouring pixels are related, and an edge looks the same
# wherever it is. If the input shifts by one stride, the output shifts by one pixel.
# This property is called *equivariance*.

# %%
layer = keras.layers.Conv2D(1, 3, strides=2, padding="same")
image = x[:1]
shifted = np.roll(image, (4, 2), axis=(1, 2))
one, two = (keras.ops.convert_to_numpy(layer(each)) for each in (image, shifted))
inner = (slice(None), slice(4, -2), slice(4, -2))
difference = np.abs(np.roll(one, (2, 1), axis=(1, 2))[inner] - two[inner]).max()
display(
    Markdown(
        "The input is shifted by 4 rows and 2 columns, the output by 2 rows and 1 "
        "column. Away from the borders, the largest difference between the two outputs "
        f"is {difference:.1e}."
    )
)

# %% [markdown]
# ## Dense and convolutional
#
# All models of the package accept an encoder: `"dense"`, `"conv1d"`, `"conv2d"`, or
# your own layer. `Conv2DEncoder` is a stack of strided convolutions followed by one
# linear layer that outputs the code. By default, the decoder of the model mirrors the
# encoder. Both networks have a code of 16 numbers and are trained for the same number
# of steps.

# %%
CODE = 16


def trained(encoder, decoder=None):
    """Train an autoencoder of the glyphs for STEPS batches."""
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
rows = {
    name: {
        "weights": model.count_params(),
        "test error": error(model.reconstruct(x_test)),
    }
    for name, model in (("dense", dense), ("convolutional", conv))
}
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
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
# Most weights of the convolutional network are in the two dense layers before and after
# the code. The kernels have few weights, and their number does not depend on the size
# of the image.

# %%
kernels = sum(np.prod(w.shape) for w in conv.trainable_weights if len(w.shape) == 4)
display(
    Markdown(
        f"The four kernels have {int(kernels):,} of {conv.count_params():,} weights."
    )
)

# %% [markdown]
# ## Upsampling in the decoder
#
# The strides of the encoder reduce the image to a feature map of 7 x 7 pixels. The
# decoder has to enlarge it to 28 x 28 pixels. A strided convolution has no unique
# inverse, so `mirror(..., upsampling=...)` offers four methods:
#
# - **transposed**: each pixel of the small map adds a multiple of the kernel to the
#   large map, two pixels apart. This is the transpose of the matrix of a strided
#   convolution.
# - **nearest**: repeat each pixel, then convolve.
# - **bed of nails**: insert zeros between the pixels, then convolve.
# - **sub-pixel**: convolve to four times the number of channels, then rearrange these
#   channels as 2 x 2 pixels.
#
# With kernel size 3 and stride 2, the kernels of a transposed convolution overlap on
# some pixels but not on others. Each output pixel is a sum of 1, 2 or 4 terms, in a
# fixed pattern.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
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
ax.set(xticks=[], yticks=[], title="terms per output pixel")
fig.colorbar(shown)
fig

# %% [markdown]
# This is the *checkerboard* pattern. `sk.evaluation.checkerboard` measures its
# strength: the power of patterns with a period of two pixels, divided by the mean
# power. It is 1 for white noise. We compute it for untrained decoders on random codes,
# and again after training.

# %%
WAYS = ("transposed", "nearest", "bed_of_nails", "subpixel")


def decoder(way):
    """Return the mirrored decoder of a convolutional encoder."""
    return sk.layers.Conv2DEncoder(CODE).mirror((28, 28, 1), upsampling=way)


keras.utils.set_random_seed(0)
codes = keras.random.normal((64, CODE), seed=0)
initial = {way: keras.ops.convert_to_numpy(decoder(way)(codes)) for way in WAYS}
models = {way: trained("conv2d", decoder(way)) for way in WAYS[1:]}
models = {"transposed": conv, **models}
made = {way: np.asarray(models[way].reconstruct(x_test)) for way in WAYS}

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig = Figure(figsize=(7.5, 5.0))
axes = fig.subplots(3, 4)
for column, way in enumerate(WAYS):
    axes[0, column].imshow(initial[way][0, ..., 0], cmap="gray")
    axes[1, column].imshow(made[way][3, ..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    residual = (made[way] - truth)[3, ..., 0]
    shown = axes[2, column].imshow(residual, cmap="RdBu_r", vmin=-0.2, vmax=0.2)
    axes[0, column].set_title(way.replace("_", " "))
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
for ax, name in zip(
    axes[:, 0], ("before training", "after training", "residual"), strict=True
):
    ax.set_ylabel(name)
fig.colorbar(shown, ax=axes[2], shrink=0.8, label="residual")
fig

# %%
rows = {
    way.replace("_", " "): {
        "checkerboard, untrained": sk.evaluation.checkerboard(initial[way]),
        "checkerboard, trained": sk.evaluation.checkerboard(made[way] - truth),
        "test error": error(made[way]),
        "weights": models[way].count_params(),
    }
    for way in WAYS
}
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# Before training, a pattern appears wherever the pixels of a 2 x 2 cell are computed
# differently. Its strength varies from one initialisation to the next. The method that
# repeats pixels has no pattern. Training reduces a strong pattern because the pattern
# increases the loss. The transposed convolution needs few operations and is the
# default. Use repeated pixels if a pattern with the period of the stride could be
# mistaken for a signal. [Upsampling in decoders](../docs/upsampling.md) has more
# extensive measurements with several seeds.
#
# ## Strides, sizes, and spectra
#
# The input can have any size. An input of 27 pixels becomes a map of 14 pixels, then of
# 7. In the decoder, 7 pixels become 14, then 28, and the decoder crops the result to
# 27. The same layers exist for spectra: `Conv1DEncoder` moves its kernels along the
# wavelength axis.

# %%
encoder = sk.layers.Conv1DEncoder(8, filters=(16, 32, 64), kernel_size=5)
spectra = np.zeros((2, 251), "float32")  # a prime number of pixels
code = encoder(spectra)
tuple(code.shape), tuple(encoder.mirror((251,))(code).shape)

# %% [markdown]
# ## Exercises
#
# **1. Shuffled pixels.** Permute the pixels of all images in the same way and train
# both networks again. Which of the two gets worse?
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
# The error of the dense network does not change. The convolutional network gets worse,
# because adjacent pixels are no longer neighbours in the original image.
#
# </details>
#
# **2. Kernel size 4.** Odena, Dumoulin and Olah
# ([2016](https://doi.org/10.23915/distill.00003)) recommend a kernel size that is a
# multiple of the stride. Compute the number of terms in each pixel for kernel size 4,
# and the checkerboard of an untrained decoder.
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
# for each in (images, initial["transposed"]):
#     print(sk.evaluation.checkerboard(each))
# ```
#
# Away from the borders, every pixel is a sum of four terms. However, the four pixels of
# a 2 x 2 cell use different weights of the kernel. These weights are random before
# training, so a pattern remains.
#
# </details>
#
# **3. Lines in spectra.** Train an autoencoder with a `Conv1DEncoder` and a code of 8
# numbers on simulated exposures, and compare it with a dense autoencoder.
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
# The better network depends on the number of steps and of spectra. The lines hardly
# move in these data, so a dense layer can learn the position of each line.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A convolution uses one kernel at all positions. It has few weights, and its output
#   shifts with its input.
# - `encoder="conv2d"` (or `"conv1d"`, or your own layer) sets the encoder. The decoder
#   mirrors it and restores any input size exactly.
# - Decoders can upsample in four ways. They differ in their artefacts, in the number of
#   operations and in the number of weights.
#
# Next: [03 Denoising, inpainting, sparsity](03_denoising_inpainting_sparsity.ipynb).
