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
# # 14 Heartbeats
#
# **Aim.** Encode a signal in time, the electrocardiogram, with a plain autoencoder, a
# denoising autoencoder and SymAE. Find unusual beats, remove noise, and identify
# patients from a single beat.
#
# **Prerequisites.** Tutorials 01 (autoencoders), 03 (denoising) and 06 (SymAE).
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
N_PATIENTS = 100 if QUICK else 800  # for training
N_TEST = 30 if QUICK else 200
EPOCHS = 1 if QUICK else 16
NOT_TRAINED = "*Quick mode: the networks are undertrained, so the errors are large.*"


def axes_of(fig, *shape, **options):
    """Create axes with units, and without the upper and right line."""
    axes = fig.subplots(*shape, sharex=True, sharey=True, **options)
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    fig.supxlabel("time from the R wave (s)", fontsize=10)
    fig.supylabel("voltage (mV)", fontsize=10)
    return axes


# %% [markdown]
# ## One beat
#
# An electrocardiogram records the voltage that the heart produces on the skin. Each
# beat has five waves, called P, Q, R, S and T. `simulate_beats` simulates beats with
# ECGSYN, a published model ([McSharry et al.
# 2003](https://doi.org/10.1109/TBME.2003.808805)):
#
# $$\frac{dz}{dt} = -\sum_{k \in \{P, Q, R, S, T\}} a_k\, \Delta\theta_k\,
# e^{-\Delta\theta_k^2 / 2 b_k^2} - (z - z_0),$$
#
# where $\Delta\theta_k$ is the distance in phase from wave $k$.
#
# The **state** of a patient is the size $a_k$, the width $b_k$ and the angle of each
# wave. The **nuisance** of a beat is the heart rate, the gain and baseline of the
# electrodes, respiration, and a small delay. An **ectopic** beat starts in a ventricle
# instead of the normal place: it has no P wave, and its other waves are broad.

# %%
train = sk.data.simulate_beats(N_PATIENTS, 16, seed=0)
test = sk.data.simulate_beats(N_TEST, 16, seed=1, ectopic=0.1)
ectopic = test.instance_metadata["ectopic"]
time = test.axis

fig = Figure(figsize=(7.5, 4.6), layout="constrained")
axes = axes_of(fig, 2, 3)
for patient, ax in enumerate(axes.flat[:5]):
    ax.plot(time, train.x[patient].T, linewidth=0.8, color=f"C{patient}")
    ax.set_title(f"patient {patient}, 16 beats", loc="left", fontsize=10)
axes[1, 2].plot(time, test.x[ectopic][:5].T, linewidth=1.2, color="black")
axes[1, 2].set_title("five ectopic beats", loc="left", fontsize=10)
display(fig)

# %% [markdown]
# We train on normal beats only. The test set contains beats of other patients, and a
# tenth of these beats are ectopic.
#
# ## A plain autoencoder
#
# The autoencoder of tutorial 01 encodes each beat of 200 samples separately, in 24
# numbers.

# %%
scaling = sk.training.normalization(train)
TRAINING = sk.training.Training(epochs=EPOCHS, instances=8, batch_size=128)


def single(kind, **options):
    """Train a model of single beats."""
    keras.utils.set_random_seed(0)
    model = kind(
        train.instance_shape,
        code_dim=24,
        normalization=sk.training.normalization(train),
        seed=0,
        **options,
    )
    history = sk.training.train(model, train, TRAINING, seed=0)
    return model, history


plain, history = single(sk.models.Autoencoder)
display(sk.plotting.plot_history(history))

# %% [markdown]
# A beat that differs from the training beats has a high reconstruction error.
# `AnomalyDetector` uses this error as a score, and compares it with the scores of
# normal beats that were not used for training. The area under the ROC curve (AUROC) is
# the probability that an ectopic beat has a higher score than a normal one.

# %%
normal = sk.data.simulate_beats(N_TEST, 16, seed=2)
rows = test.x.reshape(-1, 200)
detector = sk.evaluation.AnomalyDetector(plain.reconstruct, normal.x.reshape(-1, 200))
found = sk.evaluation.detection(detector.score(rows), ectopic.ravel())
alarms = detector.p_values(rows) <= 0.01
display(
    Markdown(
        f"AUROC: {found.roc_auc:.3f}. With p ≤ 0.01, the detector reports "
        f"{alarms[ectopic.ravel()].mean():.0%} of the ectopic beats and "
        f"{alarms[~ectopic.ravel()].mean():.1%} of the normal ones."
    )
)

of_each = np.argwhere(~ectopic)[0], np.argwhere(ectopic)[0]
fig = Figure(figsize=(7.2, 2.8), layout="constrained")
for ax, place, name in zip(
    axes_of(fig, 1, 2), of_each, ("normal", "ectopic"), strict=True
):
    beat = test.x[tuple(place)]
    ax.plot(time, beat, color="black", linewidth=1.0, label="recorded")
    ax.plot(time, ops.convert_to_numpy(plain.reconstruct(beat[None]))[0], label="model")
    ax.set_title(f"{name} beat", loc="left", fontsize=10)
fig.axes[0].legend(frameon=False, fontsize=9)
display(fig)

# %% [markdown]
# <div class="admonition note alert alert-info">
# <p class="admonition-title"><b>Note</b></p>
#
# Simulated ectopic beats differ strongly from normal ones, so this task is easy: the
# error of PCA, and even an isolation forest, find nearly as many
# ([measurements](../docs/signals.md)).
#
# </div>
#
# ## A denoising autoencoder
#
# The activity of muscles adds noise to the electrocardiogram. A denoising autoencoder
# (tutorial 03) receives beats with added noise, and is trained to return the beats
# without it. The training data also contain noise of 0.02 mV, which remains in the
# targets. The network cannot predict this noise, so its output averages it out.

# %%
SIGMA = 0.15  # mV
denoiser, _ = single(
    sk.models.DenoisingAutoencoder,
    corruption=sk.layers.GaussianCorruption(SIGMA, seed=0),
)
group, instance = np.indices(normal.x.shape[:2])
clean = normal.virtual(group, group, instance).reshape(-1, 200)
noise = np.random.default_rng(0).standard_normal(clean.shape)
noisy = (clean + SIGMA * noise).astype("float32")


def running_mean(data, width):
    """Return means over `width` samples (an odd number), with repeated edges."""
    padded = np.pad(data, ((0, 0), (width // 2, width // 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    return windows.mean(axis=-1)


cleaned = {
    "running mean, 5 samples": running_mean(noisy, 5),
    "plain autoencoder": sk.evaluation.in_batches(plain.reconstruct, noisy),
    "denoising autoencoder": sk.evaluation.in_batches(denoiser.reconstruct, noisy),
}
gains = {
    name: sk.evaluation.snr_gain(clean, noisy, each) for name, each in cleaned.items()
}
heads = "gain of the signal-to-noise ratio (dB)"
display(pd.Series(gains, name=heads).to_frame().round(1))

fig = Figure(figsize=(7.2, 2.8), layout="constrained")
left, right = axes_of(fig, 1, 2)
left.plot(time, noisy[0], color="0.3", linewidth=0.8)
left.set_title("noisy", loc="left", fontsize=10)
right.plot(time, clean[0], color="black", linewidth=2.0, label="truth")
right.plot(time, cleaned["denoising autoencoder"][0], label="denoised")
right.legend(frameon=False, fontsize=9)
display(fig)
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# ## SymAE: the patient and the beat
#
# The codes above mix the patient with the heart rate, the electrodes and the
# respiration. SymAE separates them. It needs additional information: which beats belong
# to the same patient. `instance_dropout` hides half of the beats from the pooling in
# training, so that the model learns to encode the state from few beats.

# %%
keras.utils.set_random_seed(0)
model = sk.models.SymAE(
    train.instance_shape,
    coherent_dim=16,
    nuisance_dim=8,
    instance_dropout=0.5,
    normalization=scaling,
    seed=0,
)
training = sk.training.Training(epochs=EPOCHS, instances=8)
history = sk.training.train(model, train, training, seed=0)
error = sk.evaluation.redatuming_error(model, normal)
display(
    Markdown(
        f"Redatuming error: {error:.3f}. Mean swap: {error.mean_swap:.3f}. "
        f"Reconstruction error: {error.reconstruction:.3f}."
    )
)

# %% [markdown]
# Redatuming shows the heart of one patient with the heart rate and the electrodes of
# another patient's beat. The differences between the virtual beats are then differences
# between the hearts.

# %%
virtual = ops.convert_to_numpy(
    model.redatum(
        coherent_from=normal.x[:2], nuisance_from=np.repeat(normal.x[2:3], 2, axis=0)
    )
)
fig = Figure(figsize=(7.2, 2.8), layout="constrained")
left, right = axes_of(fig, 1, 2)
for patient in (0, 1):
    colour = f"C{patient}"
    left.plot(time, normal.x[patient, 0], color=colour, label=f"patient {patient}")
    right.plot(time, normal.virtual(patient, 2, 0), color="black", linewidth=2.0)
    right.plot(time, virtual[patient, 0], color=colour)
left.set_title("recorded", loc="left", fontsize=10)
right.set_title("virtual, and the truth in black", loc="left", fontsize=10)
left.legend(frameon=False, fontsize=9)
display(fig)
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# ## Identification of patients
#
# The following test also works with measured data. We store the mean features of eight
# beats of each patient. Then we assign each of eight other beats to the patient with
# the nearest mean. None of these patients is in the training data. Distances are in
# units of the scatter within training patients, as in linear discriminant analysis, so
# that all features have the same weight.


# %%
def identified(features_of):
    """Compute the share of the beats that are assigned to the right patient."""
    trained, features = (
        features_of(part.x.reshape(-1, 200)).reshape(*part.x.shape[:2], -1)
        for part in (train, normal)
    )
    within = (trained - trained.mean(axis=1, keepdims=True)).astype("float64")
    within = within.reshape(-1, within.shape[-1])
    scatter = within.T @ within / len(within)
    scatter += 1e-2 * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    features = features @ np.linalg.cholesky(np.linalg.inv(scatter))
    means = features[:, :8].mean(axis=1)
    # Squared distance, without the square of the beat, which is equal for all means
    distance = (means**2).sum(axis=-1) - 2.0 * features[:, 8:] @ means.T
    return np.mean(distance.argmin(axis=-1) == np.arange(len(means))[:, None])


def coherent(beats):
    """Compute the coherent codes of single beats."""
    return sk.evaluation.in_batches(lambda x: model.encode(x).coherent, beats[:, None])


shares = {
    "raw beat": identified(lambda beats: beats),
    "code of the plain autoencoder": identified(
        lambda beats: sk.evaluation.in_batches(plain.encode, beats)
    ),
    "coherent code": identified(coherent),
}
shares["chance"] = 1 / len(normal)
table = pd.Series(shares, name="identified from one beat").to_frame()
display(table.style.format("{:.1%}"))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# ## Exercises
#
# **1.** How many beats are needed per patient? Identify patients from the mean of two,
# four and eight beats.
#
# <details><summary>Solution</summary>
#
# ```python
# codes = coherent(normal.x.reshape(-1, 200)).reshape(N_TEST, 16, -1)
# means = codes[:, :8].mean(axis=1)
# for count in (1, 2, 4, 8):
#     several = codes[:, 8 : 8 + count].mean(axis=1)
#     distance = ((several[:, None] - means) ** 2).sum(axis=-1)
#     print(count, np.mean(distance.argmin(axis=1) == np.arange(N_TEST)))
# ```
#
# The errors of single codes average out, so the share increases with the number of
# beats. These distances are not scaled, so the first number is lower than in the table.
#
# </details>
#
# **2.** Use the coherent code to detect ectopic beats: compute the distance between the
# code of a beat and the mean code of the other beats of its patient.
#
# <details><summary>Solution</summary>
#
# ```python
# codes = coherent(rows).reshape(N_TEST, 16, -1)
# others = (codes.sum(axis=1, keepdims=True) - codes) / 15
# distance = np.linalg.norm(codes - others, axis=-1)
# print(sk.evaluation.detection(distance.ravel(), ectopic.ravel()))
# ```
#
# This score compares a beat with other beats of the same patient, not with all training
# beats.
#
# </details>
#
# **3.** Train the original form, `conditional_nuisance=False`, and compare the
# redatuming error and the share of identified beats.
#
# <details><summary>Solution</summary>
#
# ```python
# keras.utils.set_random_seed(0)
# model = sk.models.SymAE(
#     train.instance_shape,
#     coherent_dim=16,
#     nuisance_dim=8,
#     instance_dropout=0.5,
#     conditional_nuisance=False,
#     normalization=sk.training.normalization(train),
#     seed=0,
# )
# sk.training.train(model, train, training, seed=0)
# print(repr(sk.evaluation.redatuming_error(model, normal)), identified(coherent))
# ```
#
# After the full training, its redatuming error is higher, but it identifies patients at
# least as well. The two measures do not always agree.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A plain autoencoder detects beats that differ from all training beats by their
#   reconstruction error.
# - A denoising autoencoder removes more noise than a running mean, because it has
#   learned the shapes of heartbeats.
# - SymAE separates the patient from the beat if it is known which beats belong
#   together.
# - Its coherent code identifies patients from one beat. The code of a plain autoencoder
#   is little better than the raw beat.
#
# `symae_keras.data.read_beats` reads measured beats from annotated WFDB records.
