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
# **Aim.** Understand what a *group* of measurements is, why a network that encodes a
# group must not depend on the order of its members, and how pooling achieves this. At
# the end, you use two layers of the package, `PerInstance` and `DeepSetsPooling`, in
# your own Keras model.
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
N_STARS = 100 if QUICK else 2000  # for training
N_TEST = 60 if QUICK else 500
EPOCHS = 2 if QUICK else 40

# %% [markdown]
# ## A group is a set
#
# You observe the same star on sixteen nights. The star stays the same, but the air, the
# instrument and the noise change. In the terms of this package, the star is the
# **state**, the spectrum of one night is an **instance**, and everything that is
# specific to that night is its **nuisance**. All instances of one state form a
# **group**:
#
# $$X = \{x[1], x[2], \dots, x[T]\}.$$
#
# Groups of equal size are stored in one array with the axes (groups, instances,
# pixels).

# %%
groups = sk.data.simulate_exposures(n_states=2, n_instances=5, seed=3)

fig = Figure(figsize=(7.2, 4.2), layout="constrained")
for i, ax in enumerate(fig.subplots(1, 2, sharey=True)):
    for t in range(5):
        ax.plot(groups.axis, groups.x[i, t] + 0.8 * t, linewidth=1.0)
    ax.set(xlabel=groups.axis_label, title=f"star {i + 1}, five exposures")
    ax.spines[["top", "right"]].set_visible(False)
fig.axes[0].set_ylabel("flux (relative), shifted by 0.8 per exposure")
display(Markdown(f"`groups.x.shape` is `{groups.x.shape}`."))
display(fig)

# %% [markdown]
# All five spectra of a panel contain the lines of the star. The slopes, the shifts and
# the absorption by the air differ from one spectrum to the next. The order of the
# exposures has no meaning. Therefore, what we infer about the star must not change if
# the exposures are permuted. For every permutation $\pi$ of the instances we require
#
# $$C\big(x[\pi(1)], \dots, x[\pi(T)]\big) = C\big(x[1], \dots, x[T]\big).$$
#
# With enough examples, a network could *learn* this property approximately. It is
# better to build it into the architecture. It then holds exactly, from the first step,
# for any order and any number of instances, and no weights are needed to learn it.

# %% [markdown]
# ## Encoding and pooling
#
# [Zaheer et al. (2017)](https://arxiv.org/abs/1703.06114) showed that a continuous
# invariant function of a set can be written as
#
# $$C(X) = g\Big(\operatorname{pool}_t\, f(x[t])\Big)$$
#
# with a sum as the pool and with sufficiently expressive networks $f$ and $g$. The
# recipe has three steps: encode every instance with the *same* network $f$, pool the
# results, and apply $g$.
#
# `PerInstance` does the first step. It reshapes (groups, instances) into one batch,
# calls $f$ once, and restores the shape. If the instances are permuted, its outputs are
# permuted in the same way. Such a map is called *equivariant*. `DeepSetsPooling` and
# `AttentionPooling` do the second step.

# %%
f = sk.layers.PerInstance(sk.layers.DenseEncoder(output_dim=16, units=(32,)))
x = ops.convert_to_tensor(groups.x)
features = f(x)
display(Markdown(f"instances `{tuple(x.shape)}` → features `{tuple(features.shape)}`"))

# %% [markdown]
# Now we permute the exposures and compare how much each summary of a group changes. For
# comparison, there are two networks that are often tried first: a dense layer on the
# concatenated spectra, and a recurrent network. No weights are trained, because the
# invariance is a property of the architecture.

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
    """Return the root mean square change of a summary, relative to its size."""
    before = ops.convert_to_numpy(summary(features))
    after = ops.convert_to_numpy(summary(f(groups.x[:, order])))
    return np.sqrt(np.mean((after - before) ** 2) / np.mean(before**2))


changes = {name: change_when_shuffled(layer) for name, layer in summaries.items()}
table = pd.Series(changes, name="relative change when shuffled").to_frame()
table.style.format("{:.1e}")

# %% [markdown]
# The first four summaries change only by rounding errors: float32 has about seven
# digits, and a sum in another order is rounded differently. The last two give a
# different result for the same star.

# %% [markdown]
# ## Mean, sum and maximum
#
# All three pools are invariant, but they measure different properties of a set. We
# apply them to groups of random numbers from the standard normal distribution, so that
# only the *size* of the group changes.

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
# - The **mean** has the same expectation for every $T$, and its standard deviation
#   decreases as $1/\sqrt{T}$. It estimates a property of the *distribution* of the
#   instances. The state is such a property, so the mean is the default of `SymAE`. The
#   mean is independent of the number of instances.
# - The **sum** depends on the number of instances. Its standard deviation grows as
#   $\sqrt{T}$, and a non-zero expectation grows as $T$. A network that was trained on
#   groups of 8 has not been trained on the values that groups of 32 produce.
# - The **maximum** keeps the most extreme value of each feature. It is suitable if a
#   single instance is sufficient evidence of a feature. Its expectation increases with
#   $T$.
# - **Attention** is a mean with learned weights that depend on the instances. It can
#   ignore a corrupted instance, but it needs more weights.

# %% [markdown]
# ## Ragged groups and masks
#
# Real groups have different sizes: one star has three good exposures, another has
# fourteen. The usual source is a flat table with one row per instance and a column with
# the name of the star. `group_by` collects the rows. It pads all groups to the size of
# the largest one. A **mask** marks present instances (True) and padding (False).

# %%
rng = np.random.default_rng(2)
names = np.array(["Vega", "Deneb", "Altair", "Deneb", "Vega", "Deneb"])
ragged = sk.data.group_by(rng.normal(size=(6, 4)), names)
present = ["".join("■" if each else "·" for each in row) for row in ragged.mask]
pd.DataFrame({"star": ragged.ids, "instances present": present})

# %% [markdown]
# The result must be independent of the padded values. For the mean, this requires
#
# $$\operatorname{pool}_t
# = \frac{\sum_t m_t\, f(x[t])}{\max\big(\sum_t m_t,\, 1\big)},$$
#
# where $m_t$ is 1 or 0. The maximum in the denominator keeps the result finite for a
# group without any instance. The maximum pool replaces each masked feature by a very
# low number, and the attention pool gives it a weight of zero. To test this, we fill
# the padding with a large number.

# %%
mask = ragged.mask
clean = ops.convert_to_tensor(ragged.x, dtype="float32")
spoiled = ops.where(mask[:, :, None], clean, 1e6)

rows = {}
for name in ("mean", "sum", "max", "attention"):
    pool = summaries[name] if name != "attention" else sk.layers.AttentionPooling()
    with_mask = ops.max(ops.abs(pool(spoiled, mask=mask) - pool(clean, mask=mask)))
    without = ops.max(ops.abs(pool(spoiled) - pool(clean)))
    rows[name] = {"with mask": float(with_mask), "without mask": float(without)}
display(Markdown("Largest change of the pooled features if the padding is $10^6$:"))
display(pd.DataFrame.from_dict(rows, orient="index").style.format("{:.1e}"))

# %% [markdown]
# Every grouped model in this package accepts the same mask: in training as
# `{"instances": x, "mask": mask}`, elsewhere as an argument, `model.encode(x, mask)`.
# `sk.data.batches(groups)` creates such inputs, and draws new instances from each group
# in every epoch.
#
# <div class="admonition warning alert alert-warning">
# <p class="admonition-title"><b>Warning</b></p>
#
# Always pass the mask. Padding that is merely set to zero changes the result.
#
# </div>

# %% [markdown]
# ## A Keras model with the two layers
#
# You can use the layers without a model of this package. Here is a plain Keras model
# that estimates the temperature of a star from any number of exposures.
#
# One exposure alone *cannot* solve this task. In these simulated spectra, the
# temperature $\tau$ (in units that run from $-1$ to 1) tilts the continuum by a slope
# $0.4\,\tau$. The instrument tilts it by another slope $s$, which is drawn for each
# exposure with mean zero and standard deviation 0.15. Only the sum of the two can be
# observed. Over $T$ exposures, the slope of the instrument averages out, but that of
# the star does not.
#
# First, we prepare the data: each star of the training set keeps a random number of its
# eight exposures.

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
        f"{len(star_of_row)} rows are now an array `{train.x.shape}` with "
        f"{int((~train.mask).sum())} padded instances."
    )
)

# %% [markdown]
# Then we build the model. Its instance axis is `None`, so it accepts any number of
# instances, in training and afterwards.


# %%
def temperature_model(pool):
    """Build a Keras model that maps a ragged group to one number."""
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
# We train one model with each pool. Then we test it on new stars with 1, 2, 4, … 32
# exposures, which is more than any training group had.

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
# The next cell computes the best possible error. Suppose that an observer measures the
# slopes without error, $z = 0.4\,\tau + \bar s$ with $\bar s \sim N(0, 0.15^2/T)$. The
# estimate with the smallest mean squared error is the mean of $\tau$ given $z$. It is a
# one-dimensional integral, which we compute on a grid.


# %%
def best_error(n, draws=20_000):
    """Compute the root mean square error of the posterior mean temperature."""
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
ax.axvline(8, color="0.45", linewidth=0.8)
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
columns = [f"T = {n}" for n in n_exposures]
table = {**errors, "best possible": limit}
display(pd.DataFrame.from_dict(table, orient="index", columns=columns).round(3))
if QUICK:
    display(Markdown("*Quick mode: the networks are undertrained.*"))

# %% [markdown]
# The dashed line shows why groups help: many instances determine what one instance
# leaves open. The error decreases as $1/\sqrt{T}$ (its square as $1/T$) once the data
# contain more information than the prior. The networks follow this line as far as the
# limited number of training stars allows. To the right of the grey line, the groups are
# larger than in training. The mean has an advantage there: more instances only reduce
# the noise of the pooled value. The values of sum and maximum leave the range on which
# $g$ was trained.

# %% [markdown]
# Finally, we save and load the model. This works as for any other Keras model, after
# `import symae_keras` has registered the layers.

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
# **1.** Write another invariant pool: a Keras layer that returns the mean *and* the
# standard deviation over the present instances. Show that its result is independent of
# the order and of the padding.
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
# Both changes are rounding errors. The layer uses only `keras.ops`, so it runs on
# TensorFlow, JAX and PyTorch.
#
# </details>
#
# **2.** A cosmic ray hits one exposure of each test star: set 20 neighbouring pixels of
# its first exposure to 3. How much does the error of each trained model increase with 8
# exposures? How large is it if the mask marks this exposure as missing?
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
# One corrupted exposure out of eight increases the error of every pool. With the mask,
# every pool has the error of seven good exposures. Masks cost little, so use them.
#
# </details>
#
# **3.** A group can be summarised in two steps: pool its first half and its second
# half, then combine the two. For which pools can you compute the summary of the whole
# group exactly from those of the halves? What else do you have to store? Check your
# answer for the mean.
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
# Sum and maximum can be combined directly. The mean also needs the number of instances
# in each part, so store the sum and the count. Attention needs the sum of its weights
# before normalisation. All four can therefore be updated with a new exposure without
# reading the old ones again.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A group is a set of instances of one state. Groups are stored in an array (groups,
#   instances, *instance_shape), with a mask for groups of unequal size.
# - Encode each instance with the same network, then pool. The result is independent of
#   the order, for any weights and any number of instances.
# - The mean estimates a property of the state and generalises to other group sizes. The
#   sum depends on the size, the maximum detects extremes, and attention learns weights.
# - Padding has to be masked. Setting it to zero is not enough.
# - `PerInstance` and `DeepSetsPooling` work in any Keras model.
#
# Next: [tutorial 06](06_symae_on_stellar_exposures.ipynb) introduces the symmetric
# autoencoder. It separates what the instances of a group share from what is specific to
# each.
