# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 Variational autoencoders
#
# **Aim.** Derive and compute the evidence lower bound, see how the weight of the KL
# divergence changes the code, and generate new data from a trained model.
#
# **Prerequisites.** [Tutorial 01](01_what_an_autoencoder_is.ipynb); probability
# densities, expectation, Bayes' rule.
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
from sklearn.datasets import load_digits

import symae_keras as sk

COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
plt.rcParams.update({"figure.dpi": 110, "figure.constrained_layout.use": True})
# %matplotlib inline
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
EPOCHS = 1 if QUICK else 100
N_TRAIN = 256 if QUICK else 1400  # digits
BETAS = (0.25, 2.0) if QUICK else (0.25, 0.5, 1.0, 2.0, 4.0)
DRAWS = 4 if QUICK else 200  # for the mean over the posterior
IDX_FOLDER = os.environ.get("SYMAE_IMAGES")  # with idx files, such as those of MNIST

# %% [markdown]
# ## From codes to probabilities
#
# You can decode the codes of a plain autoencoder, but you cannot invent new ones: a
# code between those of two digits may decode to something that is not a digit. A
# **variational autoencoder** (Kingma and Welling,
# [2013](https://arxiv.org/abs/1312.6114)) is a probabilistic model of the data. First,
# a code $z$ is drawn from the *prior* $p(z) = \mathcal{N}(0, 1)$. Then the data are
# drawn from $p(x \mid z)$, whose parameters are the output of the decoder. We would
# like to maximise the probability of the data,
#
# $$\log p(x) = \log \int p(x \mid z) \, p(z) \, dz ,$$
#
# but the integral over all codes cannot be computed. Only codes that fit $x$ contribute
# to it, and an encoder can approximate their distribution:
# $q(z \mid x) = \mathcal{N}(\mu(x), \sigma^2(x))$. For *any* such $q$, Jensen's
# inequality gives the **evidence lower bound**
#
# $$\log p(x) \; \ge \; \mathbb{E}_{q(z \mid x)} \left[ \log p(x \mid z) \right]
# \; - \; \mathrm{KL}\left( q(z \mid x) \,\|\, p(z) \right) .$$
#
# The first term is the *reconstruction*: it is large if codes allow an accurate
# reconstruction. The second term is the *KL divergence* of the code, in *nats* (1 nat
# is 1.44 bits). It measures how much information $q$ contains beyond the prior, so it
# acts as a cost of the code. The difference between the two sides is
# $\mathrm{KL}(q(z \mid x) \,\|\, p(z \mid x))$, the error of the approximation.
#
# ## Data and model
#
# The data are handwritten digits of 8 x 8 pixels from scikit-learn. We set each pixel
# to 1 (ink) or 0 (paper), so the Bernoulli likelihood is the right one:
#
# $$\log p(x \mid z) = \sum_i x_i \log \pi_i(z) + (1 - x_i) \log (1 - \pi_i(z)) ,$$
#
# where the decoder outputs the logits of $\pi = \mathrm{sigmoid}(\text{logits})$.
#
# <div class="admonition tip alert alert-success">
# <p class="admonition-title"><b>Tip</b></p>
#
# To use MNIST or Fashion-MNIST instead, set the environment variable `SYMAE_IMAGES` to
# a folder that contains their four idx files before you start the notebook. [The page
# on reproduced results](../docs/reproduction.md) says where to find these files.
#
# </div>

# %%
if IDX_FOLDER:
    x, _ = sk.data.load_idx(IDX_FOLDER)
    x_test, labels = sk.data.load_idx(IDX_FOLDER, "test")
    x, x_test = ((each > 127).astype("float32") for each in (x[:5000], x_test[:1000]))
    labels = labels[:1000]
else:
    digits = load_digits()
    x_all = (digits.images > 8.0).astype("float32")  # of 16 shades
    x, x_test = x_all[:N_TRAIN], x_all[1400:]
    labels = digits.target[1400:]
SHAPE = x.shape[1:]
CODE = 6

fig = Figure(figsize=(7.5, 2.7))
for ax, image in zip(fig.subplots(5, 14).flat, x, strict=False):
    ax.imshow(image, cmap="gray_r", vmin=0.0, vmax=1.0)
    ax.set_axis_off()
display(fig)


def network(beta=1.0):
    """Return an untrained variational autoencoder of the digits."""
    keras.utils.set_random_seed(0)
    return sk.models.VAE(
        SHAPE, code_dim=CODE, likelihood="bernoulli", kl_weight=beta, seed=0
    )


model = network()
mean, log_variance = ops.split(model.instance_encoder(x_test), 2, axis=-1)
mean.shape, log_variance.shape

# %% [markdown]
# ## Computing the bound
#
# The encoder outputs two values for each number of the code: the mean and the logarithm
# of the variance. (A logarithm can have any sign, so the output needs no constraint.)
# For Gaussians, the KL divergence has a closed form, a sum over the numbers of the
# code:
#
# $$\mathrm{KL} = \frac{1}{2} \sum_j \left( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2
# \right) .$$


# %%
def divergence(mean, log_variance):
    """Compute KL(q || p) of each instance and number of the code, in nats."""
    return 0.5 * (ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance)


by_hand = float(ops.mean(ops.sum(divergence(mean, log_variance), axis=-1)))
model(x_test)  # each call adds the KL divergence to model.losses
by_model = float(model.losses[0])
np.testing.assert_allclose(by_hand, by_model, rtol=1e-5)
display(Markdown(f"Formula: {by_hand:.6f} nats. Model: {by_model:.6f} nats."))

# %% [markdown]
# The expectation over $q$ is estimated from random draws. A random draw has no gradient
# with respect to $\mu$ and $\sigma$. Therefore we write it as
# $z = \mu + \sigma \varepsilon$ with $\varepsilon \sim \mathcal{N}(0, 1)$, which is a
# smooth function of $\mu$ and $\sigma$. This is the *reparametrisation trick*. One draw
# per instance and step is enough for training.


# %%
def log_likelihood(x, logits):
    """Compute Bernoulli log p(x | z) of each instance, a sum over pixels."""
    each = x * ops.log_sigmoid(logits) + (1.0 - x) * ops.log_sigmoid(-logits)
    return ops.sum(each, axis=(1, 2))


def negative_bound(model, x, seed):
    """Estimate both terms of the negative bound from one draw, in nats."""
    mean, log_variance = ops.split(model.instance_encoder(x), 2, axis=-1)
    noise = keras.random.normal(ops.shape(mean), seed=seed)
    z = mean + ops.exp(0.5 * log_variance) * noise
    reconstruction = -log_likelihood(x, model.instance_decoder(z))
    kl = ops.sum(divergence(mean, log_variance), axis=-1)
    return float(ops.mean(reconstruction)), float(ops.mean(kl))


# %% [markdown]
# We compare with the loss of the package: `likelihood_loss`, applied to the decoder
# output of the same codes, has to be minus our log-likelihood.

# %%
z = model.encode(x_test)  # the means
ours = -float(ops.mean(log_likelihood(x_test, model.instance_decoder(z))))
theirs = float(model.likelihood_loss()(x_test, model.decode(z)))
np.testing.assert_allclose(ours, theirs, rtol=1e-4)
display(Markdown(f"Formula: {ours:.4f} nats. `likelihood_loss`: {theirs:.4f} nats."))

# %% [markdown]
# ## Training
#
# `fit` minimises the negative bound and records both parts in its history.


# %%
def train(model, callbacks=()):
    """Train on the digits and return the history."""
    model.compile(keras.optimizers.Adam(1e-3), loss=model.likelihood_loss())
    fitted = model.fit(
        x, x, batch_size=64, epochs=EPOCHS, callbacks=list(callbacks), verbose=0
    )
    return fitted.history


model = network()
history = train(model)

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig = Figure(figsize=(7.5, 2.8))
left, right = fig.subplots(1, 2)
epochs = np.arange(1, EPOCHS + 1)
left.plot(epochs, history["reconstruction_loss"])
left.set(xlabel="epoch", ylabel="reconstruction (nats)")
right.plot(epochs, history["kl_loss"], color="C1")
right.set(xlabel="epoch", ylabel="KL divergence (nats)")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
fig

# %%
estimates = np.array([negative_bound(model, x_test, seed) for seed in range(DRAWS)])
totals = estimates.sum(axis=1)
display(
    Markdown(
        f"Test digits: reconstruction {estimates[:, 0].mean():.2f} nats, KL divergence "
        f"{estimates[:, 1].mean():.2f} nats. The bound is {-totals.mean():.2f} "
        f"$\\pm$ {totals.std() / np.sqrt(DRAWS):.2f} nats (standard error of "
        f"{DRAWS} draws)."
    )
)

# %% [markdown]
# ## The weight of the KL divergence
#
# The $\beta$-VAE (Higgins et al., [2017](https://openreview.net/forum?id=Sy2fzU9gl))
# multiplies the KL divergence by a weight,
#
# $$\mathcal{L}_\beta = - \mathbb{E}_q \log p(x \mid z) + \beta \, \mathrm{KL} .$$
#
# With $\beta < 1$, codes may contain more information. With $\beta > 1$, a number of
# the code is used only if it improves the reconstruction by more than its cost. For the
# others, the posterior becomes equal to the prior for every $x$, so they contain no
# information. This is called **posterior collapse**.


# %%
def kl_per_number(model):
    """Return the mean KL divergence of each number of the code, largest first."""
    mean, log_variance = ops.split(model.instance_encoder(x_test), 2, axis=-1)
    each = ops.mean(divergence(mean, log_variance), axis=0)
    return np.sort(ops.convert_to_numpy(each))[::-1]


models = {beta: model if beta == 1.0 else network(beta) for beta in BETAS}
for beta, each in models.items():
    if beta != 1.0:
        train(each)

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig = Figure(figsize=(7.5, 3.2))
left, right = fig.subplots(1, 2)
points = {
    b: np.mean([negative_bound(m, x_test, s) for s in range(20)], axis=0)
    for b, m in models.items()
}
ordered = np.array(list(points.values()))
left.plot(ordered[:, 1], ordered[:, 0], "o-")
for n, (beta, (lost, kl)) in enumerate(points.items()):
    above = (5, 5) if n % 2 == 0 else (-8, -14)  # alternate, to avoid overlaps
    left.annotate(f"β = {beta:g}", (kl, lost), above, textcoords="offset points")
left.set(xlabel="KL divergence (nats)", ylabel="reconstruction (nats)")
left.margins(x=0.25, y=0.12)
for beta, marker in zip((BETAS[0], BETAS[-1]), "os", strict=True):
    right.plot(
        np.arange(1, CODE + 1),
        kl_per_number(models[beta]),
        marker,
        ls="-",
        label=f"β = {beta:g}",
    )
right.set(xlabel="number of the code, sorted", ylabel="KL divergence (nats)")
right.legend(frameon=False)
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
fig

# %%
low, high = BETAS[0], BETAS[-1]
n_low, n_high = (int((kl_per_number(models[b]) > 0.1).sum()) for b in (low, high))
display(
    Markdown(
        f"With $\\beta = {low:g}$, {n_low} of {CODE} numbers have a KL above "
        f"0.1 nats. With $\\beta = {high:g}$, it is {n_high}."
    )
)

# %% [markdown]
# The curve on the left is a *rate-distortion* curve: it shows the nats in the code
# against the nats that the reconstruction still lacks. Only with $\beta = 1$ is the sum
# of both a bound on $\log p(x)$.
#
# ## Annealing of the weight
#
# At the start of training, codes contain no information yet. With a large $\beta$, the
# KL term can then suppress a number of the code before the decoder has learned to use
# it. Annealing increases the weight slowly from 0. `KLSchedule` sets the weight before
# every step.

# %%
total = EPOCHS * -(-len(x) // 64)
BETA = 2.0


def rising(step):
    """Increase the weight from 0 to BETA in the first half of the training."""
    return BETA * min(1.0, step / (0.5 * total))


annealed = network(BETA)
annealed_history = train(annealed, [sk.callbacks.KLSchedule(rising)])
at_once, slowly = kl_per_number(models[BETA]), kl_per_number(annealed)
fig = Figure(figsize=(6.0, 3.0))
ax = fig.subplots()
places = np.arange(1, CODE + 1)
ax.bar(places - 0.2, at_once, 0.4, label=f"β = {BETA:g} from the start")
ax.bar(places + 0.2, slowly, 0.4, label="annealed from 0")
ax.set(xlabel="number of the code, sorted", ylabel="KL divergence (nats)")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
fig

# %%
rows = {}
for name, each in (("from the start", models[BETA]), ("annealed from 0", annealed)):
    lost, kl = np.mean([negative_bound(each, x_test, s) for s in range(20)], axis=0)
    rows[name] = (lost, kl, lost + BETA * kl)
heads = ["reconstruction", "KL divergence", "weighted sum"]
pd.DataFrame.from_dict(rows, orient="index", columns=heads).round(2)

# %% [markdown]
# Compare the last column, because both models minimise this sum. Annealing does not
# help if the final weight is too high: a number that does not improve the
# reconstruction enough is suppressed later. Annealing helps if numbers are suppressed
# too early. Other remedies are a cyclic schedule, and `free_bits=`, an amount of
# information per number of the code that is not penalised.
#
# ## New digits
#
# To generate new digits, we draw codes from the prior and decode them.

# %%
drawn = np.asarray(model.sample(24))
fig = Figure(figsize=(7.5, 2.2))
for ax, image in zip(fig.subplots(2, 12).flat, drawn, strict=True):
    ax.imshow(image, cmap="gray_r", vmin=0.0, vmax=1.0)
    ax.set_axis_off()
fig

# %% [markdown]
# The figure shows the probabilities $\pi(z)$. The binary pixels are then drawn with
# these probabilities. How similar are the generated digits to real ones? The energy
# distance compares two sets of data. The table has two references: the distance of the
# training digits is the best that can be expected. The last row is a simple baseline
# that draws each pixel independently, with the frequency of ink at that pixel.

# %%
rng = np.random.default_rng(0)
alone = np.broadcast_to(x.mean(axis=0), x_test.shape)
sets = {
    "training digits": x,
    "generated by the model": rng.binomial(1, model.sample(len(x_test))),
    "independent pixels": rng.binomial(1, alone),
}
distances = {
    name: sk.evaluation.energy_distance(each, x_test) for name, each in sets.items()
}
pd.Series(distances, name="energy distance to test digits").to_frame().round(4)

# %% [markdown]
# ## Latent traversal
#
# A *traversal* changes one number of the code and keeps the others fixed. Each row
# below starts from the code of one digit and changes one number from -3 to 3. The rows
# are sorted by the KL divergence of the number. A number that has collapsed has no
# effect.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
mean, log_variance = ops.split(model.instance_encoder(x_test), 2, axis=-1)
order = np.argsort(
    -ops.convert_to_numpy(ops.mean(divergence(mean, log_variance), axis=0))
)
steps = np.linspace(-3.0, 3.0, 11)
start = np.asarray(model.encode(x_test[:1]))
fig = Figure(figsize=(7.5, 4.4))
axes = fig.subplots(CODE, len(steps))
for line, j in zip(axes, order, strict=True):
    walk = np.repeat(start, len(steps), axis=0)
    walk[:, j] = steps
    for ax, image, step in zip(
        line, np.asarray(model.decode(walk)), steps, strict=True
    ):
        ax.imshow(image, cmap="gray_r", vmin=0.0, vmax=1.0)
        ax.set(xticks=[], yticks=[])
        if j == order[-1]:
            ax.set_xlabel(f"{step:.1f}", fontsize=8)
    line[0].set_ylabel(f"$z_{{{j + 1}}}$", rotation=0, labelpad=10, va="center")
fig.supxlabel("value of the number", fontsize=9)
fig

# %% [markdown]
# The model was trained without labels, but codes of the same digit form clusters. The
# figure shows the two numbers of the code with the highest KL divergence:

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig = Figure(figsize=(5.0, 4.2))
ax = fig.subplots()
one, two = (ops.convert_to_numpy(mean)[:, j] for j in order[:2])
ten = [*COLOURS, "#7A6A00", "#000000"]
for digit in range(10):
    of = labels == digit
    for a, b in zip(one[of], two[of], strict=True):
        ax.text(a, b, str(digit), color=ten[digit], fontsize=8, ha="center")
reach = 1.1 * max(np.abs(one).max(), np.abs(two).max())
ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
ax.set(xlabel=f"$z_{{{order[0] + 1}}}$", ylabel=f"$z_{{{order[1] + 1}}}$")
fig

# %% [markdown]
# ## The Gaussian likelihood for spectra
#
# For spectra, the likelihood is Gaussian with the noise $s$ of the data. The
# reconstruction term is then a squared error divided by $2 s^2$ and *summed* over
# pixels: `loss=model.likelihood_loss(scale=s)`. The loss `"mse"` is a mean over $P$
# pixels. With it, the same bound has the weight
#
# $$\beta = \frac{2 s^2}{P} .$$
#
# <div class="admonition warning alert alert-warning">
# <p class="admonition-title"><b>Warning</b></p>
#
# With `loss="mse"` and the default `kl_weight=1`, $\beta$ is too large by orders of
# magnitude, and the code collapses. Set `kl_weight` to $2 s^2 / P$ or use
# `likelihood_loss`.
#
# </div>
#
# ## Exercises
#
# **1. A tighter bound.** Burda et al. ([2015](https://arxiv.org/abs/1509.00519))
# average the *weights* $w = p(x \mid z) \, p(z) / q(z \mid x)$ of $K$ draws before they
# take the logarithm. Show that $\log \frac{1}{K} \sum_k w_k$ increases with $K$.
#
# <details><summary>Solution</summary>
#
# ```python
# def log_weights(model, x, seed):
#     mean, log_variance = ops.split(model.instance_encoder(x), 2, axis=-1)
#     noise = keras.random.normal(ops.shape(mean), seed=seed)
#     z = mean + ops.exp(0.5 * log_variance) * noise
#     log_prior = -0.5 * ops.sum(ops.square(z), axis=-1)
#     log_posterior = -0.5 * ops.sum(ops.square(noise) + log_variance, axis=-1)
#     return log_likelihood(x, model.instance_decoder(z)) + log_prior - log_posterior
#
#
# draws = np.stack([np.asarray(log_weights(model, x_test, s)) for s in range(64)])
# for k in (1, 8, 64):
#     top = draws[:k].max(axis=0)
#     bound = top + np.log(np.mean(np.exp(draws[:k] - top), axis=0))
#     print(k, bound.mean())
# ```
#
# The constants $\log 2 \pi$ of the prior and the posterior cancel. With one draw, the
# result is the evidence lower bound.
#
# </details>
#
# **2. Interpolation.** Decode ten codes on the straight line between the codes of two
# test digits. Do the same with a plain `sk.models.Autoencoder`.
#
# <details><summary>Solution</summary>
#
# ```python
# keras.utils.set_random_seed(0)
# plain = sk.models.Autoencoder(SHAPE, CODE)
# plain.compile(keras.optimizers.Adam(1e-3), loss="mse")
# plain.fit(x, x, batch_size=64, epochs=EPOCHS, verbose=0)
# ends = x_test[[0, np.argmax(labels != labels[0])]]
# fig = Figure(figsize=(7.5, 1.8))
# for line, each in zip(fig.subplots(2, 10), (model, plain), strict=True):
#     first, last = np.asarray(each.encode(ends))
#     way = np.linspace(first, last, 10)
#     for ax, image in zip(line, np.asarray(each.decode(way)), strict=True):
#         ax.imshow(image, cmap="gray_r", vmin=0.0, vmax=1.0)
#         ax.set_axis_off()
# display(fig)
# ```
#
# The codes of the variational model fill the space around zero, so a point between two
# codes is more likely to decode to a digit.
#
# </details>
#
# **3. Free bits.** Train with $\beta = 4$ and `free_bits=0.5`. How many numbers of the
# code are in use, and what is their KL divergence?
#
# <details><summary>Solution</summary>
#
# ```python
# keras.utils.set_random_seed(0)
# freed = sk.models.VAE(
#     SHAPE, CODE, likelihood="bernoulli", kl_weight=4.0, free_bits=0.5, seed=0
# )
# train(freed)
# print(kl_per_number(freed))
# print(np.mean([negative_bound(freed, x_test, s) for s in range(20)], axis=0))
# ```
#
# The first 0.5 nats per number are not penalised, so each number is used to about that
# amount. The second of the two last numbers is the total KL divergence.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A variational autoencoder maximises a lower bound on the probability of the data:
#   the reconstruction term minus the KL divergence, both in nats.
# - The KL divergence of a Gaussian code has a closed form, and
#   $z = \mu + \sigma \varepsilon$ makes the random draw differentiable.
# - $\beta$ selects a point on a rate-distortion curve. A high weight makes numbers of
#   the code collapse.
# - New data are generated from codes that are drawn from the prior.
# - With a mean squared error, the weight is $2 s^2 / P$, not 1.
#
# Next: [05 Groups and permutation
# invariance](05_groups_and_permutation_invariance.ipynb) explains models in which
# several measurements share one code.
