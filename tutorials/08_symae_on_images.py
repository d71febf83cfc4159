# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 SymAE on images
#
# **Aim.** Apply SymAE to images: separate the shape of an object from the conditions of
# the image, show any shape in any view, compare a dense with a convolutional network,
# and interpolate in both codes.
#
# **Prerequisites.** Tutorial 06 (SymAE, redatuming error, leakage).
#
# **Time.** About 3 minutes on two CPU cores
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
    # %pip install "{where}[data]"
    importlib.invalidate_caches()

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Imports and settings
import os
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from keras import ops
from matplotlib.figure import Figure

import symae_keras as sk

# %matplotlib inline
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_SHAPES = 32 if QUICK else 1000  # for training
N_TEST = 40 if QUICK else 200
EPOCHS = 1 if QUICK else 20
SIZE = 20  # height and width in pixels
NOT_TRAINED = "*Quick mode: the networks are undertrained, so the errors are large.*"

# %% [markdown]
# ## The goal
#
# A pretrained model of the package made the next figure. Along a row, the shape stays
# the same. Down a column, the position, the rotation and the light stay the same. The
# model was not trained on these shapes.

# %%
pretrained = sk.zoo.load("symae_shapes")
shapes = sk.data.simulate_shapes(11, 16, seed=1)
coherent, nuisance = map(ops.convert_to_numpy, pretrained.encode(shapes.x))
grid = pretrained.decode(coherent[:5], np.stack([nuisance[5:, 0]] * 5))
display(
    sk.plotting.plot_redatuming_grid(
        states=shapes.x[:5, 0],
        nuisances=shapes.x[5:, 0],
        virtual=ops.convert_to_numpy(grid),
        value_label="intensity",
    )
)

# %% [markdown]
# ## Shapes and views
#
# Examples are cells under a microscope, galaxies in survey images, and grains on a
# conveyor belt: the same object is imaged several times, at different positions,
# orientations and brightness. In the terms of SymAE:
#
# - The **state** is the outline of the object, here given by seven numbers.
# - The **nuisance** of a view is the shift (two numbers), the rotation, the brightness
#   of the shape and of the background, and a gradient of the light (two numbers).
#
# `simulate_shapes` simulates such images and provides the ground truth.

# %%
train = sk.data.simulate_shapes(N_SHAPES, 16, seed=0, size=SIZE)
test = sk.data.simulate_shapes(N_TEST, 16, seed=1, size=SIZE)

fig = Figure(figsize=(7.2, 3.4), layout="constrained")
for i, row in enumerate(fig.subplots(3, 8)):
    for t, ax in enumerate(row):
        ax.imshow(test.x[i, t, ..., 0], cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"shape {i + 1}")
fig.suptitle("eight views of each of three shapes", fontsize=10)
display(fig)
display(
    Markdown(
        f"`train.x.shape` is `{train.x.shape}`: "
        "groups, instances, height, width, channels."
    )
)

# %% [markdown]
# ## Failure of the mean swap
#
# For spectra, exchanging the *means* of two groups was a reasonable baseline. For
# images, it is not: the mean over shifted and rotated views is blurred, and the
# difference between a view and this mean is not the nuisance of the view.

# %%
swap = sk.classical.MeanSwap().fit(train)
swapped = swap.redatum(coherent_from=test.x[:3], nuisance_from=test.x[3:6])
truth = test.virtual(state=[0, 1, 2], group=[3, 4, 5], instance=0)
display(
    sk.plotting.plot_redatuming(
        coherent_source=test.x[:3, 0],
        nuisance_source=test.x[3:6, 0],
        virtual=ops.convert_to_numpy(swapped)[:, 0],
        truth=truth,
        value_label="intensity",
    )
)

# %% [markdown]
# A shift does not *add* something to an image. It moves pixels. Therefore, the map from
# codes to images must be nonlinear, and so must the encoder.

# %% [markdown]
# ## Two networks
#
# `SymAE` accepts the name of an encoder, or any Keras layer that maps one instance to
# features. The decoder mirrors it. We compare two networks:
#
# - A **dense** network treats the pixels as a list. Each pair of pixel and hidden unit
#   has a separate weight.
# - A **convolutional** network applies the same small filters everywhere in the image.
#   A filter that detects an edge in one corner detects it in every corner. It has far
#   fewer weights, but each weight is used at many positions, so a step needs more
#   arithmetic.
#
# The state has seven numbers. The coherent code is larger, because the network does not
# find the most compact coordinates.


# %%
def fit(encoder, train=train, conditional=True):
    """Train a SymAE and return it with the training time in seconds."""
    keras.utils.set_random_seed(0)
    model = sk.models.SymAE(
        instance_shape=train.instance_shape,
        coherent_dim=16,
        nuisance_dim=8,
        encoder=encoder,
        conditional_nuisance=conditional,
        normalization=sk.training.normalization(train),
        seed=0,
    )
    start = time.perf_counter()
    sk.training.train(model, train, sk.training.Training(epochs=EPOCHS), seed=0)
    return model, time.perf_counter() - start


encoders = {
    "dense": "dense",  # two hidden layers
    "convolutional": sk.layers.Conv2DEncoder(output_dim=128, filters=(16, 32)),
}
models, errors, rows = {}, {}, {}
for name, encoder in encoders.items():
    models[name], seconds = fit(encoder)
    error = errors[name] = sk.evaluation.redatuming_error(models[name], test)
    rows[name] = {
        "million weights": models[name].count_params() / 1e6,
        "training (s)": seconds,
        "reconstruction": error.reconstruction,
        "redatuming": float(error),
    }
rows["mean swap"] = {"redatuming": error.mean_swap}
table = pd.DataFrame.from_dict(rows, orient="index")
display(table.style.format(precision=3, na_rep=""))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# As before, errors are mean squared errors divided by the variance of the true images,
# on shapes that were not used for training. For small images with centred shapes, a
# dense network is a strong baseline. Convolutions become better as images grow. Below
# we use the better of the two.

# %%
best = min(errors, key=errors.get)
model = models[best]
display(Markdown(f"The better one is the **{best}** network."))

# %% [markdown]
# ## All combinations of shapes and views
#
# The codes are separate, so all combinations are cheap to compute: encode each group
# once, then decode every pair of a coherent code and a nuisance code.

# %%
codes = model.encode(test.x)
coherent = ops.convert_to_numpy(codes.coherent)
nuisance = ops.convert_to_numpy(codes.nuisance)

shapes, views = np.arange(4), np.arange(4, 10)
every_view = np.broadcast_to(nuisance[views, 0], (4, 6, nuisance.shape[-1]))
virtual = model.decode(coherent[shapes], every_view)
display(
    sk.plotting.plot_redatuming_grid(
        states=test.x[shapes, 0],
        nuisances=test.x[views, 0],
        virtual=ops.convert_to_numpy(virtual),
        value_label="intensity",
    )
)

# %% [markdown]
# Along a row, the outline stays the same, with the position, rotation and light of the
# image at the top. Down a column, the outlines differ, and the position and light stay
# the same. The first column shows one of the sixteen views from which the coherent code
# was computed.
#
# The truth is known, so we can compare some of them with it.

# %%
virtual = model.redatum(coherent_from=test.x[:3], nuisance_from=test.x[3:6])
display(
    sk.plotting.plot_redatuming(
        coherent_source=test.x[:3, 0],
        nuisance_source=test.x[3:6, 0],
        virtual=ops.convert_to_numpy(virtual)[:, 0],
        truth=truth,
        value_label="intensity",
    )
)

# %% [markdown]
# The errors are along the outline: the high harmonics of the shape and small errors of
# position. Both contribute little to a squared error over all pixels.

# %% [markdown]
# ## Probes of the codes
#
# Probes predict the true parameters from each code. An $R^2$ of 1 is exact, and 0 is no
# better than the mean. `leakage` evaluates what each code should *not* contain. We also
# probe the nuisance code for the nuisance.

# %%
probed = sk.data.simulate_shapes(60 if QUICK else 400, 8, seed=2, size=SIZE)
found = sk.evaluation.leakage(model, probed)

code = ops.convert_to_numpy(model.encode(probed.x).nuisance)
most = 3 * len(probed) // 4
rows = []
for name, score in found.state_from_coherent.items():
    rows.append((f"{name} (state)", score, found.state_from_nuisance[name]))
for name, leak in found.nuisance_from_coherent.items():
    values = probed.nuisance[name]
    score = sk.evaluation.probe(
        (np.concatenate(code[:most]), np.concatenate(code[most:])),
        (np.concatenate(values[:most]), np.concatenate(values[most:])),
    )
    rows.append((f"{name} (nuisance)", leak, score))
heads = ["parameter", "R² from the coherent code", "R² from the nuisance code"]
display(pd.DataFrame(rows, columns=heads).round(2))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# The coherent code should have high scores for the state, and the nuisance code should
# have high scores for the nuisance. The other scores should be near 0 or below. (A
# probe that is trained on few groups overfits and can be worse than the mean.) The
# score of the harmonics is an average over seven numbers. The network learns the
# largest ones first, because they move many pixels.

# %% [markdown]
# ## Interpolation in the codes
#
# In a useful code, points between two codes also decode to plausible images. In the
# first row, the coherent code moves from one shape to another while the view stays the
# same. In the second row, the nuisance code moves from one view to another while the
# shape stays the same.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
steps = np.linspace(0, 1, 7)[:, None]
a, b = 0, 1
shape_walk = (1 - steps) * coherent[a] + steps * coherent[b]
view_walk = (1 - steps) * nuisance[a, 0] + steps * nuisance[b, 5]
rows = {
    "shape": model.decode(shape_walk, np.repeat(nuisance[None, a, :1], 7, axis=0)),
    "view": model.decode(np.repeat(coherent[a][None], 7, axis=0), view_walk[:, None]),
}
fig = Figure(figsize=(7.2, 2.5), layout="constrained")
for axes, (name, images) in zip(fig.subplots(2, 7), rows.items(), strict=True):
    for ax, image, step in zip(
        axes, ops.convert_to_numpy(images), steps[:, 0], strict=True
    ):
        ax.imshow(image[0, ..., 0], cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        if name == "shape":
            ax.set_title(f"{step:.2f}", fontsize=9)
    axes[0].set_ylabel(f"{name} changes")
display(fig)

# %% [markdown]
# Neither row is a cross-fade of two images, which would show two outlines at once.
# Halfway, there is *one* shape at *one* position. The codes have become coordinates of
# shapes and views.

# %% [markdown]
# ## Exercises
#
# **1.** In tutorial 06, the error decreased as $1/T$ with the number of exposures. Is
# this also true for shapes? Use `error_over_instances` and explain the result.
#
# <details><summary>Solution</summary>
#
# ```python
# over = sk.evaluation.error_over_instances(model, test)
# for n, e in zip(over.n_instances, over.errors, strict=True):
#     print(f"T = {n:2d}   error {e:.3f}")
# print("slope", over.slope)
# ```
#
# The error decreases much more slowly than $1/T$. One view determines its shape and its
# nuisance up to pixel noise, so the group adds no information that one view lacks. More
# views only average out the errors of the network.
#
# </details>
#
# **2.** For the same reason, the original nuisance encoder $h(x)$ should work here, in
# contrast to tutorial 07. Check it.
#
# <details><summary>Solution</summary>
#
# ```python
# plain, _ = fit("dense", conditional=False)
# print("original:   ", repr(sk.evaluation.redatuming_error(plain, test)))
# print("conditional:", repr(errors["dense"]))
# ```
#
# The two errors are similar. After the full training, both are lower than that of the
# mean swap.
#
# </details>
#
# **3.** Real images: scikit-learn contains 1797 handwritten digits of 8 x 8 pixels.
# Create bags of ten images of one digit with `sk.data.bag_by_label`, train, and draw
# the grid of four digits in six handwritings. What is the nuisance here?
#
# <details><summary>Solution</summary>
#
# ```python
# from sklearn.datasets import load_digits
#
# digits = load_digits()
# bags = sk.data.bag_by_label(
#     digits.images.astype("float32") / 16, digits.target, bag_size=10, n_bags=600
# )
# reader, _ = fit("dense", train=bags)
# label = bags.state["label"]
# chosen = [int(np.flatnonzero(label == digit)[0]) for digit in range(10)]
# c, n = (ops.convert_to_numpy(each) for each in reader.encode(bags.x[chosen]))
# grid = reader.decode(c[:4], np.broadcast_to(n[4:, 0], (4, 6, n.shape[-1])))
# sk.plotting.plot_redatuming_grid(
#     bags.x[chosen][:4, 0], bags.x[chosen][4:, 0], ops.convert_to_numpy(grid),
#     value_label="intensity",
# )
# ```
#
# The nuisance is everything that distinguishes two images of the same digit: slant,
# width, and thickness of the strokes. `n_bags` is larger than the number of disjoint
# bags, so images are used several times. The grid shows digits from the training set.
# Evaluate held-out images before you trust it.
#
# </details>

# %% [markdown]
# ## Summary
#
# - The same model works for images: groups of shape (groups, instances, height, width,
#   channels), an image encoder, and a mirrored decoder.
# - If nuisances move pixels, means are useless and a nonlinear code is needed.
# - `plot_redatuming_grid` shows whether the codes are separated: rows keep the state,
#   columns keep the nuisance.
# - Also evaluate the redatuming error, the mean swap, and probes.
#
# Next: [tutorial 09](09_your_own_spectra.ipynb) uses your own spectra, from a file to
# virtual spectra.
