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
# **Aim.** Analyse measured spectra from the files to the result, with a common task in
# chemistry: *calibration transfer*. The same tablets were measured on two near-infrared
# spectrometers. From a spectrum of the second instrument, predict what the first would
# show. Compare SymAE with the classical methods.
#
# **Prerequisites.** Tutorial 06 (SymAE); linear regression; the meaning of a spectrum.
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
FEW_PAIRS = [] if QUICK else [30, 100]  # smaller training sets
STEPS = 10 if QUICK else 1500
FOLDER = Path(tempfile.mkdtemp())  # for all files of this notebook

# %% [markdown]
# ## A simulated laboratory
#
# <div class="admonition tip alert alert-success">
# <p class="admonition-title"><b>Tip</b></p>
#
# If you have your own files, go to "Load and check the data" below and insert their
# name there. The cells before it simulate a laboratory, with tablets and two
# spectrometers, so that this notebook needs no download.
#
# </div>
#
# A tablet is a mixture of four substances. Each has six absorption bands, and moisture
# shifts them slightly. By the Beer-Lambert law, the absorbance is a sum,
# $A(\lambda) = \ell \sum_k c_k\, \varepsilon_k(\lambda)$, with concentrations $c_k$ and
# the path length $\ell$. A detector measures the transmittance $10^{-A}$.

# %%
WAVELENGTH = np.linspace(1100.0, 1900.0, 128)  # nm, the pixels of both instruments
FINE = np.linspace(1000.0, 2000.0, 501)  # nm, grid of the simulated tablets
bands = np.random.default_rng(42)  # for the substances, the same in all tablets
CENTRE = bands.uniform(1080, 1920, (4, 6))
WIDTH = bands.uniform(12, 45, (4, 6))
HEIGHT = bands.uniform(0.1, 0.5, (4, 6))
MOVE = bands.uniform(-12, 12, (4, 6))  # nm, with moisture from -1 to 1


def make_tablets(n, rng):
    """Return concentrations and the transmittance on the fine grid."""
    concentration = rng.uniform(0.1, 1.0, (n, 4))
    moisture = rng.uniform(-1, 1, (n, 1, 1))
    path = np.exp(rng.uniform(-0.1, 0.1, (n, 1)))
    offset = FINE - (CENTRE + MOVE * moisture)[..., None]
    pure = HEIGHT[..., None] * np.exp(-0.5 * (offset / WIDTH[..., None]) ** 2)
    absorbance = path * np.einsum("nk,nkbf->nf", concentration, pure)
    return concentration, 10.0**-absorbance


# %% [markdown]
# The second instrument is less accurate. Its resolution is five times coarser, and its
# wavelengths are wrong by 2 to 10 nm. Some light reaches the detector without passing
# through the tablet (*stray light*, which makes the scale of absorbance nonlinear).
# Scale and baseline differ, too. On both instruments, the placement of a tablet adds a
# random offset and slope, which differ in each measurement, and the detector adds
# noise.

# %%
INSTRUMENTS = [
    {"fwhm": 8, "shift": 0, "stretch": 0, "stray": 0.0, "gain": 1.0, "base": 0.0},
    {"fwhm": 40, "shift": 6, "stretch": 4, "stray": 0.03, "gain": 0.92, "base": 0.08},
]
U = np.linspace(-1, 1, len(WAVELENGTH))  # wavelength, from -1 to 1


def measure(transmittance, instrument, rng):
    """Return the absorbance spectra of tablets on an instrument."""
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
    """Return spectra (tablets, instruments, pixels) and the assay of each tablet."""
    rng = np.random.default_rng(seed)
    concentration, transmittance = make_tablets(n, rng)
    spectra = [measure(transmittance, each, rng) for each in INSTRUMENTS]
    return np.stack(spectra, axis=1).astype("float32"), 100 * concentration[:, 0]


x, assay = measure_tablets(N_PAIRS + N_SINGLE, seed=0)
mask = np.ones(x.shape[:2], bool)
mask[N_PAIRS:, 0] = np.arange(N_SINGLE) % 2 == 0  # the last ones have one spectrum
mask[N_PAIRS:, 1] = ~mask[N_PAIRS:, 0]

fig, axes = plt.subplots(1, 2, figsize=(7, 3.4), sharey=True, layout="constrained")
for n, ax in enumerate(axes):
    for tablet, shade in enumerate(plt.cm.viridis(np.linspace(0, 0.75, 6))):
        ax.plot(WAVELENGTH, x[tablet, n], color=shade, label=f"tablet {tablet + 1}")
    ax.set(xlabel="wavelength (nm)", title=f"instrument {n + 1}")
axes[0].set_ylabel("absorbance")
axes[1].legend(frameon=False, ncols=2, fontsize="small")
display(fig)
plt.close(fig)

# %% [markdown]
# ## File formats
#
# **A table.** It has one row per spectrum and one column per pixel, with the wavelength
# as the header. The column `group` contains the name of the measured object. Other
# columns, such as `instrument`, are stored as metadata. You can create such a file with
# a spreadsheet.

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
# **Arrays.** In an `.npz` file, each instrument has a fixed *position* on the instance
# axis. `x` has the axes (groups, instances, pixels), and `mask` is True where there is
# a spectrum. The values at other positions are ignored. Arrays with one entry per group
# are stored, too. An example is `assay`, the milligrams of active substance from a
# chemical analysis.

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
# ## Load and check the data
#
# For your own data, insert the path of your file here. `describe` summarises the data
# and warns if nothing can be learned from them.

# %%
train = sk.data.load(FOLDER / "tablets.npz")
display(Markdown(f"```text\n{train.describe()}\n```"))

# %% [markdown]
# We also load the table, to show a common problem of real data. In a table, the
# position of a spectrum in its group is given by the order of the rows. Which
# instrument comes first?

# %%
from_table = sk.data.load(FOLDER / "tablets.csv")
first = from_table.instance_metadata["instrument"][:, 0]
display(
    Markdown(
        f"Of {len(from_table)} groups in the table, {int((first == 1).sum())} have "
        f"instrument 1 at the first position and {int((first == 2).sum())} have "
        "instrument 2 there. The latter were measured on instrument 2 only."
    )
)

# %% [markdown]
# For SymAE, this is no problem, because it ignores the order of the instances.
# Classical transfer methods use the position as the instrument. From here on, we
# therefore use the arrays.
#
# ## Evaluation
#
# The test tablets were measured on both instruments, so we can compare with the truth.
# The methods receive only the spectra of instrument 2. We use three measures:
#
# - The **error** is the mean squared error divided by the variance of the true spectra.
# - The **baseline-free error**: the placement adds an offset and a slope to every
#   measurement, including the truth. No method can predict them. We therefore subtract
#   the best-fitting quadratic in wavelength from both and compare the residuals.
# - The **assay error** is the purpose of the transfer: a regression that was calibrated
#   on instrument 1 predicts the active substance from the transferred spectra.

# %%
new, new_assay = measure_tablets(N_TEST, seed=1)
truth, given = new[:, 0], new[:, 1]

quadratics = np.linalg.qr(np.vander(U, 3))[0]
both = train[train.present.all(axis=1)]
calibration = RidgeCV(np.logspace(-6, 3, 28)).fit(
    both.x[:, 0], both.group_metadata["assay"]
)


def without_baseline(spectra):
    """Subtract the best-fitting quadratic from spectra."""
    return spectra - (spectra @ quadratics) @ quadratics.T


def evaluate(virtual):
    """Return error, baseline-free error and assay error (mg)."""
    free = without_baseline(virtual), without_baseline(truth)
    misread = calibration.predict(virtual) - new_assay
    return (
        sk.evaluation.relative_error(virtual, truth),
        sk.evaluation.relative_error(*free),
        float(np.sqrt(np.mean(misread**2))),
    )


# %% [markdown]
# ## Classical methods
#
# - **Nothing** uses the spectra of instrument 2 without changes.
# - **Mean shift** adds the mean difference between the instruments.
# - **Mean swap** (`sk.classical.MeanSwap`) uses the mean of the group as the state and
#   the deviation from it as the nuisance. This baseline is not suitable here: each
#   group of a new tablet has only one spectrum. Its "state" is this whole spectrum,
#   including the instrument.
# - **Piecewise direct standardisation** (PDS) predicts each pixel of instrument 1 from
#   a window of pixels of instrument 2.
# - **Direct standardisation** (DS) predicts each pixel from the whole spectrum. Both
#   choose their penalty by leave-one-out cross-validation.

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
# The state is the tablet. The nuisance is the instrument and the placement. Two
# settings need an explanation:
#
# - A group has two instances in training, but only one in the application.
#   **`instance_dropout`** hides each instance from the pooling with some probability
#   (at least one always remains), but the model still has to reconstruct both. The
#   coherent code therefore has to be the same whether it is computed from instrument 1,
#   from instrument 2, or from both. This makes the transfer possible. Without it, the
#   model is never trained on a group of one.
# - The nuisance code is **small**. The less it can contain, the more information about
#   the tablet has to be in the coherent code.
#
# Tablets that were measured only once are also used for training. The mask marks their
# missing spectra.


# %%
def train_symae(groups):
    """Train a SymAE for two instruments."""
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
# Now we transfer the spectra. We combine the **coherent** code of the given spectrum
# with the **nuisance** code of a typical measurement on instrument 1: the mean of the
# codes of all training spectra of instrument 1. `encode` and `decode` are sufficient,
# and nothing is retrained.


# %%
def transfer(model, groups, spectra):
    """Transfer spectra of instrument 2 to instrument 1."""
    seen = groups.present[:, 0]
    codes = model.encode(groups.x, mask=groups.mask)
    nuisance = keras.ops.convert_to_numpy(codes.nuisance)[seen, 0].mean(axis=0)
    nuisance = np.broadcast_to(nuisance, (len(spectra), 1, len(nuisance)))
    coherent = model.encode(spectra[:, None]).coherent
    return keras.ops.convert_to_numpy(model.decode(coherent, nuisance))[:, 0]


results["SymAE"] = transfer(model, train, given)

# %% [markdown]
# ## Automatic combination of the methods
#
# `sk.adapt` fits all classical methods and several methods that use the codes of the
# model. It evaluates each by cross-validation over the pairs and returns the best
# weighted mean. Use it if you do not want to choose a method.

# %%
adapted = sk.adapt(model, train, source=1, target=0)
results["adapt"] = adapted.transfer(given)
display(Markdown(f"Weights: {adapted.summary}."))

# %%
scores = {name: evaluate(virtual) for name, virtual in results.items()}
scores["instrument 1 itself"] = evaluate(truth)
heads = ["error", "baseline-free error", "assay error (mg)"]
pd.DataFrame.from_dict(scores, orient="index", columns=heads).round(4)

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig, axes = plt.subplots(2, 1, figsize=(7, 4.6), sharex=True, layout="constrained")
axes[0].plot(WAVELENGTH, truth[0], color="black", label="instrument 1 (truth)")
axes[0].plot(WAVELENGTH, given[0], color="0.45", label="instrument 2 (given)")
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
        "Methods in the order of the baseline-free error, best first: **"
        + ", ".join(order)
        + f"**. The error of SymAE is {ratio:.1f} times that of DS and "
        f"{scores['SymAE'][1] / scores['mean shift'][1]:.2f} times that of the mean "
        "shift."
    )
)

# %% [markdown]
# ## Comparison of the methods
#
# **Among the single methods, direct standardisation is best**, and it takes a fraction
# of a second. The reason is physical: spectra of mixtures depend almost *linearly* on
# the composition. A few linear combinations of the pixels of instrument 2 therefore
# contain all the information, and ridge regression finds them from few pairs. A network
# has to find the same linear map among many nonlinear ones.
#
# How many pairs does each method need? We fit DS, PDS and `adapt` (here without a
# model) to the first $n$ pairs, and train a new SymAE on them.

# %%
numbers = sorted({10, 30, 100, N_PAIRS})
curves = {"mean shift": [], "PDS": [], "DS": [], "adapt": []}
for n in numbers:
    part = both[:n]
    shifted = given + (part.x[:, 0] - part.x[:, 1]).mean(axis=0)
    curves["mean shift"].append(evaluate(shifted)[1])
    curves["PDS"].append(evaluate(pds.fit(part).transfer(given))[1])
    curves["DS"].append(evaluate(ds.fit(part).transfer(given))[1])
    curves["adapt"].append(evaluate(sk.adapt(None, part).transfer(given))[1])
symae = {N_PAIRS: scores["SymAE"][1]}
for n in FEW_PAIRS:
    symae[n] = evaluate(transfer(train_symae(both[:n])[0], both[:n], given))[1]

fig, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
for (name, values), marker in zip(curves.items(), "os^v", strict=True):
    ax.loglog(numbers, values, marker=marker, label=name)
ax.loglog(sorted(symae), [symae[n] for n in sorted(symae)], "D--k", label="SymAE")
ax.set(xlabel="training tablets with both spectra", ylabel="baseline-free error")
ax.set_xticks(numbers, numbers)
ticks = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
ax.set_yticks(ticks, ticks)
ax.minorticks_off()
ax.legend(frameon=False)
display(fig)
plt.close(fig)

# %% [markdown]
# When should you use SymAE? Not if two known instruments measured the same samples and
# the physics is linear. Consider it in these cases:
#
# - The condition of each spectrum is unknown, or there are not two conditions but a
#   continuum (air, temperature, placement). DS needs one regression for each pair of
#   conditions, and pairs of spectra for each.
# - There are many instances per group, each under different conditions, as in tutorial
#   06.
# - The instance is not a linear mixture, for example an image, a line shape, or a
#   saturated band.
#
# On measured tablets, a SymAE with a linear backbone has a lower error than DS, see
# [Linear backbone](../docs/backbone.md). Always include the classical methods in the
# comparison. If one of them or `adapt` is best, use it. [Few samples, new
# instruments](../docs/few_samples.md) says how many pairs you need.
#
# SymAE also provides the **nuisance code**. It separates the instruments, although the
# model was trained without instrument labels.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
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
# Each dot is a spectrum of a new tablet. A spectrum outside both clouds was measured
# under conditions that are not in the training set. You can use this to detect a
# drifting instrument.
#
# ## The same analysis on the command line
#
# A *recipe* defines a model and its training. The following file contains the settings
# of this tutorial:

# %%
recipe = '''"""Transfer between two instruments with a small nuisance code."""

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
# The command line needs groups of at least two instances. We therefore write a table of
# the tablets that were measured on both instruments, with `sk.data.save`.

# %%
sk.data.save(both, FOLDER / "pairs.csv")

# %% [markdown]
# The following commands need two more tables of the same form: `new.csv` with new
# tablets on instrument 2, and `reference.csv` with one tablet on instrument 1.
#
# ```bash
# symae data describe pairs.csv
# symae train instruments.py --data pairs.csv --out run
# symae redatum run --coherent-from new.csv --nuisance-from reference.csv \
#     --out virtual.csv
# ```
#
# `symae train` uses 80 % of the groups for training and 20 % for evaluation. The last
# command writes the spectra of the new tablets as instrument 1 would show them, with
# the placement of the reference. If your groups have many instances each, start from a
# preset: `symae train symae_exposures --data FILE`. [Your own data](../docs/data.md)
# describes all formats, masks, weights, and data sets larger than memory.
#
# ## Exercises
#
# **1.** What is the effect of `instance_dropout`? Train without it and transfer again.
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
# print(evaluate(transfer(plain, both, given)), scores["SymAE"])
# ```
#
# This model was trained only on complete pairs, never on a group of one. Its coherent
# code of one spectrum differs from that of two, and the errors are larger.
#
# </details>
#
# **2.** Make the second instrument identical to the first except for a coarser
# resolution, and run DS and the mean shift. Which difference between instruments cannot
# be corrected by a mean shift?
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
# in proportion to the concentrations. The necessary correction differs from tablet to
# tablet, but the mean shift adds the same to all. It could correct a change of the
# baseline.
#
# </details>
#
# **3.** Is the mean nuisance code a good choice? Transfer each new tablet with the
# nuisance code of its true spectrum, which is unknown in a real application. Which
# of the three measures improve?
#
# <details><summary>Solution</summary>
#
# ```python
# coherent = model.encode(given[:, None]).coherent
# own = model.encode(truth[:, None]).nuisance
# virtual = keras.ops.convert_to_numpy(model.decode(coherent, own))[:, 0]
# print(evaluate(virtual), scores["SymAE"])
# ```
#
# The plain error decreases most, because this code contains the placement of the
# tablet. The remaining error is the part of the tablet that the model does not
# represent correctly.
#
# </details>
#
# ## Summary
#
# - The input is a table with a column `group`, or an `.npz` file with `x` and `mask`.
#   Check it with `describe` before training.
# - If the application has groups of one, hide instances in training
#   (`instance_dropout`).
# - A transfer combines the coherent code of the new spectrum with the mean nuisance
#   code of the target instrument.
# - Always compare with classical methods. For linear physics, two known instruments and
#   pairs of spectra, direct standardisation is best.
#
# Next: [tutorial 10](10_grouped_baselines.ipynb) is a fair comparison of grouped
# models.
