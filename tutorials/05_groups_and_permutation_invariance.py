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
# # 05 Groups and permutation invariance
#
# **Aim.** Understand what a *group* of measurements is, why a network that reads one
# must not care about the order of its members, and how pooling achieves that. At the
# end you put two layers of the package, `PerInstance` and `DeepSetsPooling`, into a
# Keras model of your own.
#
# **Prerequisites.** Tutorial 01 (autoencoders); means and variances.
#
# **Time.** About 2 minutes on two CPU cores
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
import tempfile

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
N_STARS = 300 if QUICK else 2000  # to train on
N_TEST = 200 if QUICK else 500
EPOCHS = 8 if QUICK else 40

# %% [markdown]
# ## A group is a set
#
# You observe the same star on sixteen nights. The star is the same; the air, the
# instrument and the noise are not. In the words of this package the star is the
# **state**, one night's spectrum an **instance**, and what belongs to that night alone
# its **nuisance**. The instances of one state form a **group**:
#
# $$X = \{x[1], x[2], \dots, x[T]\}.$$
#
# Groups of equal size fit in one array with the axes (groups, instances, pixels).

# %%
groups = sk.data.simulate_exposures(n_states=2, n_instances=5, seed=3)

fig = Figure(figsize=(7.2, 3.0), layout="constrained")
for i, ax in enumerate(fig.subplots(1, 2, sharey=True)):
    ax.plot(groups.axis, groups.x[i].T, linewidth=0.7)
    ax.set(xlabel=groups.axis_label, title=f"star {i + 1}, five exposures")
    ax.spines[["top", "right"]].set_visible(False)
fig.axes[0].set_ylabel("flux (relative)")
display(Markdown(f"`groups.x.shape` is `{groups.x.shape}`."))
display(fig)

# %% [markdown]
# The lines of the star sit in all five spectra of a panel; slopes, shifts and the
# absorption of the air differ from one to the next. No exposure is the "first" in any
# sense that matters. What we conclude about the star must therefore not change when the
# nights are shuffled. For every permutation $\pi$ of the instances we want
#
# $$C\big(x[\pi(1)], \dots, x[\pi(T)]\big) = C\big(x[1], \dots, x[T]\big).$$
#
# A network that sees enough examples might *learn* this approximately. It is better to
# build it in: then it holds exactly, from the first step, for orders and sizes that
# were never seen, and no weight is spent on learning it.

# %% [markdown]
# ## Encode each, then pool
#
# [Zaheer et al. (2017)](https://arxiv.org/abs/1703.06114) showed that a continuous
# invariant function of a set can be written as
#
# $$C(X) = g\Big(\operatorname{pool}_t\, f(x[t])\Big)$$
#
# with a sum for the pool and networks $f$ and $g$ that are rich enough. The recipe is
# short: encode every instance with the *same* $f$, forget the order by pooling, go on
# with $g$.
#
# `PerInstance` is the first half. It folds (groups, instances) into one long batch,
# calls $f$ once and unfolds the result. If the instances are shuffled, its outputs are
# shuffled in the same way; such a map is called *equivariant*. `DeepSetsPooling` and
# `AttentionPooling` are the second half.

# %%
f = sk.layers.PerInstance(sk.layers.DenseEncoder(output_dim=16, units=(32,)))
x = ops.convert_to_tensor(groups.x)
features = f(x)
display(Markdown(f"instances `{tuple(x.shape)}` → features `{tuple(features.shape)}`"))

# %% [markdown]
# Now the test: shuffle the nights, and see what each way of summarising a group makes
# of it. For contrast there are two networks that people often reach for first: a dense
# layer on the concatenated spectra, and a recurrent network. No weights are trained;
# the invariance is a property of the architecture.

# %%
order = np.random.default_rng(0).permutation(groups.n_instances)
summaries = {
    "mean": sk.layers.DeepSetsPooling("mean"),
    "sum": sk.layers.DeepSetsPooling("sum"),
    "max": sk.layers.DeepSetsPooling("max"),
    "attention": sk.layers.AttentionPooling(num_heads=2),
    "concatenate, then dense": keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(16)]
    ),
    "recurrent (GRU)": keras.layers.GRU(16),
}


def change_when_shuffled(summary):
    """Root mean square change of a summary, relative to its size."""
    before = ops.convert_to_numpy(summary(features))
    after = ops.convert_to_numpy(summary(f(groups.x[:, order])))
    return np.sqrt(np.mean((after - before) ** 2) / np.mean(before**2))


changes = {name: change_when_shuffled(layer) for name, layer in summaries.items()}
rows = "\n".join(f"| {name} | {change:.1e} |" for name, change in changes.items())
display(Markdown(f"| summary | relative change when shuffled |\n|---|---|\n{rows}"))

# %% [markdown]
# The first four change by rounding errors at most: in float32 about seven digits are
# kept, and a sum in another order rounds differently. The last two give another answer
# for the same star.

# %% [markdown]
# ## Mean, sum, maximum
#
# All three are invariant, but they do not say the same thing about a set. Feed them
# groups of random numbers, every instance drawn from the standard normal distribution,
# so that nothing but the *size* of the group changes.

# %%
sizes = np.array([1, 2, 4, 8, 16, 32, 64])
numbers = np.random.default_rng(1).normal(size=(500, 64, 1)).astype("float32")

fig = Figure(figsize=(7.2, 2.8), layout="constrained")
for ax, mode in zip(fig.subplots(1, 3), ("mean", "sum", "max"), strict=True):
    pool = sk.layers.DeepSetsPooling(mode)
    pooled = np.stack([ops.convert_to_numpy(pool(numbers[:, :n])) for n in sizes])
    centre, spread = pooled.mean(axis=(1, 2)), pooled.std(axis=(1, 2))
    ax.plot(sizes, centre, "o-", color="C0", markersize=4)
    ax.fill_between(sizes, centre - spread, centre + spread, color="C0", alpha=0.25)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, sizes)
    ax.set(title=mode, xlabel="instances $T$")
    ax.spines[["top", "right"]].set_visible(False)
fig.axes[0].set_ylabel("pooled value (mean ± s.d.)")
display(fig)

# %% [markdown]
# - The **mean** has the same expectation for every $T$, and its scatter falls as
#   $1/\sqrt{T}$. It estimates a property of the *distribution* that the instances were
#   drawn from. That is what a state is, so it is the default of `SymAE`. It cannot tell
#   how many instances there were.
# - The **sum** counts. Its scatter grows as $\sqrt{T}$, and whatever its expectation
#   is, that grows as $T$: a network trained on groups of 8 has never met the values
#   that it gets from groups of 32.
# - The **maximum** keeps the most extreme instance, feature by feature. It is right if
#   one instance that shows something proves it, and it drifts upwards with $T$.
# - **Attention** is a mean with learned weights, which depend on the instances. It can
#   leave out a spoiled instance, at the price of more weights.

# %% [markdown]
# ## Ragged groups and masks
#
# Real groups are not of one size: one star has three good nights, another fourteen. The
# usual source is a flat table, one row an instance and a column that names the star.
# `group_by` gathers the rows. Groups are padded to the size of the largest, and a
# **mask** tells instances (True) from padding (False).

# %%
rng = np.random.default_rng(2)
names = np.array(["Vega", "Deneb", "Altair", "Deneb", "Vega", "Deneb"])
ragged = sk.data.group_by(rng.normal(size=(6, 4)), names)
present = ["".join("■" if each else "·" for each in row) for row in ragged.mask]
table = "\n".join(
    f"| {name} | {row} |" for name, row in zip(ragged.ids, present, strict=True)
)
display(Markdown(f"| star | instances present |\n|---|---|\n{table}"))

# %% [markdown]
# Padding must not count, whatever stands there. For the mean this means
#
# $$\operatorname{pool}_t
# = \frac{\sum_t m_t\, f(x[t])}{\max\big(\sum_t m_t,\, 1\big)},$$
#
# where $m_t$ is 1 or 0. The maximum in the denominator keeps a group without any
# instance finite. In the maximum pool a masked feature is replaced by a very low
# number; in the attention pool its weight is zero. The test is to put rubbish behind
# the mask.

# %%
mask = ragged.mask
clean = ops.convert_to_tensor(ragged.x, dtype="float32")
spoiled = ops.where(mask[:, :, None], clean, 1e6)

lines = []
for name in ("mean", "sum", "max", "attention"):
    pool = summaries[name] if name != "attention" else sk.layers.AttentionPooling()
    with_mask = ops.max(ops.abs(pool(spoiled, mask=mask) - pool(clean, mask=mask)))
    without = ops.max(ops.abs(pool(spoiled) - pool(clean)))
    lines.append(f"| {name} | {float(with_mask):.1e} | {float(without):.1e} |")
display(
    Markdown(
        "Largest change of the pooled features when padding becomes $10^6$:\n\n"
        "| pool | with the mask | without it |\n|---|---|---|\n" + "\n".join(lines)
    )
)

# %% [markdown]
# Every model of groups in this package takes the same mask: in training as
# `{"instances": x, "mask": mask}`, elsewhere as an argument, `model.encode(x, mask)`.
# `sk.data.batches(groups)` makes such inputs by itself, and draws a few instances of
# each group afresh in every epoch.

# %% [markdown]
# ## The two layers in a model of your own
#
# You need not use a model of this package to use its layers. Here is a plain Keras
# model that estimates the temperature of a star from however many exposures there are.
#
# The task is instructive because one exposure *cannot* solve it. In these simulated
# spectra the temperature $\tau$ (in units that run from $-1$ to 1) tilts the continuum
# by a slope $0.4\,\tau$, and the instrument tilts it by a slope $s$ of its own, drawn
# anew for each exposure, with zero mean and standard deviation 0.15. Only their sum is
# seen. Over $T$ exposures the instrument averages out, the star does not.
#
# First the data: each star of the training set keeps a random number of its eight
# exposures.

# %%
full = sk.data.simulate_exposures(n_states=N_STARS, n_instances=8, seed=0)
keep = rng.integers(1, 9, size=N_STARS)
kept = np.arange(8) < keep[:, None]
star_of_row = np.nonzero(kept)[0]
train = sk.data.group_by(full.x[kept], star_of_row)
temperature = full.state["temperature"]

test = sk.data.simulate_exposures(n_states=N_TEST, n_instances=32, seed=1)
display(
    Markdown(
        f"{len(star_of_row)} rows became `x {train.x.shape}` with "
        f"{int((~train.mask).sum())} padded places."
    )
)

# %% [markdown]
# Then the model. Note what is *not* in it: the number of instances. The axis is `None`,
# so that any number will do, in training and after.


# %%
def temperature_model(pool):
    """A Keras model from a ragged group to one number."""
    keras.utils.set_random_seed(0)
    scale = keras.layers.Normalization()
    scale.adapt(train.x[train.mask])
    one_instance = keras.Sequential(
        [scale, keras.layers.Dense(64, "gelu"), keras.layers.Dense(32, "gelu")]
    )

    instances = keras.Input((None, full.x.shape[-1]), name="instances")
    mask = keras.Input((None,), dtype="bool", name="mask")
    hidden = sk.layers.PerInstance(one_instance)(instances)
    pooled = pool(hidden, mask=mask)
    hidden = keras.layers.Dense(32, "gelu")(pooled)
    estimate = keras.layers.Dense(1)(hidden)
    model = keras.Model({"instances": instances, "mask": mask}, estimate)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    return model


# %% [markdown]
# We train it with each pool, and then let it judge new stars from 1, 2, 4, … 32
# exposures: more than any training group had.

# %%
pools = {
    "mean": sk.layers.DeepSetsPooling("mean"),
    "sum": sk.layers.DeepSetsPooling("sum"),
    "max": sk.layers.DeepSetsPooling("max"),
    "attention": sk.layers.AttentionPooling(num_heads=2),
}
n_exposures = np.array([1, 2, 4, 8, 16, 32])
models, errors = {}, {}
for name, pool in pools.items():
    model = models[name] = temperature_model(pool)
    inputs = {"instances": train.x, "mask": train.mask}
    model.fit(inputs, temperature, batch_size=64, epochs=EPOCHS, verbose=0)
    errors[name] = []
    for n in n_exposures:
        some = {"instances": test.x[:, :n], "mask": np.ones((N_TEST, n), bool)}
        estimate = model.predict(some, verbose=0)[:, 0]
        difference = estimate - test.state["temperature"]
        errors[name].append(np.sqrt(np.mean(difference**2)))

# %% [markdown]
# How good could an estimate be? Somebody who reads the slopes without any error sees
# $z = 0.4\,\tau + \bar s$ with $\bar s \sim N(0, 0.15^2/T)$. The best estimate in mean
# square is the mean of $\tau$ given $z$, a one-dimensional integral that we do on a
# grid.


# %%
def best_error(n, draws=20_000):
    """Root mean square error of the posterior mean of the temperature."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, draws)
    width = 0.15 / np.sqrt(n)
    z = 0.4 * truth + rng.normal(0, width, draws)
    grid = np.linspace(-1, 1, 401)
    weight = np.exp(-0.5 * ((z[:, None] - 0.4 * grid) / width) ** 2)
    return np.sqrt(np.mean((weight @ grid / weight.sum(axis=1) - truth) ** 2))


limit = [best_error(n) for n in n_exposures]

fig = Figure(figsize=(6.4, 3.8), layout="constrained")
ax = fig.subplots()
for (name, values), marker in zip(errors.items(), "os^D", strict=True):
    ax.plot(n_exposures, values, marker=marker, label=name)
ax.plot(n_exposures, limit, "k--", label="best possible")
ax.axvline(8, color="0.6", linewidth=0.8)
ax.annotate("largest group\nin training", (8, ax.get_ylim()[1]), (-6, -4),
            textcoords="offset points", color="0.35", ha="right", va="top")  # fmt: skip
ax.set_xscale("log", base=2)
ax.set_yscale("log")
ax.set_xticks(n_exposures, n_exposures)
ax.set_yticks([0.1, 0.2, 0.5, 1.0], [0.1, 0.2, 0.5, 1.0])
ax.yaxis.set_minor_formatter("")
ax.set(xlabel="exposures of a star", ylabel="r.m.s. error of the temperature")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="lower left")
display(fig)

# %%
table = "\n".join(
    f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |"
    for name, values in [*errors.items(), ("best possible", limit)]
)
head = "| pool | " + " | ".join(f"T = {n}" for n in n_exposures) + " |"
display(Markdown(f"{head}\n|---|{'---|' * len(n_exposures)}\n{table}"))
if QUICK:
    display(Markdown("*Quick mode: the networks are trained far too little.*"))

# %% [markdown]
# The dashed line is the law of this package in miniature: what one instance leaves
# open, many of them settle, with an error that falls as $1/\sqrt{T}$ (its square as
# $1/T$) once the data outweigh what was known before. The networks follow it as far as
# training on a limited number of stars lets them. To the right of the grey line they
# are asked for sizes that they have never met. There the mean has an advantage by
# construction: more instances only make the same pooled value less noisy, while those
# of sum and maximum leave the range that $g$ was trained on.

# %% [markdown]
# Finally, a model with our layers in it is saved and loaded like any other Keras model;
# `import symae_keras` is all that Keras needs to know them.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "temperature.keras")
    models["mean"].save(path)
    loaded = keras.saving.load_model(path)
same = {"instances": test.x[:, :3], "mask": np.ones((N_TEST, 3), bool)}
difference = np.abs(
    loaded.predict(same, verbose=0) - models["mean"].predict(same, verbose=0)
).max()
display(Markdown(f"Largest difference after loading: {difference:.1e}."))

# %% [markdown]
# ## Exercises
#
# **1.** Mean and maximum are not the only invariant pools. Write a Keras layer that
# returns the mean *and* the standard deviation over the present instances, and show
# that the order does not matter and that padding does not count.
#
# <details><summary>Solution</summary>
#
# ```python
# class MomentPooling(keras.Layer):
#     def call(self, inputs, mask=None):
#         if mask is None:
#             mask = ops.ones(ops.shape(inputs)[:2], "bool")
#         mask = ops.cast(mask, "bool")[:, :, None]
#         count = ops.maximum(ops.sum(ops.cast(mask, inputs.dtype), axis=1), 1.0)
#         mean = ops.sum(ops.where(mask, inputs, 0.0), axis=1) / count
#         away = ops.where(mask, inputs - mean[:, None], 0.0)
#         variance = ops.sum(away**2, axis=1) / count
#         return ops.concatenate([mean, ops.sqrt(variance + 1e-12)], axis=-1)
#
#     def compute_mask(self, inputs, previous_mask):
#         return None  # the instance axis is gone
#
#
# pool = MomentPooling()
# print("shuffled:", change_when_shuffled(pool))
# print("padding:", float(ops.max(ops.abs(
#     pool(spoiled, mask=mask) - pool(clean, mask=mask)))))
# ```
#
# Both are at the level of rounding. `keras.ops` alone makes the layer run on
# TensorFlow, JAX and PyTorch.
#
# </details>
#
# **2.** A cosmic ray hits one exposure of each test star: set 20 neighbouring pixels of
# its first exposure to 3. How much does the error of each trained model grow, at 8
# exposures? And if the mask says that this exposure is missing?
#
# <details><summary>Solution</summary>
#
# ```python
# hit = test.x[:, :8].copy()
# hit[:, 0, 100:120] = 3.0
# everything = np.ones((N_TEST, 8), bool)
# without_first = everything.copy()
# without_first[:, 0] = False
# for name, model in models.items():
#     row = []
#     for x_, mask_ in ((test.x[:, :8], everything), (hit, everything),
#                       (hit, without_first)):
#         estimate = model.predict({"instances": x_, "mask": mask_}, verbose=0)[:, 0]
#         row.append(np.sqrt(np.mean((estimate - test.state["temperature"]) ** 2)))
#     print(f"{name:10s} clean {row[0]:.3f}   hit {row[1]:.3f}   masked {row[2]:.3f}")
# ```
#
# One spoiled exposure of eight harms every pool; the mask gives back the error of seven
# good exposures, whatever the pool. Masks are cheap: use them.
#
# </details>
#
# **3.** A group can be summarised in two steps: pool its first half and its second
# half, then combine. For which pools can the summary of the whole be computed exactly
# from the summaries of the halves, and what else must you keep? Check it for the mean.
#
# <details><summary>Solution</summary>
#
# ```python
# a, b = features[:, :2], features[:, 2:]
# mean = sk.layers.DeepSetsPooling("mean")
# joined = (2 * mean(a) + 3 * mean(b)) / 5
# print(float(ops.max(ops.abs(joined - mean(features)))))
# ```
#
# Sum and maximum combine as they are. The mean needs the number of instances of each
# part as well: keep sum and count. Attention needs the sum of its weights before they
# are normalised. So all four can be updated when a new exposure arrives, without
# reading the old ones again.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A group is a set of instances of one state, in an array
#   (groups, instances, *instance_shape) with a mask for groups of unequal size.
# - Encode each instance with the same network, pool, go on: the result cannot depend on
#   the order, for any weights and any number of instances.
# - The mean estimates a property of the state and carries over to other group sizes.
#   The sum counts, the maximum looks for extremes, attention weighs.
# - Padding must be masked, not just set to zero.
# - `PerInstance` and `DeepSetsPooling` work in any Keras model.
#
# Next: tutorial 06 splits a group into what its instances share and what is particular
# to each, with the symmetric autoencoder.
