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
# # 07 When SymAE fails
#
# **Aim.** See a model that reconstructs well and redatums badly, find the reason with
# pencil and paper, predict the size of the failure *before* training, and mend it. The
# case is common: one measurement alone often does not tell what belongs to the object
# and what to the instrument.
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
N_STARS = 160 if QUICK else 2000  # for training
N_TEST = 60 if QUICK else 300
EPOCHS = 10 if QUICK else 16
N_LIMIT = 100 if QUICK else 500  # stars for the average of the limit
NOT_TRAINED = "*Quick mode: the networks are undertrained, so the errors are large.*"

# %% [markdown]
# ## Two encoders
#
# The original SymAE ([Bharadwaj, Li & Demanet, 2021](https://arxiv.org/abs/2108.02537))
# reads the nuisance code of an instance from that instance alone,
#
# $$N[t] = h(x[t]) \qquad \text{(original)}.$$
#
# In tutorial 06 we used the default of this package, where the nuisance encoder also
# sees the coherent code of the group,
#
# $$N[t] = h(x[t], C) \qquad \text{(conditional)}.$$
#
# It is one argument, `conditional_nuisance`. It looks like a detail. It is not.

# %% [markdown]
# ## What one exposure does not tell
#
# A star of temperature $\tau$ has a continuum $e^{0.4\,\tau x}$: hot stars rise to one
# side, cool ones to the other ($x$ runs from $-1$ to 1, $\tau$ too). The instrument
# multiplies it by $1 + s\,x + k\,(x^2 - \tfrac13)$, with a slope $s$ and a curvature
# $k$ that are drawn anew for each exposure. To first order
#
# $$e^{0.4\,\tau x}\,(1 + s x) \approx 1 + (0.4\,\tau + s)\,x .$$
#
# **Only the sum $z = 0.4\,\tau + s$ is seen.** Here are two exposures with all lines
# alike: a warm star under an instrument that tilts one way, and a cool star under one
# that tilts the other way.

# %%
one = sk.data.simulate_exposures(n_states=1, n_instances=1, seed=4)


def exposure(temperature, slope, curvature):
    """The noiseless exposure of one star with these three numbers put in."""
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
bottom.axhspan(-0.01, 0.01, color="0.85", label="noise of one exposure (±1 s.d.)")
bottom.plot(one.axis, warm - cool, color="black", linewidth=0.9)
bottom.set(xlabel=one.axis_label, ylabel="difference", ylim=(-0.025, 0.025))
bottom.legend(frameon=False, loc="lower left")
for ax in (top, bottom):
    ax.spines[["top", "right"]].set_visible(False)
display(fig)
largest = np.abs(warm - cool).max()
display(Markdown(f"Largest difference: {largest:.4f}; the noise is 0.0100."))

# %% [markdown]
# No encoder, however deep, can tell the two apart from such an exposure. But the
# *group* tells: over $T$ exposures of one star the mean of $s$ tends to 0, so that the
# mean of $z$ tends to $0.4\,\tau$.

# %% [markdown]
# ## A prediction
#
# What will the original encoder do? The reconstruction must show the slope $z$ of each
# exposure. The coherent code knows $\tau$ only up to $\bar s$, and not $s[t]$, so the
# slope must come, at least in part, through $N[t] = h(x[t])$. From $x[t]$ the encoder
# can read $z$, and nothing better. So $N$ carries $z$, and with it the temperature.
#
# Now swap. The virtual exposure of star $i$ under an exposure of star $j$ should have
# the slope $0.4\,\tau_i + s_j$. A decoder that takes the slope from $N_j$ gives it
# $z_j = 0.4\,\tau_j + s_j$ instead: everything is right but the temperature, still that
# of the *other* star. It cannot help it: in the reconstruction, which is all that it
# was trained for, $z$ *is* the slope to show, whatever the star.
#
# We can compute what this costs without training anything: render the virtual exposures
# with the temperature of the wrong star, and compare with the truth.

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
# The same reasoning gives the leak. A probe that reads $\tau$ from $z$ has at best the
# share of the variance of $z$ that is due to the star. (That is the score of the best
# *linear* probe; as $\tau$ is uniform, not Gaussian, a nonlinear one does a little
# better.)
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
# Three models with the same networks, codes, noise and number of steps:
#
# 1. the original encoder on *identifiable* exposures, whose stars have no slope of
#    their own. This is the control: if it fails too, the reason is another one;
# 2. the original encoder on the entangled exposures described above;
# 3. the conditional encoder on the same.


# %%
def fit(entangled, conditional, noise_strength=0.5):
    """Train a SymAE; the model and the errors on new stars."""
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
    judged = sk.data.simulate_exposures(N_TEST, 16, seed=1, entangled=entangled)
    return model, sk.evaluation.redatuming_error(model, judged)


control, control_error = fit(entangled=False, conditional=False)
original, original_error = fit(entangled=True, conditional=False)
conditional, conditional_error = fit(entangled=True, conditional=True)

# %%
limit = sk.evaluation.exposures_limit(n_instances=16, n_states=N_TEST, seed=1)
rows = [
    ("identifiable, original $h(x)$", control_error, "0"),
    ("entangled, original $h(x)$", original_error, f"{predicted:.2f}, predicted"),
    ("entangled, conditional $h(x, C)$", conditional_error, f"{limit:.4f}, limit"),
]
lines = [
    "| exposures, encoder | reconstruction | redatuming | theory | mean swap |",
    "|---|---|---|---|---|",
]
for name, e, theory in rows:
    lines.append(
        f"| {name} | {e.reconstruction:.4f} | **{e:.4f}** | {theory} "
        f"| {e.mean_swap:.4f} |"
    )
display(Markdown("\n".join(lines)))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# Once trained, all three reconstruct well: nothing in the loss gives the second model
# away. It is its redatuming error that does, and it is far worse than that of the mean
# swap, which has learnt nothing at all. The control shows that the architecture is
# sound where one instance identifies its nuisance.
#
# ## Is it failing for the reason we think?
#
# A failure of the predicted size is good evidence, but we can look closer. If the
# virtual exposure shows the temperature of the nuisance source, then the logarithm of
# virtual over truth has the slope $0.4\,(\tau_j - \tau_i)$. Measure it for every pair.


# %%
def excess_slope(model):
    """Slope of log(virtual / truth), averaged over the exposures of each pair."""
    virtual = model.redatum(coherent_from=test.x[source], nuisance_from=test.x)
    virtual = np.maximum(ops.convert_to_numpy(virtual), 0.05)
    # Deep lines have little flux and much noise: weigh pixels by the flux.
    weight = truth * test.axis
    logarithm = np.log(virtual / np.maximum(truth, 0.05))
    slope = (weight * logarithm).sum(-1) / (weight * test.axis).sum(-1)
    return slope.mean(axis=1)


temperature = test.state["temperature"]
difference = temperature - temperature[source]  # of the donor j and the star i shown

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
    ax.axhline(0, color="0.6", linewidth=0.8)
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
        + "; predicted 0.400 for the original and 0 for a perfect model."
    )
)
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# The original encoder's points lie near the dashed line: the donor's temperature comes
# along with its nuisance. The conditional one's lie along zero, with a scatter that
# $\bar s$ explains.
#
# The fit is a little flatter than predicted, and that can be understood as well. In
# training the decoder sees the slope through a noisy channel, and what is noisy is
# trusted in part only. For the rest it leans on the coherent code, and shows
# $a\,z_j + (1 - a)\,0.4\,\tau_i$, where $a$ is the slope of the fit over 0.4. With the
# $a$ that we found, the prediction becomes sharper.

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
# Probes tell the same story, and so does a number that needs no truth at all and
# therefore serves for measured data: `nuisance_dependence`, which asks whether the
# nuisance codes of a group are closer to each other than to those of other groups.
# Where nuisances are drawn afresh for each exposure, a clean code has 0.

# %%
probed = sk.data.simulate_exposures(60 if QUICK else 400, 8, seed=2)
lines = [
    "| encoder | τ from nuisance code, R² | nuisance dependence |",
    "|---|---|---|",
]
for name, model in {"original": original, "conditional": conditional}.items():
    leak = sk.evaluation.leakage(model, probed).state_from_nuisance["temperature"]
    dependence = sk.evaluation.nuisance_dependence(model, probed)
    lines.append(f"| {name} | {leak:.2f} | {dependence:.3f} |")
lines.append(f"| predicted for the original | {predicted_leak:.2f} | |")
display(Markdown("\n".join(lines)))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# ## Why the conditional encoder mends it
#
# The noise makes the channel $N$ expensive, so the cheapest message that still allows
# the reconstruction wins. The decoder knows $C$, hence $\hat\tau = \tau + \bar s/0.4$,
# the temperature as the whole group shows it.
#
# - The original encoder cannot know $\hat\tau$ and has to send $z = 0.4\,\tau + s$,
#   whose variance is $0.16/3 + 0.15^2$.
# - The conditional encoder may subtract what the decoder knows already and send
#   $z - 0.4\,\hat\tau = s - \bar s$, whose variance is less than $0.15^2$.
#
# The second message is smaller, so it survives the same relative noise better:
# minimising the loss *leads* the encoder to the code that we want. And $s - \bar s$
# belongs to the exposure alone: put into another star, it gives the slope
# $0.4\,\hat\tau_i + s_j - \bar s_j$.
#
# What is left is $\bar s_i - \bar s_j$, which no method can know. Its variance falls as
# $1/T$, and that is the limit in the table. So the two models must differ in one more
# respect: more exposures help the conditional one only.

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
# ## What to take home for your own data
#
# Ask of each nuisance: could I name it from *one* measurement, if I did not know the
# object? Amounts of water vapour: yes, by their own lines. The slope of a continuum,
# the gain of a detector, the depth of a seismic source, the lighting of a photograph of
# an unknown object: no. If the answer is no for any of them,
#
# - use the conditional encoder (the default), and as many instances a group as there
#   are;
# - do not hope that more noise will help the original one (exercise 1);
# - remember what even the best method cannot know: what is common to all instances of a
#   group is told to be the object's. A spectrograph that tilts *every* exposure of one
#   star in the same way has changed the star, as far as the data can tell.

# %% [markdown]
# ## Exercises
#
# **1.** Perhaps the channel is merely too cheap? Train the original encoder on the
# entangled exposures with twice the noise, $\sigma = 1$.
#
# <details><summary>Solution</summary>
#
# ```python
# _, louder_error = fit(entangled=True, conditional=False, noise_strength=1.0)
# print(repr(louder_error))
# print(repr(original_error))
# ```
#
# The error stays of the same kind: any code that lets the decoder show the slope of the
# exposure carries $z$. Noise can make the message worse, but not other.
#
# </details>
#
# **2.** Does the conditional encoder cost anything where it is not needed? Train it on
# the identifiable exposures and compare with the control.
#
# <details><summary>Solution</summary>
#
# ```python
# _, both_error = fit(entangled=False, conditional=True)
# print("conditional:", repr(both_error))
# print("original:   ", repr(control_error))
# ```
#
# The errors are close, and far below the mean swap's once the networks are trained:
# there is no price worth speaking of, which is why it is the default.
#
# </details>
#
# **3.** Derive the limit's $1/T$ law. With $T$ exposures the slope of the virtual
# exposure is wrong by $\bar s_i - \bar s_j$ if $\hat\tau$ is taken from the mean slope
# alone. Compare $2 \cdot 0.15^2/T$ times the mean of $x^2 F(x)^2$, over the variance of
# the truth, with `exposures_limit`. Why is the latter smaller at small $T$?
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
# The limit knows that temperatures lie between $-1$ and 1 and that slopes scatter by
# 0.15: with few exposures it trusts the mean slope less (it shrinks its guess), while
# for many the two agree.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A good reconstruction is compatible with a useless nuisance code.
# - Where one instance does not identify its nuisance, the original encoder $h(x)$ must
#   send the confused sum, and redatuming carries the donor's state along. The size of
#   the failure can be predicted.
# - $h(x, C)$ sends only what the group does not know yet; it comes near the limit,
#   which falls as $1/T$.
# - `nuisance_dependence` warns without any truth; `leakage` and `redatuming_error` say
#   how much, on simulated data.
#
# Next: tutorial 08 takes SymAE to images.
