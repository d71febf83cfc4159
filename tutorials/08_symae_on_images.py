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
# **Aim.** Take SymAE from spectra to images: separate the shape of a thing from how it
# was looked at, show any shape under any view, compare a dense with a convolutional
# network, and walk through the two codes.
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
N_SHAPES = 160 if QUICK else 1000  # for training
N_TEST = 40 if QUICK else 200
EPOCHS = 5 if QUICK else 20
SIZE = 20  # height and width in pixels
NOT_TRAINED = "*Quick mode: the networks are undertrained, so the errors are large.*"

# %% [markdown]
# ## Shapes and views
#
# Think of cells under a microscope, galaxies in survey images, grains on a conveyor
# belt: the same thing is photographed again and again, never in quite the same place,
# position and light. In the words of SymAE,
#
# - the **state** is the outline of the thing, here given by seven numbers,
# - the **nuisance** of a view is the shift (two numbers), the rotation, the brightness
#   of the shape and of the background, and a gradient of the light (two numbers).
#
# `simulate_shapes` draws such images and knows the truth.

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
# ## Why subtraction will not do
#
# In spectra, swapping the *means* of two groups was a respectable baseline. In images
# it is not: the mean over shifted and rotated views is a blur, and what is left of a
# view without it is not the view's nuisance.

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
# A shift does not *add* to an image: it moves pixels. The map from codes to images must
# be nonlinear, and so must the map back.

# %% [markdown]
# ## Two networks
#
# `SymAE` takes the encoder by name, or any Keras layer from one instance to features.
# The decoder mirrors it. We compare
#
# - a **dense** network, which treats the pixels as a list: each pair of pixel and
#   hidden unit has a weight of its own;
# - a **convolutional** one, whose small filters are the same all over the image. What
#   it learns about an edge in one corner holds in every corner, with far fewer weights;
#   but each weight is used at many places, so a step takes more arithmetic.
#
# The state needs seven numbers, and we leave some room, as the network will not find
# the most economical coordinates.


# %%
def fit(encoder, train=train, conditional=True):
    """Train a SymAE; the model and the seconds that it took."""
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
models, errors, lines = {}, {}, []
for name, encoder in encoders.items():
    models[name], seconds = fit(encoder)
    error = errors[name] = sk.evaluation.redatuming_error(models[name], test)
    lines.append(
        f"| {name} | {models[name].count_params() / 1e6:.2f} million | {seconds:.0f} s "
        f"| {error.reconstruction:.3f} | **{error:.3f}** |"
    )
lines.append(f"| mean swap | | | | {error.mean_swap:.3f} |")
display(
    Markdown(
        "| network | weights | training | reconstruction | redatuming |\n"
        "|---|---|---|---|---|\n" + "\n".join(lines)
    )
)
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# As before, errors are mean squares over the variance of the true images, on shapes
# that the model has never seen. With shapes as small as these and all of them near the
# centre, a dense network is a serious competitor; convolutions gain as images grow.
# Below we go on with the better of the two.

# %%
best = min(errors, key=errors.get)
model = models[best]
display(Markdown(f"The better one is the **{best}** network."))

# %% [markdown]
# ## Every shape under every view
#
# Because the codes are separate, a table of all combinations is cheap: encode each
# group once, then decode every pair of a coherent code and a nuisance code.

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
# Read along a row: the same outline, moved, turned and lit like the image on top. Read
# down a column: different outlines, all in the same place and light. The state column
# shows one of the sixteen views that the coherent code was made of.
#
# The truth is known, so look at some of them closely.

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
# What is missing sits along the outline: fine harmonics of the shape, and small errors
# of place, both of which a squared error over all pixels punishes little.

# %% [markdown]
# ## What do the codes know?
#
# Probes read the true parameters from each code; $R^2$ of 1 is exact and 0 is no better
# than the mean. `leakage` asks what each code should *not* know. For completeness we
# also probe the nuisance code for the nuisance.

# %%
probed = sk.data.simulate_shapes(60 if QUICK else 400, 8, seed=2, size=SIZE)
found = sk.evaluation.leakage(model, probed)

code = ops.convert_to_numpy(model.encode(probed.x).nuisance)
most = 3 * len(probed) // 4
lines = [
    "| parameter | from the coherent code | from the nuisance code |",
    "|---|---|---|",
]
for name, score in found.state_from_coherent.items():
    leak = found.state_from_nuisance[name]
    lines.append(f"| {name} (state) | **{score:.2f}** | {leak:.2f} |")
for name, leak in found.nuisance_from_coherent.items():
    values = probed.nuisance[name]
    score = sk.evaluation.probe(
        (np.concatenate(code[:most]), np.concatenate(code[most:])),
        (np.concatenate(values[:most]), np.concatenate(values[most:])),
    )
    lines.append(f"| {name} (nuisance) | {leak:.2f} | **{score:.2f}** |")
display(Markdown("\n".join(lines)))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# The bold numbers should be high, the others near 0 or below (a probe with few groups
# to learn from fits chance and is then worse than the mean). The harmonics are an
# average over seven numbers, of which the network gets the large ones right first:
# those that move many pixels.

# %% [markdown]
# ## A walk through the codes
#
# A code is worth more if the way between two points is sensible. In the first row the
# coherent code goes from one shape to another while the view stays; in the second the
# nuisance code goes from one view to another while the shape stays.

# %%
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
    axes[0].set_ylabel(f"{name} walks")
display(fig)

# %% [markdown]
# Neither walk is a cross-fade of two pictures, which would show two outlines at once:
# halfway there is *one* shape in *one* place. The codes have become coordinates of
# shapes and of views.

# %% [markdown]
# ## Exercises
#
# **1.** In tutorial 06 more exposures meant less error, as $1/T$. Is that so for
# shapes? Use `error_over_instances` and explain what you find.
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
# The error falls much more slowly than $1/T$. One view identifies its shape and its
# nuisance up to pixel noise, so there is nothing that only a group could tell; more
# views merely average out what the network gets wrong in each.
#
# </details>
#
# **2.** By the same token the original nuisance encoder $h(x)$ should do here, unlike
# in tutorial 07. Check it.
#
# <details><summary>Solution</summary>
#
# ```python
# plain, _ = fit("dense", conditional=False)
# print("original:   ", repr(sk.evaluation.redatuming_error(plain, test)))
# print("conditional:", repr(errors["dense"]))
# ```
#
# The two are of the same size, and both beat the mean swap once they are trained.
#
# </details>
#
# **3.** Real images: scikit-learn brings 1797 handwritten digits of 8 x 8 pixels. Make
# bags of ten images of one digit with `sk.data.bag_by_label`, train, and draw the grid
# of four digits under six hands. What is the nuisance here?
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
# The nuisance is all that distinguishes one hand's digit from another's: slant, width,
# weight of the pen. Since `n_bags` asks for more bags than the images fill, images are
# drawn again; the grid shows digits that the network has seen, so judge on held-out
# images before you believe it.
#
# </details>

# %% [markdown]
# ## Summary
#
# - Images go through the same model: groups of shape (groups, instances, height, width,
#   channels), an image encoder, the decoder mirrored.
# - Where nuisances move pixels, means are useless and a nonlinear code is needed.
# - `plot_redatuming_grid` is the picture of disentanglement: rows keep the state,
#   columns keep the nuisance.
# - Judge by numbers as well: redatuming error beside mean swap, and probes.
#
# Next: tutorial 09 turns to spectra of your own, from a file to virtual spectra.
