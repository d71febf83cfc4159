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
# under the conditions of another one's exposure (*redatuming*), and learn to judge the
# result: against the exact truth, a baseline, the best that is possible, and with
# probes of the codes. Along the way you see why the noise on the nuisance code decides
# everything.
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
N_STARS = 160 if QUICK else 2000  # for training
N_TEST = 40 if QUICK else 300
EPOCHS = 10 if QUICK else 16
N_LIMIT = 100 if QUICK else 500  # stars for the average of the limit
NUISANCE, VIRTUAL = "#D55E00", "#009E73"  # colours, as in the figures of the package
NOT_TRAINED = "*Quick mode: the networks are undertrained, so the errors are large.*"

# %% [markdown]
# ## What the telescope sees
#
# A star's spectrum reaches the detector through the Earth's atmosphere and through the
# instrument. We simulate both, so that the truth is known:
#
# $$x(\lambda) = \text{star}(\lambda - v) \cdot \text{air}(\lambda) \cdot
# \text{blaze}(\lambda) + \text{noise}.$$
#
# The **state** of a star is its temperature, the abundances of four elements and the
# width of its lines. The **nuisance** of an exposure is the amount of water and oxygen
# in the air, the slope and curvature of the instrument's response (the *blaze*), and
# the star's velocity on that night.

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
# We train on some stars and judge on others. Nothing tells the model which lines are
# the star's and which are the air's, nor is any parameter given to it. All that it is
# told is **which exposures belong together**.

# %%
train = sk.data.simulate_exposures(N_STARS, 16, seed=0)
test = sk.data.simulate_exposures(N_TEST, 16, seed=1)
display(
    Markdown(
        f"{len(train)} stars to train on, {len(test)} to judge by, "
        f"{train.n_instances} exposures of {train.instance_shape[0]} pixels each."
    )
)

# %% [markdown]
# ## The symmetric autoencoder
#
# [SymAE](https://arxiv.org/abs/2108.02537) gives a group of exposures two kinds of
# code:
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
# Two forces separate state from nuisance:
#
# - **Pooling.** $C$ does not depend on the order of the exposures, so nothing that is
#   peculiar to one of them can be told through it. What is peculiar *must* go through
#   $N$.
# - **Noise.** $N$ could tell everything, the star included: nothing in the
#   reconstruction error forbids it. Noise with strength $\sigma$ on $N$, in training
#   only, makes it an expensive channel. What the exposures share is cheaper to send
#   through $C$, once and without noise.
#
# Here is the model. `normalization` takes off the mean exposure and divides by one
# common scale, inside the model: it goes in and comes out in data units. It matters:
# without it most of what the network sees is the same in all spectra.


# %%
def fit(noise_strength, **options):
    """Train a SymAE on the stars; model and history."""
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
# The loss is the mean squared error divided by the variance of the data, so that 1
# would be no better than always answering with the mean exposure. In each epoch eight
# of the sixteen exposures of a star are drawn afresh. The loss is measured *with* the
# noise on the nuisance code, which is off whenever the model is used.

# %% [markdown]
# ## Redatuming
#
# Now swap: the coherent code of one star, the nuisance codes of another one's
# exposures.
#
# $$\hat x_{i \leftarrow j}[t] = D\big(C_i,\, N_j[t]\big)$$
#
# is a **virtual** exposure: star $i$ as it would have looked through the air and the
# instrument of exposure $t$ of star $j$. Since the data are simulated, the exact answer
# is at hand, `test.virtual(state, group, instance)`.

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
# What is it good for? Take a chemical comparison of two stars that were observed in
# different nights. The difference of their spectra shows the difference of two nights
# as well. Give the second star the night of the first, and what is left is the
# difference of the stars.

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
        test.axis, same_night, color="0.6", linewidth=2.5, label="truth, same night"
    )
    ax.plot(test.axis, difference, color="C0", linewidth=0.9, label=name)
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
        + ". The noise of one exposure is 0.010."
    )
)

# %% [markdown]
# ## Judging it
#
# One good picture proves little. `redatuming_error` shows every test star under every
# exposure of the next star and compares with the truth:
#
# $$\text{error} = \frac{\text{mean squared error of the virtual exposures}}
# {\text{variance of the true ones}}.$$
#
# A number needs others to be read beside:
#
# - the **mean swap**, $x_j[t] - \bar X_j + \bar X_i$, which exchanges the mean
#   exposures of the two stars. It learns nothing. A model that does not beat it is of
#   no use;
# - the **limit**. In these spectra the slope of a star's continuum and the slope of the
#   instrument look the same. How the mean slope of sixteen exposures splits into the
#   two can only be guessed, and `exposures_limit` is the error of the best guess of
#   somebody who knows everything else;
# - the **reconstruction error**, which is what the training minimised.

# %%
error = sk.evaluation.redatuming_error(model, test)
limit = sk.evaluation.exposures_limit(n_instances=16, n_states=N_TEST, seed=1)
display(
    Markdown(
        "| | error / variance |\n|---|---|\n"
        f"| SymAE, redatuming | **{error:.4f}** |\n"
        f"| mean swap | {error.mean_swap:.4f} |\n"
        f"| limit for 16 exposures | {limit:.4f} |\n"
        f"| SymAE, reconstruction | {error.reconstruction:.4f} |"
    )
)
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# ## What do the codes know?
#
# With real data there is no `virtual`, so we also need to look at the codes themselves.
# A *probe* is a small network that tries to read a true parameter from a code. Its
# score is $R^2$ on stars it has not seen: 1 if the parameter is read exactly, 0 if the
# probe does no better than the mean, and below 0 where it has fitted chance.
#
# We hope for high scores of the state from the coherent code, and for scores near 0
# where a code is read for what it should not know.

# %%
probed = sk.data.simulate_exposures(60 if QUICK else 500, 8, seed=2)
found = sk.evaluation.leakage(model, probed)


def as_table(found):
    """A leakage report as a Markdown table."""
    lines = ["| parameter | coherent code | nuisance code |", "|---|---|---|"]
    for name, score in found.state_from_coherent.items():
        leak = found.state_from_nuisance[name]
        lines.append(f"| {name} (state) | {score:.2f} | {leak:.2f} |")
    for name, score in found.nuisance_from_coherent.items():
        lines.append(f"| {name} (nuisance, mean of the group) | {score:.2f} | |")
    return "\n".join(lines)


display(Markdown("$R^2$ of probes:\n\n" + as_table(found)))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# Two things to note. Pooling keeps from $C$ what is peculiar to one exposure, but not
# the *mean* nuisance of the group, which belongs to all exposures together: a score
# clearly above 0 in the last rows says that $C$ knows some of it. The more exposures a
# group has, the less that mean differs from star to star. And a probe that has few
# stars to learn from gives scores below 0; that is chance, too.

# %% [markdown]
# ## The price of the channel
#
# How strong must the noise be? Multiplying by $1 + \sigma\varepsilon$ has a charm over
# adding noise: the network cannot escape it by making its codes larger. As a rough
# guide, a channel whose noise has the power $\sigma^2$ relative to its signal carries
# at most
#
# $$\tfrac12 \log_2\!\big(1 + 1/\sigma^2\big) \text{ bits}$$
#
# a number: about 1.2 bits for $\sigma = 0.5$ and 2.4 bits for $\sigma = 0.2$, but
# without any limit for $\sigma = 0$. We train the same network with three strengths,
# everything else alike.

# %%
strengths = {"none": 0.0, "too little": 0.2, "right": 0.5}
models = {"right": model}
for name in ("none", "too little"):
    models[name], _ = fit(strengths[name])

errors = {
    name: sk.evaluation.redatuming_error(models[name], test) for name in strengths
}
leaks = {
    name: sk.evaluation.leakage(models[name], probed).state_from_nuisance
    for name in strengths
}

# %%
lines = [
    "| noise | σ | reconstruction | redatuming | temperature from nuisance code, R² |",
    "|---|---|---|---|---|",
]
for name, strength in strengths.items():
    e, leak = errors[name], leaks[name]["temperature"]
    lines.append(
        f"| {name} | {strength} | {e.reconstruction:.4f} | **{e:.4f}** | {leak:.2f} |"
    )
lines.append(f"| mean swap | | | {error.mean_swap:.4f} | |")
lines.append(f"| limit | | | {limit:.4f} | |")
display(Markdown("\n".join(lines)))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# Read the two columns of errors against each other. **The model that reconstructs best
# redatums worst.** Without noise it has no reason to use the coherent code: eight
# numbers in $N$ are enough for a good description of the whole exposure, star and all.
#
# A picture shows what that means. A leak is seen best where the two stars are most
# unlike, so we take the pair of neighbours in the test set whose temperatures differ
# most. The virtual exposure should be the black line.

# %%
temperature = test.state["temperature"]
j = int(np.argmax(np.abs(np.diff(temperature))))  # shown under the exposures of j + 1
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
# With no noise the virtual exposure follows the orange-red line: the *nuisance source*
# comes back, with its own star in it. The swap has done next to nothing. With the right
# noise it follows the black one.
#
# In your own data you cannot see the black line, but you can see this: if a virtual
# exposure looks like its nuisance source, or a probe (or `nuisance_dependence`, which
# needs no labels) finds the group in the nuisance code, the channel is too cheap. Raise
# the noise, or give the nuisance code fewer numbers.

# %% [markdown]
# ## More exposures, less error
#
# The limit falls as $1/T$: what one exposure leaves open about a star is averaged out
# over many. The trained model takes any number of exposures, so we can cut the groups
# of the test stars and look.

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
# The model has been trained with groups of eight. It works for one exposure and for
# sixteen; where it meets the dashed line, the data and not the network set the error.

# %% [markdown]
# ## Exercises
#
# **1.** Put the whole test set under *one* exposure: redatum every star to the nuisance
# of exposure 0 of star 0. How far are these virtual exposures from the truth, star by
# star, compared with the recorded exposures?
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
# The denominator is now the variance between stars under one nuisance, and the nuisance
# of a recorded exposure adds more than that; the virtual ones come much nearer. The one
# nuisance code that all share was read with a small error, which shifts all virtual
# exposures alike. That part cancels when stars are compared with each other, which is
# what one does this for.
#
# </details>
#
# **2.** Can there be too much noise? Train with $\sigma = 2$ and compare reconstruction
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
# After the full training both errors are larger than with 0.5: the channel has become
# so expensive that even the nuisance does not get through. The best strength lies
# between; the two errors then are both small.
#
# </details>
#
# **3.** Instead of noise of a fixed strength, `nuisance_noise="variational"` makes both
# codes random and pays for information in nats. Train it (with `noise_strength=None`,
# which stands for its default) and compare.
#
# <details><summary>Solution</summary>
#
# ```python
# variational, _ = fit(noise_strength=None, nuisance_noise="variational")
# print(repr(sk.evaluation.redatuming_error(variational, test)))
# print(repr(error))
# ```
#
# After the full training both errors are lower than with Gaussian noise: here the
# network chooses for each number of the code how much to tell. After a short training
# it can be the other way round.
#
# </details>

# %% [markdown]
# ## Summary
#
# - SymAE needs groups, not labels: pooling and noise separate what instances share from
#   what is their own.
# - Virtual exposures show all stars under the same conditions, ready for a fair
#   comparison.
# - A low reconstruction error says nothing about the codes. Without noise the nuisance
#   code takes everything.
# - Judge by the redatuming error on simulated data, beside mean swap and limit, and by
#   leakage.
# - More exposures of a star help: the limit falls as $1/T$.
#
# Next: tutorial 07 takes the step back to the original SymAE, whose nuisance encoder
# does not see the coherent code, and shows when and why it fails on these very spectra.
