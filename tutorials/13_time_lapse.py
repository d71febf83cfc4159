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
# # 13 Time lapse
#
# **Aim.** Monitor a medium with waves from sources that nobody controls: separate the
# medium from the sources, make surveys comparable, and find where the medium has
# changed.
#
# **Prerequisites.** Tutorial 06 (SymAE). What a wave and its speed are.
#
# **Time.** Less than a minute on two CPU cores
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

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from keras import ops
from matplotlib.figure import Figure

import symae_keras as sk

# %matplotlib inline
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_MEDIA = 6 if QUICK else 50
SHOTS = 8  # in each survey
SAMPLES = 96  # of 0.01 s

# %% [markdown]
# ## Shots through a medium
#
# A small quake, a passing train or a drill makes waves, and nobody knows exactly where
# and when, nor what the wave looked like at its start. Receivers around a medium record
# it: all traces of one source are a **gather**. The paper that introduced SymAE
# ([Bharadwaj, Li and Demanet 2021](https://arxiv.org/abs/2108.02537)) monitors media
# with such sources.
#
# `simulate_gathers` places 24 receivers on a ring of radius 0.6 km, and sources at 0.8
# to 1 km.
#
# - The **state** is the medium: a velocity of 2 km/s, and anomalies where waves are
#   slower or faster.
# - The **nuisance** of a gather is its source: position, wavelet, origin time and gain.
#
# With `change=0.05`, each medium is surveyed twice, with other sources. In between, an
# anomaly has appeared in which waves are slower by 5 %.

# %%
surveys = sk.data.simulate_gathers(N_MEDIA, SHOTS, seed=7, change=0.05)
baseline, monitor = surveys[:N_MEDIA], surveys[N_MEDIA:]
angle = surveys.axis  # of the receivers, in degrees
receivers = 0.6 * np.stack([np.cos(np.radians(angle)), np.sin(np.radians(angle))], -1)


def show_gather(ax, gather, title):
    """Traces side by side, time downwards, as seismologists draw them."""
    largest = np.abs(gather).max()
    extent = (-7.5, 352.5, 0.01 * SAMPLES, 0.0)
    ax.imshow(
        gather.T, cmap="PuOr", vmin=-largest, vmax=largest, extent=extent, aspect="auto"
    )
    ax.set_title(title, loc="left", fontsize=10)
    ax.set_xticks([0, 120, 240])


def gathers_figure(gathers, titles):
    """A row of gathers with common axes."""
    fig = Figure(figsize=(7.2, 3.2), layout="constrained")
    for ax, gather, title in zip(
        fig.subplots(1, len(gathers), sharey=True), gathers, titles, strict=True
    ):
        show_gather(ax, gather, title)
    fig.supxlabel("angle of the receiver (degrees)", fontsize=10)
    fig.supylabel("time (s)", fontsize=10)
    return fig


first = (baseline.x[0, 0], baseline.x[0, 1], monitor.x[0, 0])
display(
    gathers_figure(first, ("baseline, shot 0", "baseline, shot 1", "monitor, shot 0"))
)

# %% [markdown]
# The nearest receiver records the wave first, so that each gather shows one curved
# arrival. The three sources are at different places. Where is the change of the medium?
# It moves parts of the curve by less than a tenth of the distance between two waves,
# and other sources move everything.
#
# ## How repeatable are the surveys?
#
# Time-lapse surveys are compared trace by trace, with the normalised root mean square
# difference (NRMS, [Kragh and Christie 2002](https://doi.org/10.1190/1.1497316)):
#
# $$\mathrm{NRMS} = 200\,\% \cdot
# \frac{\mathrm{rms}(a - b)}{\mathrm{rms}(a) + \mathrm{rms}(b)}.$$
#
# It is 0 for equal traces, 141 % for unrelated ones, and 200 % for opposite ones.
# To see what the sources alone do, we shoot twice at media that do *not* change.


# %%
def nrms(one, other):
    """Median over all traces, in percent."""
    return np.median(sk.evaluation.nrms(one, other))


still = sk.data.simulate_gathers(N_MEDIA, 2 * SHOTS, seed=8)
one, two = still.x[:, :SHOTS], still.x[:, SHOTS:]
print(f"NRMS of two surveys of the same media: {nrms(one, two):.0f} %")

# %% [markdown]
# As different as unrelated traces. We need the second survey *with the sources of the
# first*: virtual gathers.
#
# ## A decoder that knows waves
#
# Dense and convolutional decoders cannot move a wave by a fraction of a period, which
# is all that a medium does. `TomographicSymAE` has the two codes of SymAE, and another
# decoder:
#
# - the **coherent code** of a group is a picture of the slowness of its medium;
# - the **nuisance code** of a gather is the position of its source, its origin time and
#   its wavelet;
# - the **decoder** delays and amplifies the wavelet for each receiver, as waves that
#   cross this medium would be;
# - the **encoder** picks the delays of all traces, and solves for the medium and the
#   sources together.
#
# It needs the positions of the receivers, and a first value of the velocity. Training
# adjusts four numbers, so that it takes minutes: `symae train symae_gathers` made the
# model that we load.

# %%
model = sk.zoo.load("symae_gathers")
print(f"coherent code: {model.coherent_dim} numbers, nuisance: {model.nuisance_dim}")

codes = model.encode(baseline.x)
found = ops.convert_to_numpy(codes.nuisance)[..., :2]
place = baseline.nuisance["radius"], baseline.nuisance["angle"]
truth = place[0][..., None] * np.stack([np.cos(place[1]), np.sin(place[1])], -1)
metres = 1000 * np.linalg.norm(found - truth, axis=-1)
print(f"sources are found to {np.median(metres):.1f} m (median)")

# %% [markdown]
# Nobody told the model where the sources were. And the media?

# %%
side = np.linspace(-0.6, 0.6, 61)
points = np.stack(np.meshgrid(side, side), axis=-1)


def true_slowness(groups):
    """Relative slowness of media from their parameters, on the points."""
    state = groups.state
    way = points - state["position"][:, :, None, None]
    square = (way**2).sum(axis=-1) / state["width"][..., None, None] ** 2
    return (state["strength"][..., None, None] * np.exp(-0.5 * square)).sum(axis=1)


def drawn(coherent):
    """Relative slowness from coherent codes, on the points."""
    return ops.convert_to_numpy(model.slowness(coherent, points))


def show_media(pictures, titles, limit):
    """Maps of slowness in percent, with receivers and true sources of medium 0."""
    fig = Figure(figsize=(7.2, 3.0), layout="constrained")
    axes = fig.subplots(1, len(pictures), sharey=True)
    for ax, picture, title in zip(axes, pictures, titles, strict=True):
        image = ax.imshow(
            100 * picture,
            cmap="PuOr_r",
            vmin=-limit,
            vmax=limit,
            extent=(-0.61, 0.61, -0.61, 0.61),
            origin="lower",
        )
        ax.plot(*receivers.T, "kv", markersize=3)
        ax.set_xticks([-0.5, 0.0, 0.5])
        ax.set_title(title, loc="left", fontsize=10)
    fig.supxlabel("x (km)", fontsize=10)
    fig.supylabel("y (km)", fontsize=10)
    fig.colorbar(image, ax=axes, label="slowness (%)")
    return fig, axes


fig, axes = show_media(
    (true_slowness(baseline)[0], drawn(codes.coherent)[0]),
    ("medium 0, truth", "coherent code"),
    15,
)
display(fig)

# %% [markdown]
# ## Virtual gathers
#
# The medium of one group, seen with the source of another: `redatum` swaps the codes.
# The simulator knows the truth.

# %%
group, donor = np.arange(N_MEDIA), np.roll(np.arange(N_MEDIA), 1)
shown = baseline.virtual(group[:, None], donor[:, None], np.arange(SHOTS))
virtual = ops.convert_to_numpy(model.redatum(baseline.x, baseline.x[donor]))
titles = ("donor", "virtual", "virtual - truth")
gathers = (baseline.x[donor][0, 0], virtual[0, 0], virtual[0, 0] - shown[0, 0])
fig = gathers_figure(gathers, titles)
largest = np.abs(gathers[0]).max()
for ax in fig.axes:  # one scale for all three
    ax.images[0].set_clim(-largest, largest)
display(fig)

# %%
error = sk.evaluation.relative_error
rows = {"donor as it is": error(shown, baseline.x[donor])}
swap = sk.classical.MeanSwap().fit(baseline)
rows["mean swap"] = error(shown, swap.redatum(baseline.x, baseline.x[donor]))
for count in (2, 4, SHOTS):
    some = model.redatum(baseline.x[:, :count], baseline.x[donor])
    rows[f"TomographicSymAE, {count} shots"] = error(shown, some)
table = pd.DataFrame({"redatuming error": pd.Series(rows)})
table.style.format("{:.4f}")

# %% [markdown]
# Now the surveys of media that do not change: the second one with the sources of the
# first.

# %%
again = ops.convert_to_numpy(model.redatum(two, one))
print(f"NRMS: measured {nrms(one, two):.0f} %, virtual {nrms(one, again):.0f} %")

# %% [markdown]
# What is left is mostly the noise of the measured gathers.
#
# ## What has changed, and where?
#
# The difference of the coherent codes of two surveys is a picture of the change.

# %%
after = model.encode(monitor.x)
change = drawn(after.coherent) - drawn(codes.coherent)
true_change = true_slowness(monitor) - true_slowness(baseline)
fig, axes = show_media(
    (true_change[0], change[0]), ("change of medium 0, truth", "from the codes"), 5
)
display(fig)

# %% [markdown]
# We take the largest value of each picture as the place of the change. A picture cannot
# be finer than about half a wavelength, here 0.1 km.

# %%
inside = np.hypot(*np.moveaxis(points, -1, 0)) <= 0.4
flat = np.where(inside, change, -np.inf).reshape(N_MEDIA, -1)
where = points.reshape(-1, 2)[flat.argmax(axis=-1)]
distance = np.linalg.norm(where - monitor.state["position"][:, -1], axis=-1)
print(f"within half a wavelength: {(distance <= 0.1).sum()} of {N_MEDIA} media")
print(f"median distance: {1000 * np.median(distance):.0f} m")
print(
    f"largest change, median: {100 * np.median(flat.max(axis=-1)):.1f} % (truth: 5 %)"
)

# %% [markdown]
# ## Exercises
#
# **1.** How many shots does a survey need? Locate the change with the first 2 and 4
# shots of each survey.
#
# <details><summary>Solution</summary>
#
# ```python
# for count in (2, 4, SHOTS):
#     pair = [drawn(model.encode(s.x[:, :count]).coherent) for s in (baseline, monitor)]
#     flat = np.where(inside, pair[1] - pair[0], -np.inf).reshape(N_MEDIA, -1)
#     where = points.reshape(-1, 2)[flat.argmax(axis=-1)]
#     distance = np.linalg.norm(where - monitor.state["position"][:, -1], axis=-1)
#     print(count, np.mean(distance <= 0.1))
# ```
#
# Few rays cross each part of the medium if there are few shots.
#
# </details>
#
# **2.** What if the velocity is wrong? Build a model with `velocity=2.1` and look at
# the positions of the sources and at the redatuming error.
#
# <details><summary>Solution</summary>
#
# ```python
# wrong = sk.models.TomographicSymAE((24, SAMPLES), receivers, velocity=2.1)
# found = ops.convert_to_numpy(wrong.encode(baseline.x).nuisance)[..., :2]
# print(1000 * np.median(np.linalg.norm(found - truth, axis=-1)))
# print(error(shown, wrong.redatum(baseline.x, baseline.x[donor])))
# ```
#
# Sources move outwards, because waves seem to be slower than expected. Training adjusts
# the velocity.
#
# </details>
#
# **3.** The simulator that we used computes waves with the same approximation as the
# model. Use `engine="waves"`, which solves the wave equation, for 4 media. Does the
# model still work?
#
# <details><summary>Solution</summary>
#
# ```python
# real = sk.data.simulate_gathers(4, SHOTS, seed=9, engine="waves")
# group, donor = np.arange(4), np.roll(np.arange(4), 1)
# shown = real.virtual(group[:, None], donor[:, None], np.arange(SHOTS))
# print(error(shown, real.x[donor]))
# print(error(shown, model.redatum(real.x, real.x[donor])))
# ```
#
# The error is about twice as large, and still far below that of the donor.
#
# </details>

# %% [markdown]
# ## Summary
#
# - Surveys with different sources cannot be compared trace by trace.
# - A decoder that delays waves separates the medium from the source. Sources need not
#   be known; the positions of the receivers must be.
# - Virtual gathers show the medium of one survey with the sources of another.
# - The coherent code is a picture: its difference between surveys shows what has
#   changed, and where.
