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
# statistician and a linear baseline, in such a way that only the *method* differs.
# Interpret the table and the figure, and assess how reliable the result is.
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
N_TRAIN = 32 if QUICK else 640
N_TEST = 19 if QUICK else 100  # the probes for leakage need 20 and are slow
EPOCHS = 1 if QUICK else 20
SEEDS = 2 if QUICK else 3
MODELS = ["symae", "neural_statistician", "mlvae", "gvae", "mean_swap"]
if QUICK:
    MODELS = ["symae", "mlvae", "mean_swap"]
FOLDER = Path(tempfile.mkdtemp())  # for all files of this notebook

# %% [markdown]
# ## The data
#
# The data are simulated exposures of stars, as in tutorials 06 and 07. Each image shows
# the sixteen exposures of one star. What is common to all rows is the state, and what
# differs from row to row is the nuisance.

# %%
train = sk.data.simulate_exposures(n_states=N_TRAIN, n_instances=16, seed=0)
test = sk.data.simulate_exposures(n_states=N_TEST, n_instances=16, seed=1)
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.8), sharey=True, layout="constrained")
edges = (train.axis[0], train.axis[-1], 16, 0)
for star, ax in enumerate(axes):
    shown = ax.imshow(train.x[star], cmap="inferno", aspect="auto", extent=edges)
    shown.set_clim(0.0, train.x[:3].max())
    ax.set_title(f"star {star + 1}", fontsize=10)
fig.supxlabel(train.axis_label, fontsize=10)
axes[0].set(ylabel="exposure", yticks=[0, 4, 8, 12, 16])
fig.colorbar(shown, ax=axes, label="flux (relative)")
display(fig)
plt.close(fig)

# %% [markdown]
# ## The models
#
# All models describe a group $x[1], \dots, x[T]$ by one code per group and one code per
# instance, and decode each instance from both.
#
# | model | code of the group | code of an instance | separation by |
# |---|---|---|---|
# | SymAE | $C = g(\text{mean}_t f(x[t]))$ | $N[t] = h(x[t], C)$ | noise on $N$ |
# | Neural statistician | $q(c \mid X)$ | $q(z \mid x[t], c)$ | divergences |
# | ML-VAE | product of instances' Gaussians | $q(z \mid x[t])$ | divergences |
# | GVAE | average of instances' Gaussians | $q(z \mid x[t])$ | divergences |
# | mean swap | mean of the group | deviation from it | none; no training |
#
# Sources: [Bharadwaj, Li & Demanet (2021)](https://arxiv.org/abs/2108.02537),
# [Edwards & Storkey (2016)](https://arxiv.org/abs/1606.02185),
# [Bouchacourt, Tomioka & Nowozin (2017)](https://arxiv.org/abs/1705.08841),
# [Hosoya (2018)](https://arxiv.org/abs/1809.02383).
#
# Note the third column: ML-VAE and GVAE compute the code of an instance from **that
# instance alone**. SymAE and the neural statistician also use the group.
#
# ## Rules of a fair comparison
#
# A comparison is informative only if the models differ in nothing except the property
# of interest. Typical mistakes, often made by accident:
#
# | to be kept equal | typical mistake |
# |---|---|
# | encoder, decoder, sizes of the codes | the newer model has a larger network |
# | training groups, draws of instances | one model has more instances per step |
# | optimiser, learning rate, number of steps | training "until convergence" |
# | effort of tuning | twenty settings for one model, defaults for the others |
# | test groups, pairs, metric | another split, or a metric that one model optimises |
# | number of runs | the best of five runs against a single run |
#
# `sk.evaluation.compare` keeps the first five equal and runs all seeds for all models.
# Only the regularisation cannot be equal, because it has a different meaning in each
# model. Each model has the value that was best for it on the full-size version of these
# data. We check this instead of assuming it.

# %%
sizes = Sizes(
    coherent_dim=8,
    nuisance_dim=8,
    encoder=sk.layers.DenseEncoder(64, units=(128,)),
)
training = sk.training.Training(epochs=EPOCHS, batch_size=16, instances=8)
neural = [name for name in MODELS if CONTENDERS[name].family != "classical"]


def count(layer):
    """Count the trainable weights of a layer."""
    return sum(int(np.prod(v.shape)) for v in layer.trainable_variables)


rows = {}
for name in neural:
    model = CONTENDERS[name].build(train, sizes, seed=0)
    parts = [model.coherent_encoder, model.nuisance_encoder, model.instance_decoder]
    rest = count(model) - sum(map(count, parts))
    rows[CONTENDERS[name].title] = [*map(count, parts), rest]
heads = ["coherent encoder", "nuisance encoder", "decoder", "heads"]
pd.DataFrame.from_dict(rows, orient="index", columns=heads)

# %% [markdown]
# Encoders and decoders have exactly the same number of weights. The small *heads* after
# them differ, because some models need additional outputs (a variance for each mean, a
# learned prior).
#
# Batches depend only on the seed, the epoch and the step. Two models with the same seed
# are therefore trained on the same instances in the same order:

# %%
one, other = (
    next(iter(sk.data.batches(train, 16, instances=8, seed=0)))[0] for _ in range(2)
)
steps = EPOCHS * int(sk.data.batches(train, 16, instances=8).cardinality())
same = bool(keras.ops.all(one == other))
display(Markdown(f"Equal batches: {same}. Each model is trained for {steps} steps."))

# %% [markdown]
# ## The comparison
#
# One function runs the comparison. If `out` is a folder, it saves each result there,
# and an interrupted comparison is resumed.

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
    quick = "*Quick mode: fewer models, short training, no probes for leakage.*"
    display(Markdown(quick))

# %% [markdown]
# ## Interpretation of the table
#
# Each cell contains the median over seeds, with the minimum and the maximum in
# brackets.
#
# - **Reconstruction error**: the error of an instance that is decoded from its own
#   codes. A low value is necessary but not sufficient, because a nuisance code that
#   contains *everything* gives the best reconstruction. The error of the mean swap is
#   zero.
# - **Redatuming error**: the error of the state of one group with the nuisance of
#   another, against the exact truth, which is known only for simulated data. This is
#   the purpose of the models. 0 is exact, and 1 is no better than the mean of all data.
# - **State from nuisance code** and **nuisance from coherent code** measure leakage:
#   how well a probe (a small network) predicts a parameter from the code that should
#   not contain it. The ideal value is 0.
# - **State from coherent code**: how well a probe predicts the state from the code that
#   should contain it. The ideal value is 1.
#
# The figure shows the redatuming error against the reconstruction error. Lower points
# are better. The horizontal position of a point hardly predicts its vertical position.

# %%
display(result.plot())


# %%
def ranks(column):
    """Sort the models by the median of a column, best first."""
    return sorted(neural, key=lambda name: result.median(name, column))


by_reconstruction, by_redatuming = ranks("reconstruction"), ranks("redatuming")
leader = CONTENDERS[result.leader].title
display(
    Markdown(
        f"Order by reconstruction error, best first: {', '.join(by_reconstruction)}. "
        f"Order by redatuming error: {', '.join(by_redatuming)}. "
        f"Lowest redatuming error, including the mean swap: {leader}."
    )
)

# %% [markdown]
# ## Reliability of the result
#
# A seed sets the initial weights, the noise and the batches. Look at all runs, not only
# at the best one.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for row, name in enumerate(MODELS):
    values = result.values(name, "redatuming")
    ax.plot(values, [row] * len(values), "o", color=f"C{row}", alpha=0.8)
    ax.plot(np.median(values), row, "|", color="black", markersize=16)
ax.set_yticks(range(len(MODELS)), [CONTENDERS[name].title for name in MODELS])
ax.invert_yaxis()
ax.set(xscale="log", xlabel="redatuming error / variance (one dot per run)")
ticks = [0.05, 0.1, 0.2, 0.5, 1.0]
ax.set_xticks(ticks, ticks)
ax.minorticks_off()
display(fig)
plt.close(fig)

# %% [markdown]
# All models use the same seeds, so they can be compared *in pairs*: a batch that is
# easy or difficult is so for both models. We compute the ratio to the error of SymAE
# for each seed.

# %%
rows = {}
symae = np.array(result.values("symae", "redatuming"))
for name in neural[1:]:
    ratio = np.array(result.values(name, "redatuming")) / symae
    row = {f"seed {n}: error / SymAE's": value for n, value in enumerate(ratio)}
    row["SymAE is better"] = f"{(ratio > 1).sum()} of {len(ratio)}"
    rows[CONTENDERS[name].title] = row
pd.DataFrame.from_dict(rows, orient="index").round(1)

# %% [markdown]
# <div class="admonition warning alert alert-warning">
# <p class="admonition-title"><b>Warning</b></p>
#
# Be careful with the last column. If two models were equally good, the result of each
# seed would be like the toss of a coin. SymAE would have the lower error for *all* $n$
# seeds by chance with probability $2^{-n}$:
#
# </div>

# %%
chance = {n: f"{100 * 0.5**n:.2g} %" for n in (1, 2, 3, 5, 10)}
pd.DataFrame({"seeds": chance.keys(), "probability": chance.values()})

# %% [markdown]
# Two or three seeds are therefore not enough to compare models with similar errors. A
# difference is reliable if it is many times larger than the scatter between seeds. The
# figure shows whether this is the case. Report the scatter together with the result.
#
# Seeds are only one source of variation. All runs use one simulated data set, one size
# of network and one number of steps. Some models learn faster than others, so the order
# may change with the number of steps. [Comparison](../docs/comparison.md) has the
# full-size comparison of all models in the package.
#
# ## Dependence on the data
#
# In these data, the slope of a star's continuum and the slope of the instrument are
# *entangled*: one exposure does not determine which is which, but a group does. This
# property of the data determines the result of the comparison. We remove the
# entanglement (with `entangled=False`, stars have no slope) and repeat the comparison.

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

rows = {
    CONTENDERS[name].title: [r.median(name, "redatuming") for r in (result, easier)]
    for name in MODELS
}
heads = ["redatuming error, entangled", "redatuming error, identifiable"]
pd.DataFrame.from_dict(rows, orient="index", columns=heads).round(3)

# %% [markdown]
# If one exposure determines its nuisance, a code that is computed from that exposure
# alone is sufficient, and the VAEs have much lower errors. If it does not, these models
# *cannot* be correct, however long they are trained, because they lack the information.
# The neural statistician has the information. However, its instance code is relative to
# a prior that depends on the state, so the combination of codes transfers part of the
# old state.
#
# The useful result of a comparison is not that A is better than B, but *when and why*.
# A fair table on one data set does not answer this. A second data set that differs in
# one property can.
#
# ## The comparison on the command line
#
# ```bash
# symae compare --quick                                  # simulated stars, some minutes
# symae compare --data spectra.npz --models symae,mlvae,mean_swap --out comparison
# ```
#
# These commands write `comparison.md`, `comparison.csv`, `rows.csv` (one line per run)
# and the figure. Measured data have no exact truth, so the redatuming column is
# omitted. In this case, hold out conditions that were measured (tutorial 09), or
# evaluate the leakage if labels are known.
#
# ## Exercises
#
# **1.** Add a seed to the comparison without repeating the other runs. (Hint: use the
# same folder.)
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
# Only the new seed is trained. With other data or settings, `compare` raises an error,
# so rows that are not comparable cannot be in one table.
#
# </details>
#
# **2.** Is the weight of the divergences in ML-VAE too small? Add a second version of
# ML-VAE with ten times the weight and a different name.
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
# You can add your own model in the same way (tutorial 12).
#
# </details>
#
# **3.** A colleague compares models after equal *seconds* instead of equal steps. Which
# column do you need, and does the order change here?
#
# <details><summary>Solution</summary>
#
# ```python
# for name in neural:
#     seconds = result.median(name, "seconds_per_step")
#     print(name, f"{1000 * seconds:.1f} ms per step")
# ```
#
# The networks are the same, so a step takes about the same time for all models: equal
# steps are almost equal seconds. This is another reason to use equal networks. On a
# busy machine, times vary much more than errors. Measure the times of the models on the
# same machine, under the same load.
#
# </details>
#
# ## Summary
#
# - In a fair comparison, the networks, codes, batches, optimiser, steps, seeds, test
#   groups, metric and effort of tuning are the same.
# - Compare redatuming errors and leakage. The reconstruction error does not show what
#   the codes mean.
# - Show every run. A difference is reliable if it is many times larger than the scatter
#   between seeds.
# - A second data set that differs in one property shows *why* a model is better.
#
# Next: [tutorial 11](11_several_gpus_and_machines.ipynb) trains on several devices, and
# [tutorial 12](12_your_own_layer_and_model.ipynb) adds your own model.
