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
# # 06 SymAE on stellar exposures
#
# **Aim.** Train a symmetric autoencoder on repeated exposures of stars, show a star
# under the conditions of another star's exposure (*redatuming*), and evaluate the
# result against the exact truth, a baseline, the theoretical limit, and with probes of
# the codes. You also see why the noise on the nuisance code is the most important
# setting.
#
# **Prerequisites.** Tutorial 05 (groups, pooling); least squares.
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
    # %pip install "{where}[data]"
    importlib.invalidate_caches()

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Imports and settings
import os

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
N_STARS = 48 if QUICK else 2000  # for training
N_TEST = 40 if QUICK else 300
EPOCHS = 2 if QUICK else 16
N_LIMIT = 100 if QUICK else 500  # stars for the average of the limit
NUISANCE, VIRTUAL = "#D55E00", "#009E73"  # colours, as in the figures of the package
NOT_TRAINED = "*Quick mode: the networks are undertrained, so the errors are large.*"

# %% [markdown]
# ## The goal
#
# A pretrained model of the package made the next figure. It shows each star as if it
# had been observed in the exposures of other stars. Along a row, the star stays the
# same. Down a column, the air and the instrument stay the same.

# %%
pretrained = sk.zoo.load("symae_exposures")
stars = sk.data.simulate_exposures(6, 16, seed=1)
codes = pretrained.encode(stars.x)
coherent, nuisance = (ops.convert_to_numpy(each) for each in codes)
grid = pretrained.decode(coherent[:3], np.stack([nuisance[3:6, 0]] * 3))
display(
    sk.plotting.plot_redatuming_grid(
        states=stars.x[:3, 0],
        nuisances=stars.x[3:6, 0],
        virtual=ops.convert_to_numpy(grid),
        axis=stars.axis,
        axis_label=stars.axis_label,
        value_label="flux (relative)",
    )
)

# %% [markdown]
# ## Data: exposures through air and instrument
#
# The light of a star passes through the Earth's atmosphere and through the instrument.
# We simulate both, so the truth is known:
#
# $$x(\lambda) = \text{star}(\lambda - v) \cdot \text{air}(\lambda) \cdot
# \text{blaze}(\lambda) + \text{noise}.$$
#
# The **state** of a star consists of its temperature, the abundances of four elements
# and the width of its lines. The **nuisance** of an exposure consists of the amounts of
# water and oxygen in the air, the slope and curvature of the instrument response (the
# *blaze*), and the velocity of the star on that night.

# %%
stages = {
    "the star": (),
    "through the air": ("water", "oxygen"),
    "as recorded": ("water", "oxygen", "slope", "curvature", "velocity"),
}
fig = Figure(figsize=(7.2, 4.2), layout="constrained")
for ax, (name, nuisances) in zip(
    fig.subplots(3, 1, sharex=True, sharey=True), stages.items(), strict=True
):
    stage = sk.data.simulate_exposures(1, 3, seed=6, nuisances=nuisances)
    ax.plot(stage.axis, stage.x[0].T, linewidth=0.7)
    ax.set_title(f"{name}, three exposures", loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
fig.supxlabel(stage.axis_label, fontsize=10)
fig.supylabel("flux (relative)", fontsize=10)
display(fig)

# %% [markdown]
# Training and test stars are different. The model receives no parameters, and no
# information about which lines come from the star and which from the air. Its only
# additional information is **which exposures belong together**.

# %%
train = sk.data.simulate_exposures(N_STARS, 16, seed=0)
test = sk.data.simulate_exposures(N_TEST, 16, seed=1)
display(
    Markdown(
        f"{len(train)} stars for training and {len(test)} for evaluation, with "
        f"{train.n_instances} exposures of {train.instance_shape[0]} pixels each."
    )
)

# %% [markdown]
# ## The symmetric autoencoder
#
# [SymAE](https://arxiv.org/abs/2108.02537) encodes a group of exposures into two kinds
# of code:
#
# $$
# \begin{array}{lll}
# \text{coherent code} & C = g(\operatorname{mean}_t f(x[t])) & \text{one for the
# group} \\ \text{nuisance code} & N[t] = h(x[t], C) & \text{one for each instance} \\
# \text{reconstruction} & \hat x[t] = D(C, \tilde N[t]) & \text{in training } \tilde N
# = N \odot (1 + \sigma\varepsilon)
# \end{array}
# $$
#
# Two mechanisms separate state from nuisance:
#
# - **Pooling.** $C$ does not depend on the order of the exposures, so it cannot contain
#   what is specific to one of them. This information *must* be in $N$.
# - **Noise.** $N$ could contain all information, including the star, and the
#   reconstruction error would not increase. During training, noise of strength $\sigma$
#   on $N$ limits the information that $N$ can transmit. It is then better to encode
#   what the exposures share in $C$, which has no noise.
#
# The model follows. `normalization` is a layer inside the model: it subtracts the mean
# exposure and divides by one common scale. Inputs and outputs have the units of the
# data. Without normalisation, most of the input would be the same in all spectra.


# %%
def fit(noise_strength, **options):
    """Train a SymAE on the stars and return it with its history."""
    keras.utils.set_random_seed(0)
    model = sk.models.SymAE(
        instance_shape=train.instance_shape,
        coherent_dim=8,
        nuisance_dim=8,
        noise_strength=noise_strength,
        normalization=sk.training.normalization(train),
        seed=0,
        **options,
    )
    training = sk.training.Training(epochs=EPOCHS, batch_size=16, instances=8)
    return model, sk.training.train(model, train, training, seed=0)


model, history = fit(noise_strength=0.5)
display(sk.plotting.plot_history(history))

# %% [markdown]
# The loss is the mean squared error divided by the variance of the data. A model that
# always predicts the mean exposure has a loss of 1. In each epoch, eight of the sixteen
# exposures of a star are drawn anew. The training loss includes the noise on the
# nuisance code. After training, the noise is off.

# %% [markdown]
# ## Redatuming
#
# Now we combine the coherent code of one star with the nuisance codes of the exposures
# of another star.
#
# $$\hat x_{i \leftarrow j}[t] = D\big(C_i,\, N_j[t]\big)$$
#
# is a **virtual** exposure: star $i$ as it would have looked through the air and the
# instrument of exposure $t$ of star $j$. The data are simulated, so
# `test.virtual(state, group, instance)` computes the exact truth.

# %%
coherent_source, nuisance_source = test[:3], test[3:6]
virtual = model.redatum(
    coherent_from=coherent_source.x, nuisance_from=nuisance_source.x
)
truth = test.virtual(state=[0, 1, 2], group=[3, 4, 5], instance=0)

display(
    sk.plotting.plot_redatuming(
        coherent_source=coherent_source.x[:, 0],
        nuisance_source=nuisance_source.x[:, 0],
        virtual=ops.convert_to_numpy(virtual)[:, 0],
        truth=truth,
        axis=test.axis,
        axis_label=test.axis_label,
        value_label="flux (relative)",
    )
)

# %% [markdown]
# An application is the chemical comparison of two stars that were observed on different
# nights. The difference of their spectra also contains the difference of the two
# nights. If we show the second star under the conditions of the first, only the
# difference of the stars remains.

# %%
first, second = test[:1], test[1:2]
moved = model.redatum(coherent_from=second.x, nuisance_from=first.x)
same_night = test.virtual(0, 0, 0) - test.virtual(1, 0, 0)
differences = {
    "as recorded": first.x[0, 0] - second.x[0, 0],
    "second star redatumed": first.x[0, 0] - ops.convert_to_numpy(moved)[0, 0],
}
fig = Figure(figsize=(7.2, 4.0), layout="constrained")
for ax, (name, difference) in zip(
    fig.subplots(2, 1, sharex=True, sharey=True), differences.items(), strict=True
):
    ax.plot(
        test.axis, same_night, color="black", linewidth=2.0, label="truth, same night"
    )
    ax.plot(test.axis, difference, color="C1", linewidth=0.9, label=name)
    ax.legend(frameon=False, loc="upper right", ncols=2, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(y=0.25)
fig.supxlabel(test.axis_label, fontsize=10)
fig.supylabel("star 1 \N{MINUS SIGN} star 2 (flux)", fontsize=10)
display(fig)

left = {
    name: np.sqrt(np.mean((d - same_night) ** 2)) for name, d in differences.items()
}
display(
    Markdown(
        "Root mean square distance from the true difference: "
        + ", ".join(f"{name} {value:.3f}" for name, value in left.items())
        + ". The noise of one exposure has a standard deviation of 0.010."
    )
)

# %% [markdown]
# ## Evaluation
#
# One good figure is weak evidence. `redatuming_error` shows every test star under every
# exposure of the next star and compares the result with the truth:
#
# $$\text{error} = \frac{\text{mean squared error of the virtual exposures}}
# {\text{variance of the true ones}}.$$
#
# To interpret this number, compare it with three others:
#
# - The **mean swap**, $x_j[t] - \bar X_j + \bar X_i$, exchanges the mean exposures of
#   the two stars. It needs no training. A model that is not better than the mean swap
#   is useless.
# - The **limit** is the smallest possible error. In these spectra, the slope of a
#   star's continuum and the slope of the instrument look the same. The mean slope of
#   sixteen exposures therefore cannot be split into the two with certainty.
#   `exposures_limit` computes the error of the best estimate if everything else is
#   known.
# - The **reconstruction error** is what training minimises.

# %%
error = sk.evaluation.redatuming_error(model, test)
limit = sk.evaluation.exposures_limit(n_instances=16, n_states=N_TEST, seed=1)
table = {
    "SymAE, redatuming": float(error),
    "mean swap": error.mean_swap,
    "limit for 16 exposures": limit,
    "SymAE, reconstruction": error.reconstruction,
}
display(pd.Series(table, name="error / variance").to_frame().round(4))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# ## Probes of the codes
#
# Real data have no `virtual` exposures, so we also evaluate the codes themselves. A
# *probe* is a small network that predicts a true parameter from a code. Its score is
# $R^2$ on stars that were not used to train the probe. A score of 1 is a perfect
# prediction, 0 is no better than the mean, and negative values mean that the probe has
# overfitted.
#
# The state should have high scores from the coherent code. Scores near 0 are ideal
# where the code should not contain the parameter.

# %%
probed = sk.data.simulate_exposures(60 if QUICK else 500, 8, seed=2)
found = sk.evaluation.leakage(model, probed)


def as_table(found):
    """Return the scores of a leakage report as a table."""
    rows = []
    for name, score in found.state_from_coherent.items():
        rows.append((f"{name} (state)", score, found.state_from_nuisance[name]))
    for name, score in found.nuisance_from_coherent.items():
        rows.append((f"{name} (nuisance, mean of the group)", score, np.nan))
    heads = ["parameter", "R² from the coherent code", "R² from the nuisance code"]
    return pd.DataFrame(rows, columns=heads).style.format(precision=2, na_rep="")


display(as_table(found))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# Pooling prevents $C$ from encoding what is specific to one exposure, but not the
# *mean* nuisance of the group, which is common to all its exposures. If a score in the
# last rows is clearly above 0, $C$ contains some of it. The more exposures a group has,
# the less this mean differs from star to star.
#
# <div class="admonition note alert alert-info">
# <p class="admonition-title"><b>Note</b></p>
#
# A probe that is trained on few stars can have a negative score. This is a chance
# effect, too.
#
# </div>

# %% [markdown]
# ## The strength of the noise
#
# How strong must the noise be? Multiplicative noise, $1 + \sigma\varepsilon$, has an
# advantage over additive noise: the network cannot reduce its effect by making the
# codes larger. As a rough guide, a channel whose noise has the power $\sigma^2$
# relative to its signal transmits at most
#
# $$\tfrac12 \log_2\!\big(1 + 1/\sigma^2\big) \text{ bits}$$
#
# per number of the code. This is about 1.2 bits for $\sigma = 0.5$, 2.4 bits for
# $\sigma = 0.2$, and unlimited for $\sigma = 0$. We train the same network with these
# three strengths. All other settings are equal.

# %%
strengths = {"none": 0.0, "too weak": 0.2, "suitable": 0.5}
models = {"suitable": model}
for name in ("none", "too weak"):
    models[name], _ = fit(strengths[name])

errors = {
    name: sk.evaluation.redatuming_error(models[name], test) for name in strengths
}
leaks = {
    name: sk.evaluation.leakage(models[name], probed).state_from_nuisance
    for name in strengths
}

# %%
rows = [
    (name, strength, errors[name].reconstruction, float(errors[name]), leaks[name])
    for name, strength in strengths.items()
]
table = pd.DataFrame(
    [(*row[:-1], row[-1]["temperature"]) for row in rows],
    columns=["noise", "σ", "reconstruction", "redatuming", "R² of temperature from N"],
)
display(table.round(4))
display(Markdown(f"Mean swap: {error.mean_swap:.4f}. Limit: {limit:.4f}."))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# Compare the two columns of errors. **The model with the best reconstruction has the
# worst redatuming error.** Without noise, the network has no reason to use the coherent
# code: eight numbers in $N$ are enough to describe the whole exposure, including the
# star.
#
# The next figure shows the effect. Leakage is most visible if the two stars are very
# different. We therefore use the pair of neighbours in the test set with the largest
# difference in temperature. The virtual exposure should follow the black line.

# %%
temperature = test.state["temperature"]
j = int(np.argmax(np.abs(np.diff(temperature))))  # its nuisance source is star j + 1
wanted = test.virtual(j, j + 1, 0)

fig = Figure(figsize=(7.2, 6.0), layout="constrained")
axes = fig.subplots(3, 1, sharex=True, sharey=True)
for ax, (name, strength) in zip(axes, strengths.items(), strict=True):
    virtual = models[name].redatum(
        coherent_from=test.x[j : j + 1], nuisance_from=test.x[j + 1 : j + 2]
    )
    lines = [
        *ax.plot(test.axis, test.x[j + 1, 0], color=NUISANCE, linewidth=1.0),
        *ax.plot(test.axis, wanted, color="black", linewidth=2.0),
        *ax.plot(test.axis, ops.convert_to_numpy(virtual)[0, 0], color=VIRTUAL),
    ]
    ax.set_title(f"noise {strength} ({name})", loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
names = ["nuisance source (another star)", "truth", "virtual"]
fig.legend(lines, names, loc="outside upper center", ncols=3, frameon=False)
fig.supxlabel(test.axis_label, fontsize=10)
fig.supylabel("flux (relative)", fontsize=10)
display(fig)

# %% [markdown]
# Without noise, the virtual exposure follows the orange-red line. It shows the
# *nuisance source*, including its own star, so the swap has almost no effect. With a
# noise of 0.5, it follows the black line.
#
# <div class="admonition tip alert alert-success">
# <p class="admonition-title"><b>Tip</b></p>
#
# With your own data, the black line is unknown, but there are other signs that the
# nuisance code contains too much information: the virtual exposure looks like its
# nuisance source, or a probe (or `nuisance_dependence`, which needs no labels) can
# predict the group from the nuisance code. Then increase the noise or reduce the size
# of the nuisance code.
#
# </div>

# %% [markdown]
# ## Number of exposures
#
# The limit decreases as $1/T$, because the uncertainty of one exposure averages out
# over many. The trained model accepts any number of exposures, so we can test it with
# fewer exposures per star.

# %%
over = sk.evaluation.error_over_instances(model, test)
limits = [sk.evaluation.exposures_limit(n, n_states=N_LIMIT) for n in over.n_instances]
swaps = [
    sk.evaluation.redatuming_error(model, test.take_instances(slice(n))).mean_swap
    for n in over.n_instances
]
display(
    sk.plotting.plot_error_over_instances(
        over.n_instances,
        {"SymAE": over.errors, "mean swap": swaps},
        limit=limits,
    )
)

# %% [markdown]
# The model was trained with groups of eight. It also works with one exposure and with
# sixteen. Where its curve meets the dashed line, the data limit the error, not the
# network.

# %% [markdown]
# ## Exercises
#
# **1.** Show the whole test set under *one* exposure: redatum every star to the
# nuisance of exposure 0 of star 0. Compare the errors of these virtual exposures with
# those of the recorded exposures.
#
# <details><summary>Solution</summary>
#
# ```python
# n = len(test)
# reference = np.broadcast_to(test.x[:1], test.x.shape)
# virtual = ops.convert_to_numpy(
#     model.redatum(coherent_from=test.x, nuisance_from=reference)
# )[:, 0]
# truth = test.virtual(np.arange(n), 0, 0)
# common = np.mean(virtual - truth, axis=0)
# print("recorded:", sk.evaluation.relative_error(test.x[:, 0], truth))
# print("virtual: ", sk.evaluation.relative_error(virtual, truth))
# print("virtual, without what all have in common:",
#       sk.evaluation.relative_error(virtual - common, truth))
# ```
#
# The denominator is now the variance between stars under one nuisance. The nuisance of
# the recorded exposures adds more than this variance, so the error of the virtual
# exposures is much smaller. The one nuisance code that all of them share has a small
# error, which shifts all virtual exposures in the same way. This part cancels in
# comparisons between stars, which are the purpose of redatuming.
#
# </details>
#
# **2.** Can the noise be too strong? Train with $\sigma = 2$ and compare reconstruction
# and redatuming.
#
# <details><summary>Solution</summary>
#
# ```python
# loud, _ = fit(noise_strength=2.0)
# print(repr(sk.evaluation.redatuming_error(loud, test)))
# print(repr(error))
# ```
#
# After the full training, both errors are larger than with 0.5. The noise is now so
# strong that the nuisance code cannot even transmit the nuisance. The best strength is
# in between, where both errors are small.
#
# </details>
#
# **3.** With `nuisance_noise="variational"`, both codes are random, and the loss
# contains a penalty on their information in nats, instead of noise of a fixed strength.
# Train this model (with `noise_strength=None`, its default) and compare.
#
# <details><summary>Solution</summary>
#
# ```python
# variational, _ = fit(noise_strength=None, nuisance_noise="variational")
# print(repr(sk.evaluation.redatuming_error(variational, test)))
# print(repr(error))
# ```
#
# After the full training, both errors are lower than with Gaussian noise, because the
# network learns how much information each number of the code transmits. After a short
# training, the order can be reversed.
#
# </details>

# %% [markdown]
# ## Summary
#
# - SymAE needs groups, not labels. Pooling and noise separate what the instances share
#   from what is specific to each.
# - Virtual exposures show all stars under the same conditions, so that they can be
#   compared.
# - A low reconstruction error does not show that the codes are separated. Without
#   noise, the nuisance code contains everything.
# - Evaluate the redatuming error on simulated data, together with the mean swap and the
#   limit, and the leakage.
# - More exposures of a star reduce the error: the limit decreases as $1/T$.
#
# Next: [tutorial 07](07_when_symae_fails.ipynb) uses the original SymAE, whose nuisance
# encoder does not receive the coherent code. It shows when and why this model fails on
# the same spectra.
