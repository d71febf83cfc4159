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
# **Aim.** Write the evidence lower bound by hand, see what the weight of its divergence
# does to a code, and draw new data from a trained model.
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
EPOCHS = 20 if QUICK else 100
BETAS = (0.25, 2.0) if QUICK else (0.25, 0.5, 1.0, 2.0, 4.0)
DRAWS = 20 if QUICK else 200  # for the mean over the posterior

# %% [markdown]
# ## From codes to probabilities
#
# The code of a plain autoencoder can be read, but not be made up: between the codes of
# two digits there may lie nothing. A **variational autoencoder** (Kingma and Welling,
# [2013](https://arxiv.org/abs/1312.6114)) tells a story of how data come about. Draw a
# code $z$ from the *prior* $p(z) = \mathcal{N}(0, 1)$; then draw the data from
# $p(x \mid z)$, whose parameters are what the decoder says. We would like to maximise
# the probability of the data,
#
# $$\log p(x) = \log \int p(x \mid z) \, p(z) \, dz ,$$
#
# but nobody can integrate over all codes. Only codes that fit $x$ matter, and an
# encoder can guess them: $q(z \mid x) = \mathcal{N}(\mu(x), \sigma^2(x))$. For *any*
# such $q$, Jensen's inequality gives the **evidence lower bound**
#
# $$\log p(x) \; \ge \; \mathbb{E}_{q(z \mid x)} \left[ \log p(x \mid z) \right]
# \; - \; \mathrm{KL}\left( q(z \mid x) \,\|\, p(z) \right) .$$
#
# The first term, the *reconstruction*, wants codes that tell the data. The second is
# the *price* of a code: how much more $q$ knows than the prior, in *nats* (1 nat is
# 1.44 bits). What is missing to equality is $\mathrm{KL}(q(z \mid x) \,\|\, p(z \mid
# x))$, how wrong the guess is.
#
# ## Data and model
#
# Handwritten digits of 8 x 8 pixels, from scikit-learn. We make every pixel ink or
# paper, 1 or 0, so that the right likelihood is that of coins, of Bernoulli:
#
# $$\log p(x \mid z) = \sum_i x_i \log \pi_i(z) + (1 - x_i) \log (1 - \pi_i(z)) ,$$
#
# where the decoder gives $\pi = \mathrm{sigmoid}(\text{logits})$.

# %%
digits = load_digits()
x_all = (digits.images > 8.0).astype("float32")  # of 16 shades
x, x_test = x_all[:1400], x_all[1400:]
labels = digits.target[1400:]
CODE = 6


def network(beta=1.0):
    """An untrained variational autoencoder of the digits."""
    keras.utils.set_random_seed(0)
    return sk.models.VAE(
        (8, 8), code_dim=CODE, likelihood="bernoulli", kl_weight=beta, seed=0
    )


model = network()
mean, log_variance = ops.split(model.instance_encoder(x_test), 2, axis=-1)
mean.shape, log_variance.shape

# %% [markdown]
# ## The bound by hand
#
# The encoder gives two numbers for each of the code: the mean, and the logarithm of the
# variance, since a logarithm may have any sign. For Gaussians the price is a closed
# formula, a sum over the numbers of the code:
#
# $$\mathrm{KL} = \frac{1}{2} \sum_j \left( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2
# \right) .$$


# %%
def divergence(mean, log_variance):
    """KL(q || p) of each instance and number of the code, in nats."""
    return 0.5 * (ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance)


by_hand = float(ops.mean(ops.sum(divergence(mean, log_variance), axis=-1)))
model(x_test)  # every call puts the price into model.losses
by_model = float(model.losses[0])
np.testing.assert_allclose(by_hand, by_model, rtol=1e-5)
display(Markdown(f"By hand {by_hand:.6f} nats, by the model {by_model:.6f} nats."))

# %% [markdown]
# The expectation over $q$ is estimated with draws. Drawing does not have a gradient, so
# the randomness is moved out of the way of it: $z = \mu + \sigma \varepsilon$ with
# $\varepsilon \sim \mathcal{N}(0, 1)$ is a smooth function of $\mu$ and $\sigma$. This
# is the *reparametrisation trick*; one draw for each instance and step is enough to
# train.


# %%
def log_likelihood(x, logits):
    """Bernoulli log p(x | z) of each instance, a sum over pixels."""
    each = x * ops.log_sigmoid(logits) + (1.0 - x) * ops.log_sigmoid(-logits)
    return ops.sum(each, axis=(1, 2))


def negative_bound(model, x, seed):
    """One-draw estimate of the negative bound: reconstruction and price, in nats."""
    mean, log_variance = ops.split(model.instance_encoder(x), 2, axis=-1)
    noise = keras.random.normal(ops.shape(mean), seed=seed)
    z = mean + ops.exp(0.5 * log_variance) * noise
    reconstruction = -log_likelihood(x, model.instance_decoder(z))
    price = ops.sum(divergence(mean, log_variance), axis=-1)
    return float(ops.mean(reconstruction)), float(ops.mean(price))


# %% [markdown]
# Against the loss of the package: `likelihood_loss` of what the decoder says of the
# same codes has to be minus our log-likelihood.

# %%
z = model.encode(x_test)  # the means
ours = -float(ops.mean(log_likelihood(x_test, model.instance_decoder(z))))
theirs = float(model.likelihood_loss()(x_test, model.decode(z)))
np.testing.assert_allclose(ours, theirs, rtol=1e-4)
display(Markdown(f"By hand {ours:.4f} nats, by `likelihood_loss` {theirs:.4f} nats."))

# %% [markdown]
# ## Training
#
# `fit` minimises the negative bound, with the two parts in its history.


# %%
def train(model, callbacks=()):
    """Fit to the digits; return the history."""
    model.compile(keras.optimizers.Adam(1e-3), loss=model.likelihood_loss())
    fitted = model.fit(
        x, x, batch_size=64, epochs=EPOCHS, callbacks=list(callbacks), verbose=0
    )
    return fitted.history


model = network()
history = train(model)

# %%
fig = Figure(figsize=(7.5, 2.8))
left, right = fig.subplots(1, 2)
epochs = np.arange(1, EPOCHS + 1)
left.plot(epochs, history["reconstruction_loss"])
left.set(xlabel="epoch", ylabel="reconstruction (nats)")
right.plot(epochs, history["kl_loss"], color="C1")
right.set(xlabel="epoch", ylabel="price of the code (nats)")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
fig

# %%
estimates = np.array([negative_bound(model, x_test, seed) for seed in range(DRAWS)])
totals = estimates.sum(axis=1)
display(
    Markdown(
        f"New digits: {estimates[:, 0].mean():.2f} nats of reconstruction and "
        f"{estimates[:, 1].mean():.2f} of price, a bound of {-totals.mean():.2f} "
        f"$\\pm$ {totals.std() / np.sqrt(DRAWS):.2f} nats (standard error of "
        f"{DRAWS} draws of each)."
    )
)

# %% [markdown]
# ## The weight of the price
#
# The $\beta$-VAE (Higgins et al., [2017](https://openreview.net/forum?id=Sy2fzU9gl))
# weighs the price,
#
# $$\mathcal{L}_\beta = - \mathbb{E}_q \log p(x \mid z) + \beta \, \mathrm{KL} .$$
#
# With $\beta < 1$ codes may tell more; with $\beta > 1$ a number of the code has to
# earn its price, and some give up: their posterior becomes the prior, whatever $x$ is,
# and they tell nothing. That is **posterior collapse**.


# %%
def prices(model):
    """Mean divergence of each number of the code over new digits, largest first."""
    mean, log_variance = ops.split(model.instance_encoder(x_test), 2, axis=-1)
    each = ops.mean(divergence(mean, log_variance), axis=0)
    return np.sort(ops.convert_to_numpy(each))[::-1]


models = {beta: model if beta == 1.0 else network(beta) for beta in BETAS}
for beta, each in models.items():
    if beta != 1.0:
        train(each)

# %%
fig = Figure(figsize=(7.5, 3.2))
left, right = fig.subplots(1, 2)
points = {
    b: np.mean([negative_bound(m, x_test, s) for s in range(20)], axis=0)
    for b, m in models.items()
}
ordered = np.array(list(points.values()))
left.plot(ordered[:, 1], ordered[:, 0], "o-")
for n, (beta, (lost, price)) in enumerate(points.items()):
    above = (5, 5) if n % 2 == 0 else (-8, -14)  # in turn, so that none meet
    left.annotate(f"β = {beta:g}", (price, lost), above, textcoords="offset points")
left.set(xlabel="price of the code (nats)", ylabel="reconstruction (nats)")
left.margins(x=0.25, y=0.12)
for beta, marker in zip((BETAS[0], BETAS[-1]), "os", strict=True):
    right.plot(
        np.arange(1, CODE + 1),
        prices(models[beta]),
        marker,
        ls="-",
        label=f"β = {beta:g}",
    )
right.set(xlabel="number of the code, in order", ylabel="price (nats)")
right.legend(frameon=False)
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
fig

# %%
low, high = BETAS[0], BETAS[-1]
display(
    Markdown(
        f"With $\\beta = {low:g}$ {int((prices(models[low]) > 0.1).sum())} of {CODE} "
        f"numbers cost more than 0.1 nats, with $\\beta = {high:g}$ "
        f"{int((prices(models[high]) > 0.1).sum())}."
    )
)

# %% [markdown]
# The curve on the left is one of *rate and distortion*: nats spent on the code against
# nats that are still missing. $\beta = 1$ is where one buys the other at par, and only
# there is the sum a bound on $\log p(x)$.
#
# ## Annealing
#
# At the start of training, codes tell nothing yet, and the price is all that a large
# $\beta$ sees: it may close a number of the code before it had a chance. So one lets
# the price rise slowly. `KLSchedule` sets the weight before every step.

# %%
total = EPOCHS * -(-len(x) // 64)
BETA = 2.0


def rising(step):
    """From 0 to BETA over the first half of the training."""
    return BETA * min(1.0, step / (0.5 * total))


annealed = network(BETA)
annealed_history = train(annealed, [sk.callbacks.KLSchedule(rising)])
at_once, slowly = prices(models[BETA]), prices(annealed)
fig = Figure(figsize=(6.0, 3.0))
ax = fig.subplots()
places = np.arange(1, CODE + 1)
ax.bar(places - 0.2, at_once, 0.4, label=f"β = {BETA:g} from the start")
ax.bar(places + 0.2, slowly, 0.4, label="rising from 0")
ax.set(xlabel="number of the code, in order", ylabel="price (nats)")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
fig

# %%
rows = ["| | reconstruction | price | with the weight |", "|---|---|---|---|"]
for name, each in (("from the start", models[BETA]), ("rising from 0", annealed)):
    lost, price = np.mean([negative_bound(each, x_test, s) for s in range(20)], axis=0)
    rows.append(f"| {name} | {lost:.2f} | {price:.2f} | {lost + BETA * price:.2f} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# Judge by the last column, which is what both of them minimise. Annealing is no cure
# for a price that is too high in the end: a number that does not earn it closes later.
# It helps where codes are closed too early. (A schedule in cycles, or `free_bits=`,
# what each number may tell at no cost, are other remedies.)
#
# ## Drawing new digits
#
# Now codes can be made up: draw from the prior and decode.

# %%
drawn = np.asarray(model.sample(24))
fig = Figure(figsize=(7.5, 2.2))
for ax, image in zip(fig.subplots(2, 12).flat, drawn, strict=True):
    ax.imshow(image, cmap="gray_r", vmin=0.0, vmax=1.0)
    ax.set_axis_off()
fig

# %% [markdown]
# Shown are the probabilities $\pi(z)$; the second step of the story draws ink with
# them. How near to digits are such draws? The energy distance compares two sets of
# data. How low it can be, the training digits tell; how high it is for somebody who
# only knows how often each pixel has ink, the last row.

# %%
rng = np.random.default_rng(0)
alone = np.broadcast_to(x.mean(axis=0), x_test.shape)
rows = ["| against new digits | energy distance |", "|---|---|"]
for name, each in {
    "digits of the training": x,
    "drawn from the model": rng.binomial(1, model.sample(len(x_test))),
    "pixels drawn one by one": rng.binomial(1, alone),
}.items():
    rows.append(f"| {name} | {sk.evaluation.energy_distance(each, x_test):.4f} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# ## Walking through the code
#
# A *traversal* changes one number of the code and holds the others. Each row below
# starts from the code of one digit and moves one number from -3 to 3; numbers are
# ordered by their price, and those that collapsed would show no change.

# %%
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
# Nothing has told the model of the ten classes, and yet codes of one class lie
# together. Two numbers of the code, those with the highest price:

# %%
fig = Figure(figsize=(5.0, 4.2))
ax = fig.subplots()
one, two = (ops.convert_to_numpy(mean)[:, j] for j in order[:2])
for digit in range(10):
    of = labels == digit
    for a, b in zip(one[of], two[of], strict=True):
        ax.text(a, b, str(digit), color=f"C{digit}", fontsize=8, ha="center")
reach = 1.1 * max(np.abs(one).max(), np.abs(two).max())
ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
ax.set(xlabel=f"$z_{{{order[0] + 1}}}$", ylabel=f"$z_{{{order[1] + 1}}}$")
fig

# %% [markdown]
# ## Spectra: the Gaussian likelihood
#
# For spectra the likelihood is Gaussian with the noise $s$ of the data. Then the
# reconstruction term is a squared error over $2 s^2$, *summed* over pixels:
# `loss=model.likelihood_loss(scale=s)`. With `loss="mse"`, a mean over $P$ pixels, the
# same bound has the weight
#
# $$\beta = \frac{2 s^2}{P} .$$
#
# So who writes `"mse"` and leaves `kl_weight` at 1 has a $\beta$ that is larger by
# orders of magnitude, and wonders about a collapsed code.
#
# ## Exercises
#
# **1. A bound nearer to the truth.** Burda et al.
# ([2015](https://arxiv.org/abs/1509.00519)) average *weights*
# $w = p(x \mid z) \, p(z) / q(z \mid x)$ of $K$ draws before they take the logarithm.
# Show that $\log \frac{1}{K} \sum_k w_k$ rises with $K$.
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
# (The constants $\log 2 \pi$ of prior and posterior cancel.) With one draw it is the
# evidence lower bound.
#
# </details>
#
# **2. Between two digits.** Decode ten codes on the straight line between the codes of
# two test digits. Do so with a plain `sk.models.Autoencoder`, too.
#
# <details><summary>Solution</summary>
#
# ```python
# keras.utils.set_random_seed(0)
# plain = sk.models.Autoencoder((8, 8), CODE)
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
# Codes of the variational model fill the space around zero, so that what lies between
# two of them is more often something like a digit.
#
# </details>
#
# **3. Free bits.** Train with $\beta = 4$ and `free_bits=0.5`. How many numbers of the
# code are in use, and what does it cost?
#
# <details><summary>Solution</summary>
#
# ```python
# keras.utils.set_random_seed(0)
# freed = sk.models.VAE(
#     (8, 8), CODE, likelihood="bernoulli", kl_weight=4.0, free_bits=0.5, seed=0
# )
# train(freed)
# print(prices(freed))
# print(np.mean([negative_bound(freed, x_test, s) for s in range(20)], axis=0))
# ```
#
# Up to 0.5 nats a number is free, so that each of them is used for about that much; the
# price that is paid for it stands in the second of the two last numbers.
#
# </details>

# %% [markdown]
# ## Summary
#
# - A variational autoencoder maximises a lower bound on the probability of the data:
#   reconstruction minus price, both in nats.
# - The price of a Gaussian code is a closed formula, and drawing is made differentiable
#   by $z = \mu + \sigma \varepsilon$.
# - $\beta$ moves along a curve of rate and distortion; a high price closes numbers of
#   the code.
# - New data come from codes that are drawn from the prior.
# - With a mean squared error, mind the weight: $2 s^2 / P$, not 1.
#
# Next: [05](05_groups_and_permutation_invariance.ipynb), where several measurements
# share one code.
