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
# # 09 Your own spectra
#
# **Aim.** Go the whole way from files of measured spectra to a result, on a job of
# everyday chemistry: *calibration transfer*. The same tablets were measured on two
# near-infrared spectrometers; predict what the first would show from a spectrum of the
# second. Compare SymAE with the classical methods, and be honest about which wins.
#
# **Prerequisites.** Tutorial 06 (SymAE); linear regression. What a spectrum is.
#
# **Time.** About 5 minutes on two CPU cores
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
import csv
import os
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from sklearn.linear_model import RidgeCV

import symae_keras as sk

# %matplotlib inline
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_PAIRS = 100 if QUICK else 300  # training tablets measured on both instruments
N_SINGLE = 20 if QUICK else 60  # and on one of them only
N_TEST = 60 if QUICK else 200
FEW_PAIRS = [] if QUICK else [30, 100]  # smaller sets to train on, too
STEPS = 300 if QUICK else 1500
FOLDER = Path(tempfile.mkdtemp())  # for all files of this notebook

# %% [markdown]
# ## Where your data go
#
# **If you have files of your own, jump to "Load" below and put their name there.** What
# comes before it stands in for a laboratory: a small simulator of tablets and of two
# spectrometers, so that this notebook runs without any download.
#
# A tablet is a mixture of four substances. Each has six absorption bands; moisture
# moves them a little. By Beer and Lambert's law the absorbance is a sum,
# $A(\lambda) = \ell \sum_k c_k\, \varepsilon_k(\lambda)$ with concentrations $c_k$ and
# the path length $\ell$, and a detector sees the transmittance $10^{-A}$.

# %%
WAVELENGTH = np.linspace(1100.0, 1900.0, 128)  # nm, the pixels of both instruments
FINE = np.linspace(1000.0, 2000.0, 501)  # nm, what happens in the tablet
bands = np.random.default_rng(42)  # belongs to the substances, not to the tablets
CENTRE = bands.uniform(1080, 1920, (4, 6))
WIDTH = bands.uniform(12, 45, (4, 6))
HEIGHT = bands.uniform(0.1, 0.5, (4, 6))
MOVE = bands.uniform(-12, 12, (4, 6))  # nm, with moisture from -1 to 1


def make_tablets(n, rng):
    """Concentrations, and the transmittance on the fine grid."""
    concentration = rng.uniform(0.1, 1.0, (n, 4))
    moisture = rng.uniform(-1, 1, (n, 1, 1))
    path = np.exp(rng.uniform(-0.1, 0.1, (n, 1)))
    offset = FINE - (CENTRE + MOVE * moisture)[..., None]
    pure = HEIGHT[..., None] * np.exp(-0.5 * (offset / WIDTH[..., None]) ** 2)
    absorbance = path * np.einsum("nk,nkbf->nf", concentration, pure)
    return concentration, 10.0**-absorbance


# %% [markdown]
# The second instrument is a cheaper one. Its resolution is five times coarser, its
# wavelengths are off by 2 to 10 nm, some light reaches the detector around the tablet
# (*stray light*, which bends the scale of absorbance), and scale and baseline differ.
# On both, placing a tablet adds an offset and a slope at random, anew each time, and
# the detector adds noise.

# %%
INSTRUMENTS = [
    {"fwhm": 8, "shift": 0, "stretch": 0, "stray": 0.0, "gain": 1.0, "base": 0.0},
    {"fwhm": 40, "shift": 6, "stretch": 4, "stray": 0.03, "gain": 0.92, "base": 0.08},
]
U = np.linspace(-1, 1, len(WAVELENGTH))  # wavelength, from -1 to 1


def measure(transmittance, instrument, rng):
    """Absorbance spectra of tablets, as an instrument shows them."""
    seen = WAVELENGTH + instrument["shift"] + instrument["stretch"] * U
    sigma = instrument["fwhm"] / 2.355
    response = np.exp(-0.5 * ((FINE - seen[:, None]) / sigma) ** 2)
    response /= response.sum(axis=1, keepdims=True)
    light = (transmittance @ response.T + instrument["stray"]) / (
        1 + instrument["stray"]
    )
    spectra = -instrument["gain"] * np.log10(light) + instrument["base"]
    offset, slope = rng.normal(0, 0.03, (2, len(spectra), 1))
    return spectra + offset + slope * U + rng.normal(0, 0.002, spectra.shape)


def measure_tablets(n, seed):
    """Spectra (tablets, instruments, pixels), and what a chemist finds in each."""
    rng = np.random.default_rng(seed)
    concentration, transmittance = make_tablets(n, rng)
    spectra = [measure(transmittance, each, rng) for each in INSTRUMENTS]
    return np.stack(spectra, axis=1).astype("float32"), 100 * concentration[:, 0]


x, assay = measure_tablets(N_PAIRS + N_SINGLE, seed=0)
mask = np.ones(x.shape[:2], bool)
mask[N_PAIRS:, 0] = np.arange(N_SINGLE) % 2 == 0  # the last ones: one or the other
mask[N_PAIRS:, 1] = ~mask[N_PAIRS:, 0]

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for tablet, line in zip(range(2), ("-", "--"), strict=True):
    for n in range(2):
        label = f"tablet {tablet + 1}, instrument {n + 1}"
        ax.plot(WAVELENGTH, x[tablet, n], line, color=f"C{n}", label=label)
ax.set(xlabel="wavelength (nm)", ylabel="absorbance")
ax.legend(frameon=False, ncols=2, fontsize="small")
display(fig)
plt.close(fig)

# %% [markdown]
# ## Write the files
#
# **A table.** One row a spectrum; a column `group`, the name of the thing that was
# measured; one column a pixel, whose header is the wavelength. Other columns, such as
# `instrument`, are kept as metadata. A spreadsheet can write this.

# %%
names = [f"tablet {n:03d}" for n in range(len(x))]
with (FOLDER / "tablets.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["group", "instrument", *(f"{w:.2f}" for w in WAVELENGTH)])
    for n, t in np.argwhere(mask):
        table.writerow([names[n], t + 1, *(f"{value:.5f}" for value in x[n, t])])

for line in (FOLDER / "tablets.csv").read_text().splitlines()[:3]:
    print(line[:60], "...")

# %% [markdown]
# **Arrays.** In an `.npz` file the instruments have a fixed *place*: `x` has the axes
# (groups, instances, pixels), and `mask` is True where there is a spectrum. What stands
# in the other places does not matter. Arrays with one entry for each group, such as
# `assay`, the milligrams of active substance that the chemist found, are kept as well.

# %%
np.savez(
    FOLDER / "tablets.npz",
    x=np.where(mask[..., None], x, 0.0),
    mask=mask,
    ids=names,
    axis=WAVELENGTH,
    axis_label="wavelength (nm)",
    assay=assay,
)

# %% [markdown]
# ## Load, and look before you train
#
# With data of your own, put the path of your file here. `describe` says what was found,
# and warns where nothing can be learned.

# %%
train = sk.data.load(FOLDER / "tablets.npz")
display(Markdown(f"```text\n{train.describe()}\n```"))

# %% [markdown]
# Load the table as well, since it holds a trap that real data have too. In a table a
# spectrum's place in its group is the order of its rows. Which instrument stands first?

# %%
from_table = sk.data.load(FOLDER / "tablets.csv")
first = from_table.instance_metadata["instrument"][:, 0]
display(
    Markdown(
        f"Of {len(from_table)} groups of the table, {int((first == 1).sum())} have "
        f"instrument 1 in the first place and {int((first == 2).sum())} have "
        "instrument 2 there: the tablets that were measured on instrument 2 alone."
    )
)

# %% [markdown]
# SymAE does not care: the order of the instances means nothing to it. Classical
# transfer methods do, for them place *is* instrument. So from here on we use the
# arrays.
#
# ## How to judge
#
# New tablets were measured on both, so that we can compare with the truth, but the
# methods see instrument 2 only. We look at three numbers.
#
# - The **error**: mean squared error over the variance of the true spectra.
# - The **baseline-free error**. The placement adds an offset and a slope to every
#   measurement, the truth included, which no method can foresee. So take off the best
#   quadratic in wavelength from both and compare what is left.
# - The **assay error**, for which one transfers at all: a regression that was
#   calibrated on instrument 1 reads the active substance from the transferred spectra.

# %%
new, new_assay = measure_tablets(N_TEST, seed=1)
truth, given = new[:, 0], new[:, 1]

quadratics = np.linalg.qr(np.vander(U, 3))[0]
both = train[train.present.all(axis=1)]
calibration = RidgeCV(np.logspace(-6, 3, 28)).fit(
    both.x[:, 0], both.group_metadata["assay"]
)


def without_baseline(spectra):
    """Spectra without their best quadratic."""
    return spectra - (spectra @ quadratics) @ quadratics.T


def judge(virtual):
    """Error, baseline-free error and assay error (mg)."""
    free = without_baseline(virtual), without_baseline(truth)
    misread = calibration.predict(virtual) - new_assay
    return (
        sk.evaluation.relative_error(virtual, truth),
        sk.evaluation.relative_error(*free),
        float(np.sqrt(np.mean(misread**2))),
    )


# %% [markdown]
# ## The classical way first
#
# - **Nothing**: take the spectra as they are.
# - **Mean shift**: add the mean difference between the instruments.
# - **Mean swap** (`sk.classical.MeanSwap`): state = mean of the group, nuisance =
#   deviation from it. This baseline of groups is out of its depth here: of a new tablet
#   the group has one spectrum, so that its "state" is all of that spectrum, instrument
#   included.
# - **Piecewise direct standardisation** (PDS): regress each pixel of instrument 1 on a
#   window of instrument 2.
# - **Direct standardisation** (DS): regress each on the whole spectrum. Both choose
#   their penalty by leaving one out.

# %%
results = {"nothing": given}
shift = (both.x[:, 0] - both.x[:, 1]).mean(axis=0)
results["mean shift"] = given + shift

typical = np.broadcast_to(both.x.mean(axis=0), (N_TEST, *both.x.shape[1:]))
swap = sk.classical.MeanSwap().fit(train)
results["mean swap"] = swap.redatum(given[:, None], typical)[:, 0]

pds = sk.classical.PiecewiseDirectStandardization(source=1, target=0, window=11)
results["PDS"] = pds.fit(train).transfer(given)
ds = sk.classical.DirectStandardization(source=1, target=0)
results["DS"] = ds.fit(train).transfer(given)

# %% [markdown]
# ## SymAE
#
# State = tablet, nuisance = instrument and placement. Two settings deserve a word.
#
# - A group has two instances in training, but one when it counts.
#   **`instance_dropout`** hides each instance from the pooling with some probability
#   (one always stays), while both must still be reconstructed. So the coherent code has
#   to be the same whether it is read from instrument 1, from 2, or from both: that is
#   the transfer. Without it the model never sees a group of one.
# - The nuisance code is kept **small**: the less it can hold, the more of the tablet
#   has to go through the coherent code.
#
# Tablets measured once take part, too; the mask says so.


# %%
def train_symae(groups):
    """A SymAE for two instruments."""
    keras.utils.set_random_seed(0)
    model = sk.models.SymAE(
        groups.instance_shape,
        coherent_dim=12,
        nuisance_dim=3,
        encoder=sk.layers.DenseEncoder(64, units=(256, 128)),
        instance_dropout=0.5,
        normalization=sk.training.normalization(groups),
        seed=0,
    )
    batch_size = min(32, len(groups) // 2)
    epochs = round(STEPS * batch_size / len(groups))
    training = sk.training.Training(epochs=epochs, batch_size=batch_size, instances=2)
    history = sk.training.train(model, groups, training)
    return model, history


model, history = train_symae(train)
display(sk.plotting.plot_history(history))

# %% [markdown]
# Now the transfer: the **coherent** code of the one spectrum at hand, and as
# **nuisance** code "instrument 1, placed as usual": the mean of the codes of all
# training spectra of instrument 1. `encode` and `decode` do it; nothing is retrained.


# %%
def transfer(model, groups, spectra):
    """Show spectra of instrument 2 as instrument 1 would."""
    seen = groups.present[:, 0]
    codes = model.encode(groups.x, mask=groups.mask)
    nuisance = keras.ops.convert_to_numpy(codes.nuisance)[seen, 0].mean(axis=0)
    nuisance = np.broadcast_to(nuisance, (len(spectra), 1, len(nuisance)))
    coherent = model.encode(spectra[:, None]).coherent
    return keras.ops.convert_to_numpy(model.decode(coherent, nuisance))[:, 0]


results["SymAE"] = transfer(model, train, given)

# %% [markdown]
# ## All of them at once
#
# `sk.adapt` fits every classical method and methods that use the model's codes, leaves
# pairs out to see how well each does, and returns their best weighted mean. It is what
# to use when you do not want to choose.

# %%
adapted = sk.adapt(model, train, source=1, target=0)
results["adapt"] = adapted.transfer(given)
display(Markdown(f"Weights: {adapted.summary}."))

# %%
scores = {name: judge(virtual) for name, virtual in results.items()}
scores["instrument 1 itself"] = judge(truth)
head = "| method | error | baseline-free error | assay error (mg) |\n"
head += "|---|---:|---:|---:|\n"
rows = [f"| {n} | {a:.4f} | {b:.4f} | {c:.2f} |" for n, (a, b, c) in scores.items()]
display(Markdown(head + "\n".join(rows)))

# %%
fig, axes = plt.subplots(2, 1, figsize=(7, 4.6), sharex=True, layout="constrained")
axes[0].plot(WAVELENGTH, truth[0], color="black", label="instrument 1 (truth)")
axes[0].plot(WAVELENGTH, given[0], color="0.6", label="instrument 2 (given)")
for n, name in enumerate(("mean shift", "DS", "SymAE", "adapt")):
    style = {"color": f"C{n}", "linestyle": ("-.", "-", "--", ":")[n], "label": name}
    axes[0].plot(WAVELENGTH, results[name][0], **style)
    rest = without_baseline(results[name]) - without_baseline(truth)
    axes[1].plot(WAVELENGTH, np.sqrt(np.mean(rest**2, axis=0)), **style)
axes[0].set(ylabel="absorbance", title="one new tablet")
axes[0].legend(frameon=False, ncols=2, fontsize="small")
axes[1].set(xlabel="wavelength (nm)", ylabel="r.m.s. difference,\nbaseline-free")
axes[1].set(title="all new tablets", yscale="log")
ticks = [0.002, 0.005, 0.01, 0.02, 0.05]
axes[1].set_yticks(ticks, ticks)
axes[1].minorticks_off()
display(fig)
plt.close(fig)

# %%
order = sorted(results, key=lambda name: scores[name][1])
ratio = scores["SymAE"][1] / scores["DS"][1]
display(
    Markdown(
        "By the baseline-free error, from best to worst: **"
        + ", ".join(order)
        + f"**. The error of SymAE is {ratio:.1f} times that of DS, and "
        f"{scores['SymAE'][1] / scores['mean shift'][1]:.2f} times that of the mean "
        "shift."
    )
)

# %% [markdown]
# ## Which wins, and why
#
# **Of the single methods direct standardisation wins**, in a fraction of a second. The
# reason is in the physics: spectra of mixtures are nearly *linear* in what they are
# made of, so that a few linear combinations of the pixels of instrument 2 say all there
# is to say, and ridge regression finds them from few pairs. A network has to find the
# same linear map among all functions that it could be.
#
# How many pairs does each need? DS, PDS and `adapt`, here without a model, take the
# first $n$ pairs. SymAE is trained anew on them.

# %%
numbers = sorted({10, 30, 100, N_PAIRS})
curves = {"mean shift": [], "PDS": [], "DS": [], "adapt": []}
for n in numbers:
    part = both[:n]
    shifted = given + (part.x[:, 0] - part.x[:, 1]).mean(axis=0)
    curves["mean shift"].append(judge(shifted)[1])
    curves["PDS"].append(judge(pds.fit(part).transfer(given))[1])
    curves["DS"].append(judge(ds.fit(part).transfer(given))[1])
    curves["adapt"].append(judge(sk.adapt(None, part).transfer(given))[1])
symae = {N_PAIRS: scores["SymAE"][1]}
for n in FEW_PAIRS:
    symae[n] = judge(transfer(train_symae(both[:n])[0], both[:n], given))[1]

fig, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
for (name, values), marker in zip(curves.items(), "os^v", strict=True):
    ax.loglog(numbers, values, marker=marker, label=name)
ax.loglog(sorted(symae), [symae[n] for n in sorted(symae)], "D--k", label="SymAE")
ax.set(xlabel="training tablets measured on both", ylabel="baseline-free error")
ax.set_xticks(numbers, numbers)
ticks = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
ax.set_yticks(ticks, ticks)
ax.minorticks_off()
ax.legend(frameon=False)
display(fig)
plt.close(fig)

# %% [markdown]
# So when is SymAE worth it? Not when two known instruments measured the same samples
# and the physics is linear. Think of it when
#
# - nobody knows *which* condition a spectrum was taken under, or conditions are not two
#   but a continuum (air, temperature, placement): DS needs one regression for every
#   pair of conditions, and pairs for each;
# - there are many instances a group, each under conditions of its own, as in tutorial
#   06;
# - the instance is not a linear mixture: images, line shapes, saturated bands.
#
# On measured tablets a SymAE with a linear backbone has less error than DS, see
# [Linear backbone](../docs/backbone.md). Always put the classical methods into the
# table. If one of them or `adapt` wins, use it:
# [Few samples, new instruments](../docs/few_samples.md) says how many pairs you need.
#
# What the model gives besides is the **nuisance code**, found without ever being told
# which spectrum came from which instrument.

# %%
codes = model.encode(new)
nuisance = keras.ops.convert_to_numpy(codes.nuisance)
_, _, directions = np.linalg.svd(
    (nuisance - nuisance.mean(axis=(0, 1))).reshape(-1, nuisance.shape[-1]),
    full_matrices=False,
)
plane = (nuisance - nuisance.mean(axis=(0, 1))) @ directions[:2].T
fig, ax = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
for n, marker in enumerate("o^"):
    ax.scatter(*plane[:, n].T, s=14, marker=marker, label=f"instrument {n + 1}")
ax.set(xlabel="nuisance code, 1st component", ylabel="2nd component")
ax.legend(frameon=False)
display(fig)
plt.close(fig)

# %% [markdown]
# Each dot is a spectrum of a new tablet. A spectrum that falls outside both clouds was
# taken under conditions that the training set does not know: a cheap alarm for a
# drifting instrument.
#
# ## The same from the command line
#
# A *recipe* says which model to train and how. This file holds what we did above:

# %%
recipe = '''"""Two instruments: a small nuisance code, groups of one in training."""

from symae_keras.layers import DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def model(groups, seed):
    return SymAE(
        groups.instance_shape,
        coherent_dim=12,
        nuisance_dim=3,
        encoder=DenseEncoder(64, units=(256, 128)),
        instance_dropout=0.5,
        normalization=normalization(groups),
        seed=seed,
    )


RECIPE = Recipe(model=model, epochs=133, batch_size=32, instances=2)
'''
_ = (FOLDER / "instruments.py").write_text(recipe)

# %% [markdown]
# The command line takes groups of at least two instances, so that it gets a table of
# the tablets that were measured on both. `sk.data.save` writes it.

# %%
sk.data.save(both, FOLDER / "pairs.csv")

# %% [markdown]
# With a table `new.csv` of new tablets on instrument 2 and `reference.csv` of one
# tablet on instrument 1, in the same form:
#
# ```bash
# symae data describe pairs.csv
# symae train instruments.py --data pairs.csv --out run
# symae redatum run --coherent-from new.csv --nuisance-from reference.csv \
#     --out virtual.csv
# ```
#
# `symae train` sets aside a fifth of the groups to judge by; the last line writes the
# new tablets as instrument 1 would show them, placed as the reference was. If your
# groups have many instances each, start from a preset:
# `symae train symae_exposures --data FILE`. [Your own data](../docs/data.md) has all
# formats, masks, weights, and sets larger than memory.
#
# ## Exercises
#
# **1.** What does `instance_dropout` do? Train without it and transfer again.
#
# <details><summary>Solution</summary>
#
# ```python
# keras.utils.set_random_seed(0)
# plain = sk.models.SymAE(
#     train.instance_shape,
#     coherent_dim=12,
#     nuisance_dim=3,
#     encoder=sk.layers.DenseEncoder(64, units=(256, 128)),
#     normalization=sk.training.normalization(both),
#     seed=0,
# )
# epochs = round(STEPS * 32 / len(both))
# training = sk.training.Training(epochs=epochs, batch_size=32, instances=2)
# sk.training.train(plain, both, training)
# print(judge(transfer(plain, both, given)), scores["SymAE"])
# ```
#
# Trained on complete pairs alone it has never met a group of one, and its coherent code
# of one spectrum is not that of two: the errors are larger.
#
# </details>
#
# **2.** Make the second instrument identical to the first but for a coarser resolution,
# and run DS and the mean shift. Which of the differences is hard for a mean shift?
#
# <details><summary>Solution</summary>
#
# ```python
# kept = dict(INSTRUMENTS[1])
# INSTRUMENTS[1] = {**INSTRUMENTS[0], "fwhm": 40}
# x2, _ = measure_tablets(N_PAIRS, seed=0)
# new2, _ = measure_tablets(N_TEST, seed=1)
# INSTRUMENTS[1] = kept
#
# pairs = sk.data.GroupedData(x2)
# free = without_baseline(new2[:, 0])
# for name, virtual in {
#     "mean shift": new2[:, 1] + (x2[:, 0] - x2[:, 1]).mean(axis=0),
#     "DS": ds.fit(pairs).transfer(new2[:, 1]),
# }.items():
#     print(name, sk.evaluation.relative_error(without_baseline(virtual), free))
# ```
#
# A coarser resolution lowers and widens each band in proportion to its height, that is,
# in proportion to the concentrations: what has to be added differs from tablet to
# tablet. The mean shift adds the same to all. A change of baseline would be easy for
# it.
#
# </details>
#
# **3.** Is the mean nuisance code a good choice? Transfer each new tablet with the
# nuisance code of its own true spectrum, which no real use could know, and see which of
# the three numbers improves.
#
# <details><summary>Solution</summary>
#
# ```python
# coherent = model.encode(given[:, None]).coherent
# own = model.encode(truth[:, None]).nuisance
# virtual = keras.ops.convert_to_numpy(model.decode(coherent, own))[:, 0]
# print(judge(virtual), scores["SymAE"])
# ```
#
# The plain error falls most: the code now knows how the tablet was placed. What is
# left is what the model does not get right about the tablet.
#
# </details>
#
# ## Summary
#
# - A table with a column `group`, or an `.npz` with `x` and `mask`, is all it takes;
#   `describe` it before you train.
# - For groups of one at the end, hide instances in training (`instance_dropout`).
# - Transfer = coherent code of the new spectrum + mean nuisance code of the target
#   instrument.
# - Put classical methods in the table. With linear physics, two known instruments and
#   pairs, direct standardisation wins.
#
# Next: tutorial 10 compares grouped models fairly.
