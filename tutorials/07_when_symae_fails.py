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
# # 07 Failure and repair of SymAE
#
# **Aim.** See a model with a low reconstruction error and a high redatuming error,
# derive the reason, predict the size of the failure *before* training, and correct it.
# The case is common: one measurement alone often does not determine which part comes
# from the object and which from the instrument.
#
# **Prerequisites.** Tutorial 06 (SymAE, redatuming error); conditional expectation.
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
import dataclasses
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
EPOCHS = 1 if QUICK else 16
N_LIMIT = 100 if QUICK else 500  # stars for the average of the limit
NOT_TRAINED = "*Quick mode: the networks are undertrained, so the errors are large.*"

# %% [markdown]
# ## Two encoders
#
# The original SymAE ([Bharadwaj, Li & Demanet, 2021](https://arxiv.org/abs/2108.02537))
# computes the nuisance code of an instance from that instance alone,
#
# $$N[t] = h(x[t]) \qquad \text{(original)}.$$
#
# In tutorial 06 we used the default of this package. Its nuisance encoder also receives
# the coherent code of the group,
#
# $$N[t] = h(x[t], C) \qquad \text{(conditional)}.$$
#
# The argument `conditional_nuisance` selects one of the two. It looks like a detail,
# but it can decide whether redatuming works.

# %% [markdown]
# ## The ambiguity of one exposure
#
# A star of temperature $\tau$ has a continuum $e^{0.4\,\tau x}$: the continuum of hot
# stars rises towards one side, that of cool stars towards the other ($x$ and $\tau$ run
# from $-1$ to 1). The instrument multiplies it by $1 + s\,x + k\,(x^2 - \tfrac13)$. The
# slope $s$ and the curvature $k$ are drawn for each exposure. To first order,
#
# $$e^{0.4\,\tau x}\,(1 + s x) \approx 1 + (0.4\,\tau + s)\,x .$$
#
# **Only the sum $z = 0.4\,\tau + s$ can be observed.** Here are two exposures with the
# same lines: a warm star with an instrument that tilts the spectrum one way, and a cool
# star with an instrument that tilts it the other way.

# %%
one = sk.data.simulate_exposures(n_states=1, n_instances=1, seed=4)


def exposure(temperature, slope, curvature):
    """Return the noiseless exposure of one star with these three parameters."""
    state = {**one.state, "temperature": np.array([temperature])}
    nuisance = {
        **one.nuisance,
        "slope": np.array([[slope]]),
        "curvature": np.array([[curvature]]),
    }
    changed = dataclasses.replace(one, state=state, nuisance=nuisance)
    return changed.virtual(0, 0, 0)


warm = exposure(temperature=0.3, slope=-0.06, curvature=0.0)
cool = exposure(temperature=-0.3, slope=0.18, curvature=0.0144)

fig = Figure(figsize=(7.2, 4.0), layout="constrained")
top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[2, 1])
top.plot(one.axis, warm, color="C0", label="τ = 0.3, s = \N{MINUS SIGN}0.06")
top.plot(one.axis, cool, "--", color="C1", label="τ = \N{MINUS SIGN}0.3, s = 0.18")
top.set(ylabel="flux (relative)", ylim=(-0.12, 1.15))
top.legend(frameon=False, loc="lower left", ncols=2)
bottom.axhspan(-0.01, 0.01, color="0.8", label="noise of one exposure (±1 s.d.)")
bottom.plot(one.axis, warm - cool, color="black", linewidth=0.9)
bottom.set(xlabel=one.axis_label, ylabel="difference", ylim=(-0.025, 0.025))
bottom.legend(frameon=False, loc="lower left")
for ax in (top, bottom):
    ax.spines[["top", "right"]].set_visible(False)
display(fig)
largest = np.abs(warm - cool).max()
display(
    Markdown(f"Largest difference: {largest:.4f}. Standard deviation of noise: 0.0100.")
)

# %% [markdown]
# No encoder can distinguish the two from such an exposure. The *group* can: over $T$
# exposures of one star, the mean of $s$ tends to 0, so the mean of $z$ tends to
# $0.4\,\tau$.

# %% [markdown]
# ## Prediction of the failure
#
# The original encoder will learn the following. The reconstruction needs the slope $z$
# of each exposure. The coherent code contains $\tau$ only up to $\bar s$, and it does
# not contain $s[t]$. At least part of the slope must therefore be encoded in
# $N[t] = h(x[t])$. From $x[t]$, the encoder can compute $z$, but not $s[t]$. So $N$
# contains $z$, and with it the temperature.
#
# Now consider redatuming. The virtual exposure of star $i$ under an exposure of star
# $j$ should have the slope $0.4\,\tau_i + s_j$. A decoder that takes the slope from
# $N_j$ produces $z_j = 0.4\,\tau_j + s_j$ instead. Everything is right except for the
# temperature, which is that of the *other* star. Training cannot correct this: for the
# reconstruction, $z$ *is* the correct slope, for every star.
#
# We can compute the resulting error without training: we simulate the virtual exposures
# with the temperature of the wrong star and compare them with the truth.

# %%
test = sk.data.simulate_exposures(N_TEST, 16, seed=1)
source = (np.arange(N_TEST) + 1) % N_TEST  # star i = j + 1, as in redatuming_error
group, instance = np.indices(test.x.shape[:2])
truth = test.virtual(source[:, None], group, instance)

wrong_temperature = test.state["temperature"][np.argsort(source)]
mixed = dataclasses.replace(
    test, state={**test.state, "temperature": wrong_temperature}
)
predicted = sk.evaluation.relative_error(
    mixed.virtual(source[:, None], group, instance), truth
)
display(
    Markdown(
        "Predicted redatuming error of an otherwise perfect model whose nuisance code "
        f"carries $z$: **{predicted:.2f}**"
    )
)

# %% [markdown]
# The same reasoning predicts the leakage. A probe that predicts $\tau$ from $z$ can at
# best explain the share of the variance of $z$ that is due to the star. (This is the
# score of the best *linear* probe. As $\tau$ is uniform and not Gaussian, a nonlinear
# probe is slightly better.)
#
# $$R^2 = \frac{\operatorname{var}(0.4\,\tau)}{\operatorname{var}(0.4\,\tau) +
# \operatorname{var}(s)} = \frac{0.16/3}{0.16/3 + 0.15^2}$$

# %%
predicted_leak = (0.16 / 3) / (0.16 / 3 + 0.15**2)
display(
    Markdown(f"Predicted $R^2$ of τ from the nuisance code: **{predicted_leak:.2f}**")
)

# %% [markdown]
# ## The experiment
#
# We train three models with the same networks, codes, noise and number of steps:
#
# 1. The original encoder on *identifiable* exposures, whose stars have no slope. This
#    is the control: if it fails too, the reason is a different one.
# 2. The original encoder on the entangled exposures described above.
# 3. The conditional encoder on the same exposures.


# %%
def fit(entangled, conditional, noise_strength=0.5):
    """Train a SymAE and return it with its errors on test stars."""
    keras.utils.set_random_seed(0)
    train = sk.data.simulate_exposures(N_STARS, 16, seed=0, entangled=entangled)
    model = sk.models.SymAE(
        instance_shape=train.instance_shape,
        coherent_dim=8,
        nuisance_dim=8,
        noise_strength=noise_strength,
        conditional_nuisance=conditional,
        normalization=sk.training.normalization(train),
        seed=0,
    )
    sk.training.train(model, train, sk.training.Training(epochs=EPOCHS), seed=0)
    held_out = sk.data.simulate_exposures(N_TEST, 16, seed=1, entangled=entangled)
    return model, sk.evaluation.redatuming_error(model, held_out)


control, control_error = fit(entangled=False, conditional=False)
original, original_error = fit(entangled=True, conditional=False)
conditional, conditional_error = fit(entangled=True, conditional=True)

# %%
limit = sk.evaluation.exposures_limit(n_instances=16, n_states=N_TEST, seed=1)
rows = [
    ("identifiable, original h(x)", control_error, "0"),
    ("entangled, original h(x)", original_error, f"{predicted:.2f} (predicted)"),
    ("entangled, conditional h(x, C)", conditional_error, f"{limit:.4f} (limit)"),
]
table = pd.DataFrame(
    [
        (name, e.reconstruction, float(e), theory, e.mean_swap)
        for name, e, theory in rows
    ],
    columns=[
        "exposures, encoder",
        "reconstruction",
        "redatuming",
        "theory",
        "mean swap",
    ],
)
display(table.round(4))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# After training, all three models have a low reconstruction error, so the loss does not
# reveal the failure of the second model. Its redatuming error does: it is much higher
# than that of the mean swap, which is not trained at all. The control shows that the
# architecture works if one instance determines its nuisance.
#
# ## Test of the explanation
#
# A failure of the predicted size is good evidence, but we can test the explanation
# directly. If a virtual exposure has the temperature of the nuisance source, the
# logarithm of virtual over truth has the slope $0.4\,(\tau_j - \tau_i)$. We measure
# this slope for every pair.


# %%
def excess_slope(model):
    """Compute the mean slope of log(virtual / truth) for each pair of stars."""
    virtual = model.redatum(coherent_from=test.x[source], nuisance_from=test.x)
    virtual = np.maximum(ops.convert_to_numpy(virtual), 0.05)
    # Weight pixels by the flux, because deep lines have little flux and much noise.
    weight = truth * test.axis
    logarithm = np.log(virtual / np.maximum(truth, 0.05))
    slope = (weight * logarithm).sum(-1) / (weight * test.axis).sum(-1)
    return slope.mean(axis=1)


temperature = test.state["temperature"]
difference = temperature - temperature[source]  # donor j minus displayed star i

fig = Figure(figsize=(7.2, 3.4), layout="constrained")
axes = fig.subplots(1, 2, sharex=True, sharey=True)
fits = {}
for ax, (name, model) in zip(
    axes, {"original": original, "conditional": conditional}.items(), strict=True
):
    excess = excess_slope(model)
    fits[name] = np.polyfit(difference, excess, 1)[0]
    ax.plot(difference, excess, "o", markersize=3, color="C0", alpha=0.7)
    ends = np.array([-2, 2])
    ax.plot(ends, 0.4 * ends, "k--", linewidth=1, label="predicted for $h(x)$")
    ax.axhline(0, color="0.45", linewidth=0.8)
    ax.set(
        title=f"{name} encoder", xlabel="temperature: donor \N{MINUS SIGN} star shown"
    )
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("excess slope of the virtual exposure")
axes[0].legend(frameon=False, loc="upper left")
display(fig)
display(
    Markdown(
        "Slope of the points: "
        + ", ".join(f"{name} {value:.3f}" for name, value in fits.items())
        + ". Predicted: 0.400 for the original and 0 for a perfect model."
    )
)
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# The points of the original encoder are close to the dashed line: the temperature of
# the donor is transferred with its nuisance. The points of the conditional encoder are
# close to zero, and $\bar s$ explains their scatter.
#
# The fitted slope is slightly smaller than predicted, for a known reason. In training,
# the nuisance code is noisy, so the decoder gives it less weight. For the rest, it uses
# the coherent code and shows $a\,z_j + (1 - a)\,0.4\,\tau_i$, where $a$ is the fitted
# slope divided by 0.4. With the measured $a$, the prediction becomes more accurate.

# %%
a = fits["original"] / 0.4
mixed = dataclasses.replace(
    test,
    state={**test.state, "temperature": a * wrong_temperature + (1 - a) * temperature},
    nuisance={**test.nuisance, "slope": a * test.nuisance["slope"]},
)
sharper = sk.evaluation.relative_error(
    mixed.virtual(source[:, None], group, instance), truth
)
display(
    Markdown(
        f"With $a$ = {a:.2f}: predicted redatuming error {sharper:.2f}, measured "
        f"{original_error:.2f}."
    )
)
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# Probes confirm the explanation. So does `nuisance_dependence`, which needs no truth
# and can therefore be used with measured data. It tests whether the nuisance codes of a
# group are closer to each other than to those of other groups. If the nuisances are
# drawn independently for each exposure, a code without leakage has the value 0.

# %%
probed = sk.data.simulate_exposures(60 if QUICK else 400, 8, seed=2)
rows = []
for name, model in {"original": original, "conditional": conditional}.items():
    leak = sk.evaluation.leakage(model, probed).state_from_nuisance["temperature"]
    rows.append((name, leak, sk.evaluation.nuisance_dependence(model, probed)))
rows.append(("predicted for the original", predicted_leak, np.nan))
heads = ["encoder", "R² of τ from the nuisance code", "nuisance dependence"]
table = pd.DataFrame(rows, columns=heads)
display(table.style.format(precision=3, na_rep=""))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# ## The effect of the conditional encoder
#
# The noise on $N$ increases the loss more if $N$ contains more information. Training
# therefore finds the smallest message that still allows the reconstruction. The decoder
# receives $C$, hence $\hat\tau = \tau + \bar s/0.4$, the temperature estimated from the
# whole group.
#
# - The original encoder does not receive $\hat\tau$ and has to send $z = 0.4\,\tau + s$
#   with the variance $0.16/3 + 0.15^2$.
# - The conditional encoder can subtract what the decoder already has and send
#   $z - 0.4\,\hat\tau = s - \bar s$, with a variance below $0.15^2$.
#
# The second message is smaller, so the same relative noise has less effect on the
# reconstruction. Minimising the loss therefore *leads* to the desired code. And
# $s - \bar s$ is specific to the exposure: combined with another star, it gives the
# slope $0.4\,\hat\tau_i + s_j - \bar s_j$.
#
# The remaining error is $\bar s_i - \bar s_j$, which no method can determine. Its
# variance decreases as $1/T$. This is the limit in the table. The two models must
# therefore also differ in another respect: more exposures help only the conditional
# one.

# %%
limit_over = [
    sk.evaluation.exposures_limit(n, n_states=N_LIMIT) for n in (1, 2, 4, 8, 16)
]
over = {
    name: sk.evaluation.error_over_instances(model, test).errors
    for name, model in {"original": original, "conditional": conditional}.items()
}
display(
    sk.plotting.plot_error_over_instances(
        [1, 2, 4, 8, 16],
        over,
        limit=limit_over,
        labels={"original": "original $h(x)$", "conditional": "conditional $h(x, C)$"},
    )
)

# %% [markdown]
# ## Advice for your own data
#
# For each nuisance, ask: can it be determined from *one* measurement if the object is
# unknown? For the amount of water vapour, the answer is yes, because water has its own
# lines. For the slope of a continuum, the gain of a detector, the depth of a seismic
# source, or the lighting in a photograph of an unknown object, the answer is no.
#
# <div class="admonition warning alert alert-warning">
# <p class="admonition-title"><b>Warning</b></p>
#
# If the answer is no for any nuisance:
#
# - Use the conditional encoder (the default) and as many instances per group as
#   possible.
# - Do not expect that more noise makes the original encoder work (exercise 1).
# - Even the best method attributes what is common to all instances of a group to the
#   object. If a spectrograph tilts *every* exposure of one star in the same way, the
#   data cannot distinguish this from a different star.
#
# </div>

# %% [markdown]
# ## Exercises
#
# **1.** Is the noise too weak? Train the original encoder on the entangled exposures
# with twice the noise, $\sigma = 1$.
#
# <details><summary>Solution</summary>
#
# ```python
# _, louder_error = fit(entangled=True, conditional=False, noise_strength=1.0)
# print(repr(louder_error))
# print(repr(original_error))
# ```
#
# The error does not disappear. Any code with which the decoder can show the slope of
# the exposure contains $z$. Noise reduces the accuracy of the code, but does not change
# what it contains.
#
# </details>
#
# **2.** Does the conditional encoder have a disadvantage where it is not needed? Train
# it on the identifiable exposures and compare it with the control.
#
# <details><summary>Solution</summary>
#
# ```python
# _, both_error = fit(entangled=False, conditional=True)
# print("conditional:", repr(both_error))
# print("original:   ", repr(control_error))
# ```
#
# After the full training, the two errors are close to each other and much lower than
# that of the mean swap. The conditional encoder has no noticeable disadvantage, so it
# is the default.
#
# </details>
#
# **3.** Derive the $1/T$ law of the limit. With $T$ exposures, the slope of the virtual
# exposure is wrong by $\bar s_i - \bar s_j$ if $\hat\tau$ is computed from the mean
# slope alone. Compare $2 \cdot 0.15^2/T$ times the mean of $x^2 F(x)^2$, divided by the
# variance of the truth, with `exposures_limit`. Why is the latter smaller for small
# $T$?
#
# <details><summary>Solution</summary>
#
# ```python
# variance = np.mean(truth.reshape(-1, truth.shape[-1]).var(axis=0))
# lever = np.mean((truth * test.axis) ** 2)
# for n in (1, 4, 16):
#     simple = 2 * 0.15**2 / n * lever / variance
#     best = sk.evaluation.exposures_limit(n, n_states=500)
#     print(f"T = {n:2d}   simple {simple:.4f}   limit {best:.4f}")
# ```
#
# The limit uses the prior: temperatures are between $-1$ and 1, and slopes have a
# standard deviation of 0.15. With few exposures, the best estimate gives the mean slope
# less weight (shrinkage). With many exposures, the two agree.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A model can reconstruct well even if its nuisance code is useless.
# - If one instance does not determine its nuisance, the original encoder $h(x)$ has to
#   encode the ambiguous sum, and redatuming transfers the state of the donor. The size
#   of the failure can be predicted.
# - $h(x, C)$ encodes only what the coherent code does not contain. Its error is close
#   to the limit, which decreases as $1/T$.
# - `nuisance_dependence` detects the failure without any truth. `leakage` and
#   `redatuming_error` measure its size on simulated data.
#
# Next: [tutorial 08](08_symae_on_images.ipynb) applies SymAE to images.
