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
# # 13 Time-lapse monitoring
#
# **Aim.** Monitor a medium with waves from uncontrolled sources: separate the medium
# from the sources, make surveys comparable, and locate changes of the medium.
#
# **Prerequisites.** Tutorial 06 (SymAE); waves and their speed.
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
SHOTS = 8  # per survey
SAMPLES = 96  # of 0.01 s

# %% [markdown]
# ## Data: shots through a medium
#
# A small earthquake, a passing train or a drill emits waves. Its exact position, time
# and waveform are unknown. Receivers around a medium record the waves. All traces of
# one source are a **gather**. The paper that introduced SymAE ([Bharadwaj, Li and
# Demanet 2021](https://arxiv.org/abs/2108.02537)) monitors media with such sources.
#
# `simulate_gathers` places 24 receivers on a ring of radius 0.6 km, and sources at
# distances of 0.8 to 1 km.
#
# - The **state** is the medium: a velocity of 2 km/s, with anomalies where waves are
#   slower or faster.
# - The **nuisance** of a gather is its source: position, wavelet, origin time and gain.
#
# With `change=0.05`, each medium is surveyed twice, with different sources. Between the
# surveys, an anomaly appears in which waves are slower by 5 %.

# %%
surveys = sk.data.simulate_gathers(N_MEDIA, SHOTS, seed=7, change=0.05)
baseline, monitor = surveys[:N_MEDIA], surveys[N_MEDIA:]
angle = surveys.axis  # of the receivers, in degrees
receivers = 0.6 * np.stack([np.cos(np.radians(angle)), np.sin(np.radians(angle))], -1)


def show_gather(ax, gather, title):
    """Draw traces side by side with time downwards, as in seismology."""
    largest = np.abs(gather).max()
    extent = (-7.5, 352.5, 0.01 * SAMPLES, 0.0)
    ax.imshow(
        gather.T, cmap="PuOr", vmin=-largest, vmax=largest, extent=extent, aspect="auto"
    )
    ax.set_title(title, loc="left", fontsize=10)
    ax.set_xticks([0, 120, 240])


def gathers_figure(gathers, titles):
    """Draw a row of gathers with common axes."""
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
# The nearest receiver records the wave first, so each gather shows one curved arrival.
# The three sources are at different positions. The change of the medium is hard to see:
# it shifts parts of the curve by less than a tenth of a wave period, while another
# source changes the whole gather.
#
# ## Repeatability of the surveys
#
# Time-lapse surveys are compared trace by trace, with the normalised root mean square
# difference (NRMS, [Kragh and Christie 2002](https://doi.org/10.1190/1.1497316)):
#
# $$\mathrm{NRMS} = 200\,\% \cdot
# \frac{\mathrm{rms}(a - b)}{\mathrm{rms}(a) + \mathrm{rms}(b)}.$$
#
# It is 0 for equal traces, 141 % for unrelated ones, and 200 % for opposite ones. To
# measure the effect of the sources alone, we simulate two surveys of media that do
# *not* change.


# %%
def nrms(one, other):
    """Return the median NRMS over all traces, in percent."""
    return np.median(sk.evaluation.nrms(one, other))


still = sk.data.simulate_gathers(N_MEDIA, 2 * SHOTS, seed=8)
one, two = still.x[:, :SHOTS], still.x[:, SHOTS:]
print(f"NRMS of two surveys of the same media: {nrms(one, two):.0f} %")

# %% [markdown]
# The two surveys differ as much as unrelated traces. We therefore need the second
# survey *with the sources of the first*: virtual gathers.
#
# ## A decoder based on wave physics
#
# The effect of a medium is to shift a wave by a fraction of a period. Dense and
# convolutional decoders cannot represent this well. `TomographicSymAE` has the two
# codes of SymAE, but another encoder and decoder:
#
# - The **coherent code** of a group is an image of the slowness of its medium.
# - The **nuisance code** of a gather is the position of its source, its origin time and
#   its wavelet.
# - The **decoder** delays and amplifies the wavelet for each receiver, according to the
#   propagation through this medium.
# - The **encoder** measures the delays of all traces, and solves for the medium and the
#   sources together.
#
# The model needs the positions of the receivers and an initial value of the velocity.
# Training adjusts only four numbers and takes minutes. We load a model that was trained
# with `symae train symae_gathers`.

# %%
model = sk.zoo.load("symae_gathers")
print(f"numbers in the coherent code: {model.coherent_dim}")
print(f"numbers in the nuisance code: {model.nuisance_dim}")

codes = model.encode(baseline.x)
found = ops.convert_to_numpy(codes.nuisance)[..., :2]
place = baseline.nuisance["radius"], baseline.nuisance["angle"]
truth = place[0][..., None] * np.stack([np.cos(place[1]), np.sin(place[1])], -1)
metres = 1000 * np.linalg.norm(found - truth, axis=-1)
print(f"median error of the position of a source: {np.median(metres):.1f} m")

# %% [markdown]
# The model was trained without the positions of the sources. The next figure compares
# the medium with its coherent code.

# %%
side = np.linspace(-0.6, 0.6, 61)
points = np.stack(np.meshgrid(side, side), axis=-1)


def true_slowness(groups):
    """Compute the relative slowness of media from their parameters, on the points."""
    state = groups.state
    way = points - state["position"][:, :, None, None]
    square = (way**2).sum(axis=-1) / state["width"][..., None, None] ** 2
    return (state["strength"][..., None, None] * np.exp(-0.5 * square)).sum(axis=1)


def drawn(coherent):
    """Compute the relative slowness from coherent codes, on the points."""
    return ops.convert_to_numpy(model.slowness(coherent, points))


def show_media(pictures, titles, limit):
    """Draw maps of the slowness in percent, with the receivers."""
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
# `redatum` combines the medium of one group with the sources of another. The simulator
# provides the truth.

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
rows = {"donor, unchanged": error(shown, baseline.x[donor])}
swap = sk.classical.MeanSwap().fit(baseline)
rows["mean swap"] = error(shown, swap.redatum(baseline.x, baseline.x[donor]))
for count in (2, 4, SHOTS):
    some = model.redatum(baseline.x[:, :count], baseline.x[donor])
    rows[f"TomographicSymAE, {count} shots"] = error(shown, some)
table = pd.DataFrame({"redatuming error": pd.Series(rows)})
table.style.format("{:.4f}")

# %% [markdown]
# Now we return to the surveys of unchanged media, and show the second survey with the
# sources of the first.

# %%
again = ops.convert_to_numpy(model.redatum(two, one))
print(f"NRMS: measured {nrms(one, two):.0f} %, virtual {nrms(one, again):.0f} %")

# %% [markdown]
# The remaining difference is mostly the noise of the measured gathers.
#
# ## Location of the change
#
# The difference between the coherent codes of two surveys is an image of the change.

# %%
after = model.encode(monitor.x)
change = drawn(after.coherent) - drawn(codes.coherent)
true_change = true_slowness(monitor) - true_slowness(baseline)
fig, axes = show_media(
    (true_change[0], change[0]), ("change of medium 0, truth", "from the codes"), 5
)
display(fig)

# %% [markdown]
# We use the maximum of each image as the position of the change. The resolution of an
# image is limited to about half a wavelength, here 0.1 km.

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
# **1.** How many shots does a survey need? Locate the change with the first two and
# four shots of each survey.
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
# With few shots, few rays cross each part of the medium.
#
# </details>
#
# **2.** What happens if the velocity is wrong? Build a model with `velocity=2.1`, and
# compute the positions of the sources and the redatuming error.
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
# The estimated sources move outwards, because the waves arrive later than expected.
# Training adjusts the velocity.
#
# </details>
#
# **3.** The simulator uses the same approximation of waves as the model. Use
# `engine="waves"`, which solves the wave equation, for 4 media. Does the model still
# work?
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
# The error is about twice as large, but still much smaller than that of the donor.
#
# </details>

# %% [markdown]
# ## Summary
#
# - Surveys with different sources cannot be compared trace by trace.
# - A decoder that delays waves separates the medium from the source. The sources may be
#   unknown, but the positions of the receivers must be known.
# - Virtual gathers show the medium of one survey with the sources of another.
# - The coherent code is an image. Its difference between surveys shows what has
#   changed, and where.
