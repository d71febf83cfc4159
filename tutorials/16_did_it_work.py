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
# # 16 Did it work?
#
# **Aim.** Decide whether a trained model separates state from nuisance although the
# true virtual instances of measured data are unknown. You estimate the redatuming error
# and its three parts, draw bands around virtual spectra, find new data that the model
# does not cover, and read the report of a run. At the end you see data for which the
# estimate is wrong, and the warning about them.
#
# **Prerequisites.** Tutorial 06 (SymAE, redatuming error, leakage).
#
# **Time.** About 3 minutes on two CPU cores
# ([measured times](../docs/tutorials.md#running-times)).

# %% tags=["install", "hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Installation
# If the package is installed, nothing happens. Otherwise this cell installs a wheel
# from the folder of the notebook, the sources that the notebook is part of, or the
# released package.
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
import json
import logging
import os
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
from IPython.display import Image, display
from keras import ops
from matplotlib import style
from matplotlib.figure import Figure

import symae_keras as sk

# %matplotlib inline
style.use("tableau-colorblind10")
keras.utils.set_random_seed(0)
logging.getLogger("symae_keras").addHandler(logging.StreamHandler())

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_HELD_OUT = 60 if QUICK else 200  # stars
N_PROBED = 30 if QUICK else 200
N_PAIRS = 20 if QUICK else 100  # to test bands with
N_TRAIN = 60 if QUICK else 200  # stars of the run on the command line
EPOCHS = 1 if QUICK else 60
NUISANCE, VIRTUAL = "#D55E00", "#009E73"  # colours, as in the figures of the package

# %% [markdown]
# ## Two models
#
# Both models below are SymAE with codes of 8 + 8 numbers. They were trained on the same
# stars of tutorial 06. We show them stars that they have never seen. On the left, each
# model reconstructs an exposure. On the right, it shows the same star under the
# conditions of another star's exposure. The black line is the truth, which only a
# simulation has.

# %%
groups = sk.data.simulate_exposures(N_HELD_OUT, 16, seed=16)
model_a = sk.zoo.load("symae_exposures")
model_b = sk.zoo.load("symae_exposures_original")
models = {"model A": model_a, "model B": model_b}

# The stars whose temperatures differ most: an error of the swap is large there.
temperature = groups.state["temperature"]
star, donor = int(temperature.argmin()), int(temperature.argmax())
pair = groups[[star, donor]]

fig = Figure(figsize=(7.2, 4.6), layout="constrained")
axes = fig.subplots(2, 2, sharex=True, sharey=True)
for row, (name, model) in zip(axes, models.items(), strict=True):
    again = ops.convert_to_numpy(model.reconstruct(pair.x))[0, 0]
    swapped = ops.convert_to_numpy(model.redatum(pair.x[:1], pair.x[1:]))[0, 0]
    row[0].plot(groups.axis, pair.x[0, 0], color="black", linewidth=2.2)
    row[0].plot(groups.axis, again, color=VIRTUAL, linewidth=0.9)
    row[0].set_title(f"{name}: reconstruction", loc="left", fontsize=11)
    truth = groups.virtual(star, donor, 0)
    lines = [
        *row[1].plot(groups.axis, pair.x[1, 0], color=NUISANCE, linewidth=0.9),
        *row[1].plot(groups.axis, truth, color="black", linewidth=2.2),
        *row[1].plot(groups.axis, swapped, color=VIRTUAL, linewidth=0.9),
    ]
    row[1].set_title(f"{name}: virtual exposure", loc="left", fontsize=11)
for ax in axes.flat:
    ax.spines[["top", "right"]].set_visible(False)
names = ["nuisance source (another star)", "truth", "model"]
fig.legend(lines, names, loc="outside upper center", ncols=3, frameon=False)
fig.supxlabel(groups.axis_label, fontsize=11)
fig.supylabel("flux (relative)", fontsize=11)
display(fig)

# %% [markdown]
# Both reconstruct well. The virtual exposure of model B, however, follows the nuisance
# source: this model stores the star in its nuisance codes. **A low reconstruction error
# does not show that a model works.** With measured data there is no black line on the
# right. How can we find out?
#
# ## The estimate
#
# `estimate_redatuming_error` needs held-out groups only. If a coherent code misses a
# part $e_i$ of the state of group $i$, the nuisance codes of this group must contain
# it, because the group is reconstructed well. In a swap of codes between $i$ and $j$,
# the parts do not cancel, and the virtual instance has the error $e_j - e_i$. The
# [derivation](../docs/did_it_work.md) leads to three parts,
#
# $$\hat E = R + 2 K + 2 S.$$
#
# | part | name | how it is measured |
# |---|---|---|
# | $R$ | reconstruction error | reconstruct held-out groups |
# | $K$ | nuisance in the coherent code | compare the codes of two halves of a group |
# | $S$ | state in the nuisance code | decode all nuisance codes with one state |

# %%
estimates = {
    name: sk.evaluation.estimate_redatuming_error(model, groups)
    for name, model in models.items()
}
for name, estimate in estimates.items():
    print(f"{name}. {estimate.verdict()}\n")

# %% [markdown]
# The verdicts name the fault of model B, and what to change. We compare more models,
# among them two linear ones, which train in a second. The data are simulated, so that
# we know the true error as well.

# %%
train = sk.data.simulate_exposures(100 if QUICK else 1000, 8, seed=0)
models["GVAE"] = sk.zoo.load("gvae_exposures")
models["mean swap"] = sk.classical.MeanSwap().fit(train)
models["grouped PCA"] = sk.classical.GroupedPCA().fit(train)
truths = {}
for name, model in models.items():
    estimates[name] = sk.evaluation.estimate_redatuming_error(model, groups)
    truths[name] = sk.evaluation.redatuming_error(model, groups)


def table_of(estimates, truths):
    """Return estimates, their parts and the true errors."""
    rows = {
        name: {
            "R": each.reconstruction,
            "2 K": 2 * each.nuisance_in_state,
            "2 S": 2 * each.state_in_nuisance,
            "estimate": float(each),
            "90 % interval": f"{each.interval[0]:.3f} to {each.interval[1]:.3f}",
            "true error": float(truths[name]),
        }
        for name, each in estimates.items()
    }
    return pd.DataFrame(rows).T.infer_objects().style.format("{:.3f}", subset=NUMBERS)


NUMBERS = ["R", "2 K", "2 S", "estimate", "true error"]
display(table_of(estimates, truths))
display(sk.plotting.plot_estimates(estimates, truth=truths))

# %% [markdown]
# The estimate puts the models in the right order and finds the two that failed. The
# column $R$, the reconstruction error, does not. With few held-out groups, the estimate
# of a good model is too high, because $S$ is uncertain and never negative. The estimate
# also contains the noise of the measurement, about 0.003. Its attribute `noise` is
# this part.
#
# The black lines are intervals from a bootstrap over groups: they contain the
# uncertainty due to the choice of held-out groups, but not a bias of the method.
# [Measured on 69 models](../docs/did_it_work.md), the estimate without noise is 0.57 to
# 1.16 times the true error, and mostly closer. For images it is often too low.
#
# ## How many held-out groups?
#
# The interval answers this question for your data.

# %%
rows = {}
for count in (10, 20, 50, N_HELD_OUT):
    each = sk.evaluation.estimate_redatuming_error(model_a, groups[:count])
    rows[count] = {"estimate": each, "from": each.interval[0], "to": each.interval[1]}
table = pd.DataFrame(rows).T.rename_axis("held-out groups").astype(float)
display(table.style.format("{:.3f}"))

# %% [markdown]
# Ten groups are enough to find a model that failed. To choose between two good models,
# use as many as you can.
#
# ## Bands
#
# The estimate is an average over all virtual instances. Scientific work needs the error
# of one. `Bands` calibrates a region around each virtual spectrum, again on held-out
# groups alone. With a probability of 90 % it contains the **whole** true spectrum, all
# pixels at once.

# %%
new = sk.data.simulate_exposures(2 * N_PAIRS, 16, seed=17)
state_from, nuisance_from = new[:N_PAIRS], new[N_PAIRS:]
stars = np.arange(N_PAIRS)[:, None]
truth = new.virtual(stars, N_PAIRS + stars, np.arange(16))
rows, regions = {}, {}
for name in ("model A", "model B"):
    bands = sk.evaluation.Bands.fit(models[name], groups, level=0.9)
    lower, upper = bands.of(state_from, nuisance_from)
    inside = ((lower <= truth) & (truth <= upper)).all(axis=-1)
    rows[name] = {"coverage": inside.mean(), "mean width": (upper - lower).mean()}
    regions[name] = lower, upper
display(
    pd.DataFrame(rows).T.style.format({"coverage": "{:.1%}", "mean width": "{:.3f}"})
)

fig = Figure(figsize=(7.2, 2.9), layout="constrained")
for ax, (name, (lower, upper)) in zip(
    fig.subplots(1, 2, sharex=True, sharey=True), regions.items(), strict=True
):
    shade = ax.fill_between(
        new.axis, lower[0, 0], upper[0, 0], color=VIRTUAL, alpha=0.45, linewidth=0
    )
    (line,) = ax.plot(new.axis, truth[0, 0], color="black", linewidth=0.9)
    ax.set_title(name, loc="left", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
fig.legend(
    [shade, line], ["90 % band", "truth"], loc="outside upper center", ncols=2,
    frameon=False,
)  # fmt: skip
fig.supxlabel(new.axis_label, fontsize=11)
fig.supylabel("flux (relative)", fontsize=11)
display(fig)

# %% [markdown]
# The bands of both models cover the truth at least as often as they promise. Those of
# model B are so wide that its virtual spectra are useless, which is the right answer.
#
# ## Leakage
#
# The estimate measures *how much* of the state is in the nuisance code. A probe shows
# *what*: it is a small network that predicts a known property from a code, see tutorial
# 06. For measured data, give the properties that you know, such as a class or a
# concentration.

# %%
probed = sk.data.simulate_exposures(N_PROBED, 8, seed=18)
rows = {}
for name in ("model A", "model B"):
    found = sk.evaluation.leakage(models[name], probed)
    rows[f"{name}, nuisance code"] = found.state_from_nuisance
    rows[f"{name}, coherent code"] = found.state_from_coherent
table = pd.DataFrame(rows).T.rename_axis("R² of the state from")
display(table.style.format("{:.2f}"))

# %% [markdown]
# An R² of 1 is a perfect prediction. Values near 0 or below mean that the probe found
# nothing. The nuisance codes of model B contain the temperature of the star: its slope
# looks like the slope of the instrument in a single exposure, and this model encodes
# each exposure without a look at the group.
#
# ## New data
#
# The estimate holds for groups like the held-out ones. `NewData` compares new groups
# with them and names the most unusual property.

# %%
detector = sk.evaluation.NewData.fit(model_a, groups)
wrong = state_from.x.copy()
wrong[:, 3] = nuisance_from.x[:, 3]  # one exposure of another star in each group
cases = {
    "as before": state_from,
    "brighter by 10 %": sk.data.GroupedData(1.1 * state_from.x),
    "shifted by a pixel": sk.data.GroupedData(np.roll(state_from.x, 1, axis=-1)),
    "one wrong exposure": sk.data.GroupedData(wrong),
}
rows = {}
for name, each in cases.items():
    check = detector.check(each)
    unusual = check.group_p <= 0.05
    reasons = pd.Series(check.group_reason[unusual]).value_counts()
    rows[name] = {
        "groups with p ≤ 0.05": f"{unusual.mean():.0%}",
        "most frequent reason": reasons.index[0] if len(reasons) else "",
    }
display(pd.DataFrame(rows).T)
print("\n".join(detector.check(cases["one wrong exposure"]).warnings()[:2]))

# %% [markdown]
# With p ≤ 0.05, about 5 % of normal groups are false alarms. `Bands.of` and `symae
# redatum` log such warnings without being asked.
#
# ## The report of a run
#
# `symae train` does all of this at its end and writes `report.html` into the folder of
# the run. The following cell trains a model on a small file as a user would. `symae
# report run` writes the report again, for example with `--data` and other groups.

# %%
measured = sk.data.simulate_exposures(N_TRAIN, 8, seed=19)
np.savez("spectra.npz", x=measured.x, axis=measured.axis, axis_label="wavelength")


def symae(*arguments):
    """Run a command of the package and return what it prints."""
    command = [sys.executable, "-m", "symae_keras.cli", *map(str, arguments)]
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}  # no colours in the text
    plain.pop("FORCE_COLOR", None)
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=plain
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


settings = "--data spectra.npz --out run --epochs".split()
print(symae("train", "symae_exposures", *settings, EPOCHS))

# %%
if not QUICK:  # it starts TensorFlow once more
    print(symae("report", "run"))
figures = sorted(path.name for path in Path("run/figures").glob("*.png"))
print(", ".join(figures))
display(Image("run/figures/redatuming.png", width=700))

# %% [markdown]
# Open `run/report.html` in a browser: the verdict is on top. Below are the parts of the
# estimate next to linear methods, learning curves, groups before and after redatuming,
# and the next commands. The numbers are in `run/metrics.json`, too.

# %%
metrics = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))
numbers = {k: v for k, v in metrics.items() if isinstance(v, float)}
display(pd.Series(numbers, name="metrics.json").to_frame().style.format("{:.4g}"))

# %% [markdown]
# ## Where the estimate fails
#
# All of this assumes that **nuisances are independent of groups**. Suppose that a star
# is observed in a single night. The water in the air and the response of the instrument
# are then nearly the same in all its exposures, and *nothing* in the data separates
# them from the star.
#
# We simulate 40 nights and observe each star in 1, 2, 4 or 8 of them. Then we train the
# linear model `GroupedPCA` on half of the stars of each data set.


# %%
def observe(n_stars, n_nights, seed):
    """Exposures of stars, eight each, in few nights per star."""
    rng = np.random.default_rng(seed)
    groups = sk.data.simulate_exposures(n_stars, 8, seed=seed)
    conditions = sk.data.simulate_exposures(40, 1, seed=99).nuisance
    few = np.array([rng.choice(40, n_nights, replace=False) for _ in range(n_stars)])
    night = np.repeat(few, 8 // n_nights, axis=1)
    nuisance = {
        # Conditions change little within a night; the velocity does not depend on it.
        name: 0.9 * conditions[name][night, 0] + 0.1 * own
        for name, own in groups.nuisance.items()
        if name != "velocity"
    }
    nuisance["velocity"] = groups.nuisance["velocity"]
    groups = dataclasses.replace(
        groups, nuisance=nuisance, instance_metadata={"night": night.astype(str)}
    )
    star, exposure = np.indices(night.shape)
    groups.x[:] = groups.virtual(star, star, exposure)
    groups.x[:] += 0.01 * rng.standard_normal(groups.x.shape)
    return groups


rows = {}
for n_nights in (1, 2, 4, 8):
    nights = observe(120 if QUICK else 600, n_nights, seed=n_nights)
    half = len(nights) // 2
    linear = sk.classical.GroupedPCA().fit(nights[:half])
    estimate = sk.evaluation.estimate_redatuming_error(linear, nights[half:])
    true = sk.evaluation.redatuming_error(linear, nights[half:])
    shares = sk.evaluation.confounded_metadata(nights[half:])
    rows[n_nights] = {
        "estimate": float(estimate),
        "true error": float(true),
        "estimate / true": estimate / true,
        "night: share between stars": shares.get("night", 0.0),
    }
table = pd.DataFrame(rows).T.rename_axis("nights per star")
display(table.style.format("{:.3f}"))

# %% [markdown]
# With one night per star, the estimate is far too low, and more stars do not help. More
# nights per star do: with four or eight of them, estimate and truth nearly agree.
#
# The text above the table is the warning. It appears only because these data have a
# column `night` in their metadata, and `confounded_metadata` compares the variance of
# each column between groups with that within groups. **Record what changes between
# measurements: date, instrument, operator, batch.** Without such a column, no method
# can find the problem.

# %% [markdown]
# ## Exercises
#
# **1.** Does the estimate depend on the random donors? Repeat it for model A with five
# seeds, and compare the spread with the interval.
#
# <details><summary>Solution</summary>
#
# ```python
# for seed in range(5):
#     each = sk.evaluation.estimate_redatuming_error(model_a, groups, seed=seed)
#     print(f"{each:.4f}", [round(end, 4) for end in each.interval])
# ```
#
# The spread is much smaller than the interval: the choice of groups matters more than
# the choice of donors.
#
# </details>
#
# **2.** How does the true error of model A change with the number of exposures per
# star? Does the estimate follow, and which part changes?
#
# <details><summary>Solution</summary>
#
# ```python
# for count in (2, 4, 8, 16):
#     fewer = groups.take_instances(np.arange(count))
#     each = sk.evaluation.estimate_redatuming_error(model_a, fewer)
#     print(count, each, sk.evaluation.redatuming_error(model_a, fewer))
# ```
#
# The nuisance in the coherent code falls as one over the number of exposures: a mean of
# more exposures contains less nuisance.
#
# </details>
#
# **3.** Remove the metadata from the stars with one night each. Is there still a
# warning? Look at the p-values of `NewData` for stars of other nights: is that a way to
# find the problem?
#
# <details><summary>Solution</summary>
#
# ```python
# silent = dataclasses.replace(observe(200, 1, seed=5), instance_metadata={})
# linear = sk.classical.GroupedPCA().fit(silent[:100])
# print(sk.evaluation.confounded_metadata(silent))
# print(sk.evaluation.estimate_redatuming_error(linear, silent[100:]))
# detector = sk.evaluation.NewData.fit(linear, silent[100:])
# print(np.mean(detector.check(observe(100, 8, seed=6)).group_p <= 0.05))
# ```
#
# There is no warning. `NewData` can find that *new* stars with several nights differ,
# but only because we have such stars: it compares data sets, and does not find a fault
# that all groups share.
#
# </details>

# %% [markdown]
# ## Summary
#
# - The reconstruction error does not show whether a model works.
# - `estimate_redatuming_error` estimates the error of virtual instances from held-out
#   groups, and its parts show what to change.
# - `Bands` gives the error of single virtual spectra, and `NewData` finds groups that
#   the estimate does not hold for.
# - The estimate is too low if nuisances depend on groups. Metadata can reveal this, so
#   record them.
