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
# # 10 Grouped baselines
#
# **Aim.** Compare SymAE with the multi-level VAE, the group VAE, the neural
# statistician and a linear baseline, so that the difference is the *idea* and nothing
# else; read the table and the figure; and know how far a result can be trusted.
#
# **Prerequisites.** Tutorial 06 (SymAE); the VAE's evidence lower bound helps
# (tutorial 04).
#
# **Time.** About 9 minutes on two CPU cores
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
import os
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import symae_keras as sk
from symae_keras.evaluation import CONTENDERS, Sizes, compare

# %matplotlib inline
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_TRAIN = 128 if QUICK else 640
N_TEST = 19 if QUICK else 100  # probes for leakage need 20, and take their time
EPOCHS = 6 if QUICK else 20
SEEDS = 2 if QUICK else 3
MODELS = ["symae", "neural_statistician", "mlvae", "gvae", "mean_swap"]
if QUICK:
    MODELS = ["symae", "mlvae", "mean_swap"]
FOLDER = Path(tempfile.mkdtemp())  # for all files of this notebook

# %% [markdown]
# ## The contestants
#
# All of them describe a group $x[1], \dots, x[T]$ by one code of the group and one of
# each instance, and decode an instance from both.
#
# | model | code of the group | code of an instance | what keeps them apart |
# |---|---|---|---|
# | SymAE | $C = g(\text{mean}_t f(x[t]))$ | $N[t] = h(x[t], C)$ | noise on $N$ |
# | Neural statistician | $q(c \mid X)$ | $q(z \mid x[t], c)$ | divergences |
# | ML-VAE | product of instances' Gaussians | $q(z \mid x[t])$ | divergences |
# | GVAE | average of instances' Gaussians | $q(z \mid x[t])$ | divergences |
# | mean swap | mean of the group | deviation from it | nothing is learned |
#
# Sources: [Bharadwaj, Li & Demanet (2021)](https://arxiv.org/abs/2108.02537),
# [Edwards & Storkey (2016)](https://arxiv.org/abs/1606.02185),
# [Bouchacourt, Tomioka & Nowozin (2017)](https://arxiv.org/abs/1705.08841),
# [Hosoya (2018)](https://arxiv.org/abs/1809.02383).
#
# Note the third column: ML-VAE and GVAE read the code of an instance from **that
# instance alone**. The other two also know the group.
#
# ## What "fair" means
#
# A comparison answers a question only if the models differ in what the question is
# about. The easy ways to be unfair, often by accident:
#
# | to be kept equal | how it goes wrong |
# |---|---|
# | encoder, decoder, sizes of the codes | the newer model gets the bigger network |
# | training groups, and the draws of instances | one model sees more instances a step |
# | optimiser, learning rate, number of steps | "until convergence", judged by eye |
# | effort of tuning | the favourite gets twenty settings, the others their defaults |
# | test groups, pairs, metric | another split, or a metric that one model optimises |
# | number of runs | the best of five against the only one |
#
# `sk.evaluation.compare` fixes the first five and runs all seeds for everybody. The one
# thing that cannot be equal is each model's own regularisation, since it means
# something else in each; there every model has the setting that was best for it on the
# full-size form of these data. Let us check, rather than believe.

# %%
train = sk.data.simulate_exposures(n_states=N_TRAIN, n_instances=16, seed=0)
test = sk.data.simulate_exposures(n_states=N_TEST, n_instances=16, seed=1)
sizes = Sizes(
    coherent_dim=8,
    nuisance_dim=8,
    encoder=sk.layers.DenseEncoder(64, units=(128,)),
)
training = sk.training.Training(epochs=EPOCHS, batch_size=16, instances=8)
neural = [name for name in MODELS if CONTENDERS[name].family != "classical"]


def count(layer):
    """Numbers in the trainable weights of a layer."""
    return sum(int(np.prod(v.shape)) for v in layer.trainable_variables)


rows = []
for name in neural:
    model = CONTENDERS[name].build(train, sizes, seed=0)
    parts = [model.coherent_encoder, model.nuisance_encoder, model.instance_decoder]
    rest = count(model) - sum(map(count, parts))
    cells = " | ".join(f"{count(part):,}" for part in parts)
    rows.append(f"| {CONTENDERS[name].title} | {cells} | {rest:,} |")
head = "| model | group's encoder | instances' encoder | decoder | heads |\n"
display(Markdown(head + "|---|---:|---:|---:|---:|\n" + "\n".join(rows)))

# %% [markdown]
# Encoders and decoder are the same to the last weight; the small *heads* behind them
# differ by what a model needs (a variance beside each mean, a learned prior).
#
# Batches are functions of seed, epoch and step alone, so that two models with the same
# seed see the same instances in the same order:

# %%
one, other = (
    next(iter(sk.data.batches(train, 16, instances=8, seed=0)))[0] for _ in range(2)
)
steps = EPOCHS * int(sk.data.batches(train, 16, instances=8).cardinality())
same = bool(keras.ops.all(one == other))
display(Markdown(f"Equal batches: {same}. Every model is trained for {steps} steps."))

# %% [markdown]
# ## Run it
#
# One line. With a folder it keeps each result as soon as it is there, and goes on where
# it was stopped.

# %%
result = compare(
    train,
    test,
    models=MODELS,
    seeds=SEEDS,
    training=training,
    sizes=sizes,
    out=FOLDER / "entangled",
)
display(Markdown(result.to_markdown()))
if QUICK:
    quick = "*Quick mode: fewer models, trained far too little, no probes for leakage.*"
    display(Markdown(quick))

# %% [markdown]
# ## Read the table
#
# Each cell is the median over seeds, with the lowest and the highest in brackets.
#
# - **Reconstruction error.** How well an instance is rebuilt from its own codes. A low
#   one is necessary and proves nothing: a nuisance code that holds *everything*
#   rebuilds best. The mean swap has none at all.
# - **Redatuming error.** The state of one group under the nuisance of another, against
#   the exact truth that only a simulation has. This is what the models are for. 0 is
#   exact, 1 is no better than the mean of all data.
# - **State from nuisance code**, **nuisance from coherent code.** Leakage: how much a
#   probe (a small network) reads from the code that should not know. 0 is ideal.
# - **State from coherent code.** What the code is for: 1 is ideal.
#
# The figure sets the first two against each other. The lower, the better; how far to
# the left a point lies tells little about how low it is.

# %%
display(result.plot())


# %%
def ranks(column):
    """Models from best to worst by the median of a column."""
    return sorted(neural, key=lambda name: result.median(name, column))


by_reconstruction, by_redatuming = ranks("reconstruction"), ranks("redatuming")
leader = CONTENDERS[result.leader].title
display(
    Markdown(
        f"From best to worst by reconstruction: {', '.join(by_reconstruction)}. "
        f"By redatuming: {', '.join(by_redatuming)}. "
        f"With the mean swap in the contest, the least redatuming error has: {leader}."
    )
)

# %% [markdown]
# ## How far to trust it
#
# A seed sets the first weights, the noise and the batches. Look at all runs, not at a
# winner.

# %%
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for row, name in enumerate(MODELS):
    values = result.values(name, "redatuming")
    ax.plot(values, [row] * len(values), "o", color=f"C{row}", alpha=0.8)
    ax.plot(np.median(values), row, "|", color="black", markersize=16)
ax.set_yticks(range(len(MODELS)), [CONTENDERS[name].title for name in MODELS])
ax.invert_yaxis()
ax.set(xscale="log", xlabel="redatuming error / variance (a dot is a run)")
ticks = [0.05, 0.1, 0.2, 0.5, 1.0]
ax.set_xticks(ticks, ticks)
ax.minorticks_off()
display(fig)
plt.close(fig)

# %% [markdown]
# All models share the seeds, so that they can be compared *pair by pair*: what is easy
# or hard about a seed's batches is the same for both. Take the differences to SymAE,
# seed by seed.

# %%
lines = []
symae = np.array(result.values("symae", "redatuming"))
for name in neural[1:]:
    ratio = np.array(result.values(name, "redatuming")) / symae
    each = ", ".join(f"{value:.1f}" for value in ratio)
    wins = int((ratio > 1).sum())
    lines.append(f"| {CONTENDERS[name].title} | {each} | {wins} of {len(ratio)} |")
head = "| model | error over SymAE's, seed by seed | SymAE is better |\n|---|---|---|\n"
display(Markdown(head + "\n".join(lines)))

# %% [markdown]
# Be careful with the last column. If two models were equally good, each seed would be
# the toss of a coin, and SymAE would win *all* of $n$ by chance with probability
# $2^{-n}$:

# %%
chance = "; ".join(f"{n} seeds: {100 * 0.5**n:.2g} %" for n in (1, 2, 3, 5, 10))
display(Markdown(f"Chance of winning all by luck. {chance}."))

# %% [markdown]
# So with two or three seeds a close race is not decided. It is when the *gap* is many
# times the scatter between seeds, as the figure shows or does not show. Report the
# scatter, then the reader can judge.
#
# And seeds are only part of it. All runs share one simulated sky, one size of network
# and one budget. Some models learn fast and others late: at another number of steps the
# order may be another. [Comparison](../docs/comparison.md) has the full-size contest
# with all models of the package.
#
# ## Fair on which data?
#
# In these data a star's continuum slope and the instrument's are *entangled*: from one
# exposure nobody can tell which is which, the group has to settle it. That is a choice,
# and it decides the contest. Take the entanglement away (`entangled=False`: the star
# has no slope of its own) and run the same once more.

# %%
easy = {
    name: sk.data.simulate_exposures(
        n_states=n, n_instances=16, seed=seed, entangled=False
    )
    for name, n, seed in (("train", N_TRAIN, 0), ("test", N_TEST, 1))
}
easier = compare(
    easy["train"],
    easy["test"],
    models=MODELS,
    seeds=1,
    training=training,
    sizes=sizes,
    out=FOLDER / "identifiable",
)

lines = []
for name in MODELS:
    hard, simple = (r.median(name, "redatuming") for r in (result, easier))
    lines.append(f"| {CONTENDERS[name].title} | {hard:.3f} | {simple:.3f} |")
head = "| redatuming error | entangled | identifiable |\n|---|---:|---:|\n"
display(Markdown(head + "\n".join(lines)))

# %% [markdown]
# Where one exposure is enough to know its nuisance, a code that is read from that
# exposure alone is enough, and the VAEs come much closer. Where it is not, they
# *cannot* be right, however long they are trained: they lack the information. The
# neural statistician has it, but its instance code is measured from a prior that moves
# with the state, so that swapping codes carries part of the old state along.
#
# This is the kind of sentence that a comparison is for: not "A beats B", but *when and
# why*. A fair table on one data set cannot tell you that; a second data set that
# differs in one respect can.
#
# ## From the command line
#
# ```bash
# symae compare --quick                                  # simulated stars, some minutes
# symae compare --data spectra.npz --models symae,mlvae,mean_swap --out comparison
# ```
#
# writes `comparison.md`, `comparison.csv`, `rows.csv` (one line a run) and the figure.
# On measured data there is no exact truth, so that the redatuming column is left out.
# There, hold out conditions that were really measured (tutorial 09), or judge by
# leakage where labels are known.
#
# ## Exercises
#
# **1.** Add a seed to the comparison without training everything again. (Hint: the same
# folder.)
#
# <details><summary>Solution</summary>
#
# ```python
# more = compare(
#     train,
#     test,
#     models=MODELS,
#     seeds=SEEDS + 1,
#     training=training,
#     sizes=sizes,
#     out=FOLDER / "entangled",
# )
# print(len(result.rows), len(more.rows))
# ```
#
# Only the new seed is trained. With other data or settings the folder is refused, so
# that rows that are not comparable cannot get into one table.
#
# </details>
#
# **2.** Is ML-VAE held back by its weight of the divergences? Enter it a second time
# with ten times the weight, under a name of its own.
#
# <details><summary>Solution</summary>
#
# ```python
# from symae_keras.evaluation.contenders import Contender
#
#
# def heavier(groups, sizes, seed):
#     return sk.models.MLVAE(
#         groups.instance_shape,
#         sizes.coherent_dim,
#         sizes.nuisance_dim,
#         encoder=sizes.copy_of_encoder(),
#         normalization=sk.training.normalization(groups),
#         kl_weight=1e-2,
#         seed=seed,
#     )
#
#
# CONTENDERS["mlvae_heavier"] = Contender("ML-VAE, 0.01", "grouped VAE", heavier)
# tried = compare(
#     train,
#     test,
#     models=["mlvae", "mlvae_heavier"],
#     seeds=1,
#     training=training,
#     sizes=sizes,
# )
# print(tried.to_markdown())
# ```
#
# The same way your own model enters the contest (tutorial 12).
#
# </details>
#
# **3.** A colleague compares by *seconds* instead of steps. Which column do you need,
# and does it change the order here?
#
# <details><summary>Solution</summary>
#
# ```python
# for name in neural:
#     seconds = result.median(name, "seconds_per_step")
#     print(name, f"{1000 * seconds:.1f} ms a step")
# ```
#
# The networks are the same, so that a step costs about the same for all: equal steps
# are nearly equal seconds. That is another reason to keep networks equal. On a busy
# machine times scatter far more than errors do; measure models side by side.
#
# </details>
#
# ## Summary
#
# - Fair means: the same networks, codes, batches, optimiser, steps, seeds, test groups
#   and metric; and the same effort of tuning.
# - Judge by redatuming and leakage. Reconstruction says nothing about what the codes
#   mean.
# - Show every run. Gaps count when they are many times the scatter between seeds.
# - A second data set that differs in one respect says *why* a model wins.
#
# Next: tutorial 11 trains on several devices, tutorial 12 enters a model of your own.
