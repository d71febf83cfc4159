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
# # 15 SymAE in a scikit-learn pipeline
#
# **Aim.** Use SymAE as a step of a scikit-learn pipeline for near-infrared spectra:
# scatter correction, virtual spectra, partial least squares. You compare it fairly with
# the classical methods, and see how the errors fall with the number of samples.
#
# **Prerequisites.** Tutorial 06 (SymAE); cross-validation and pipelines of
# scikit-learn. What partial least squares (PLS) is.
#
# **Time.** About 4 minutes on two CPU cores
# ([measured times](../docs/tutorials.md#running-times)).

# %% tags=["install", "hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Installation
# If the packages are installed, nothing happens. Otherwise this cell installs a wheel
# from the folder of the notebook, the sources that the notebook is part of, or the
# released package, and chemotools, which has the classical methods.
import importlib.util
from pathlib import Path

names = ("symae_keras", "chemotools")
if not all(importlib.util.find_spec(name) for name in names):
    sources = Path("../symae_keras/__init__.py").exists()
    wheels = [str(path) for path in Path().glob("symae_keras-*.whl")]
    where = [*wheels, ".." if sources else "symae_keras"][0]
    # %pip install "{where}[chemometrics]"
    importlib.invalidate_caches()

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Imports and settings
import os
import pickle

import keras
import numpy as np
import pandas as pd
import sklearn
from chemotools.projection import ExternalParameterOrthogonalization
from chemotools.scatter import StandardNormalVariate
from IPython.display import Markdown, display
from matplotlib import style
from matplotlib.figure import Figure
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import symae_keras as sk
from symae_keras.data.simulators.replicates import simulate_replicates
from symae_keras.sklearn import CoherentCode, Redatum

# %matplotlib inline
style.use("tableau-colorblind10")
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_SAMPLES = 24 if QUICK else 60  # of the small data set, in four replicates each
N_MANY = 40 if QUICK else 240  # of the large data set
N_TEST = 40 if QUICK else 150
UPDATES = 300  # of the weights, in each training on the small data
UPDATES_MANY = 1000
COMPONENTS = [1, 4] if QUICK else [1, 2, 3, 4, 6, 8, 10, 12]  # of PLS
COLOURS = ("#0072B2", "#D55E00", "black", "#009E73")
NOT_TRAINED = "*Quick mode: the networks are trained far too little for good numbers.*"

# %% [markdown]
# ## Replicates of samples
#
# Each sample is measured four times, and every time it is placed anew. The simulated
# spectra have four bands. The heights of three of them are concentrations, the
# **state** of a sample. The fourth, on the right, is the same in all samples. The
# **nuisance** of a replicate is a multiplicative scatter of about 10 %, a quadratic
# baseline, and a small shift of all bands.
#
# We want to predict the concentration of the second band, at 0.


# %%
def table_of(n_samples, seed):
    """Rows of spectra, the concentration and the sample of each row."""
    groups = simulate_replicates(n_samples, 4, seed, constant_band=True)
    X = pd.DataFrame(groups.x.reshape(4 * n_samples, -1).astype(float))
    X.columns = [f"{value:.3f}" for value in groups.axis]
    y = np.repeat(groups.state["heights"][:, 1], 4)
    return X, y, np.repeat(np.arange(n_samples), 4)


X, y, ids = table_of(N_SAMPLES, seed=15)
axis = X.columns.astype(float)
chosen = y[::4].argsort()[[1, N_SAMPLES // 2, -2]]  # a low, a middle, a high sample
corrected = StandardNormalVariate().set_output(transform="pandas").fit_transform(X)

fig = Figure(figsize=(7.2, 3.2), layout="constrained")
titles = ("measured", "scatter correction")
for ax, table, title in zip(
    fig.subplots(1, 2, sharex=True), (X, corrected), titles, strict=True
):
    for k, sample in enumerate(chosen):
        rows = table[ids == sample].to_numpy()
        ax.plot(axis, rows.T, color=COLOURS[k], linewidth=0.9)
        ax.plot(
            [], [], color=COLOURS[k], label=f"concentration {y[ids == sample][0]:.2f}"
        )
    ax.set_title(title, loc="left", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
fig.axes[0].set_ylabel("absorbance", fontsize=11)
fig.supxlabel("wavelength (relative)", fontsize=11)
handles = fig.axes[0].get_legend_handles_labels()
fig.legend(*handles, loc="outside upper center", ncols=3, frameon=False)
display(fig)

# %% [markdown]
# Replicates of one sample differ as much as different samples do. The standard normal
# variate (SNV) subtracts the mean of each spectrum and divides by its standard
# deviation. This removes most of the scatter. SNV is not perfect: the baseline changes
# both numbers. It also removes information, because both depend on the concentration.
#
# ## Pipelines
#
# The classical way to remove replicate variation is external parameter
# orthogonalization (EPO): compute deviations of replicates from the mean of their
# sample, take the main directions of these deviations, and project them out. It removes
# what is *additive*. `Redatum` learns the same kind of information, which replicates
# belong together, with networks. It returns virtual spectra: the state of each row
# under one common nuisance. `CoherentCode` returns the code of the state instead.
#
# Both need the sample of each row. With metadata routing, scikit-learn passes `groups`
# to the splitter *and* to the steps of a pipeline that request it. EPO has other names
# for the same information and must be asked to request them.

# %%
sklearn.set_config(enable_metadata_routing=True)
snv = StandardNormalVariate().set_output(transform="pandas")


def pls():
    """PLS whose number of components is chosen in a cross-validation by sample."""
    return GridSearchCV(
        PLSRegression(scale=False),
        {"n_components": COMPONENTS},
        cv=GroupKFold(3),
        scoring="neg_root_mean_squared_error",
    )


def epo():
    """EPO that requests what it needs."""
    step = ExternalParameterOrthogonalization(n_components=4)
    return step.set_fit_request(X_external=True, sample_ids=True)


def training(updates=UPDATES):
    """How the networks are trained."""
    if QUICK:
        return sk.training.Training(epochs=1)
    return sk.training.Training(min_updates=updates)


def coherent_code():
    """Codes, scaled, and a ridge regression of them."""
    code = CoherentCode(training=training(), random_state=0)
    return code, StandardScaler(), RidgeCV(np.logspace(-4, 3, 15))


redatum = Redatum(training=training(), random_state=0).set_output(transform="pandas")
pipelines = {
    "PLS": make_pipeline(pls()),
    "EPO, PLS": make_pipeline(epo(), pls()),
    "SNV, PLS": make_pipeline(snv, pls()),
    "SNV, EPO, PLS": make_pipeline(snv, epo(), pls()),
    "SNV, Redatum, PLS": make_pipeline(snv, redatum, pls()),
    "SNV, CoherentCode, ridge": make_pipeline(snv, *coherent_code()),
}


def routed(name, X, ids):
    """Return the arguments that `fit` of a pipeline receives."""
    if "EPO" not in name:
        return {"groups": ids}
    # EPO gets its spectra from here, not from the step before.
    spectra = snv.fit_transform(X) if "SNV" in name else X
    return {"groups": ids, "X_external": spectra, "sample_ids": ids}


# %% [markdown]
# ## Cross-validation by sample
#
# **Split by sample, never by row.** If three replicates of a sample are in the training
# rows, a method recognises the sample of the fourth and looks better than it is.
# `GroupKFold` puts all rows of a sample in the same fold. Everything is fitted inside
# the folds: networks, projections, and the number of PLS components.
#
# `predict` handles each row separately. This is the error of a *single* measurement.
# The second column is that of the mean prediction of the four rows of a sample.

# %%


def errors_of(predicted, y):
    """Root mean squared errors of rows, and of the means of samples."""
    predicted = np.ravel(predicted)
    means = predicted.reshape(-1, 4).mean(axis=1)
    return {
        "one measurement": np.sqrt(np.mean((predicted - y) ** 2)),
        "mean of four": np.sqrt(np.mean((means - y[::4]) ** 2)),
    }


def shown(rows, head):
    """Errors as a table, the best of each column in bold."""
    table = pd.DataFrame(rows).T.rename_axis(head)
    return table.style.format("{:.4f}").highlight_min(props="font-weight: bold")


cv = GroupKFold(2)
rows = {}
for name, pipeline in pipelines.items():
    found = cross_val_predict(pipeline, X, y, cv=cv, params=routed(name, X, ids))
    rows[name] = errors_of(found, y)
display(Markdown(f"{N_SAMPLES} samples; standard deviation {y.std():.3f}."))
display(shown(rows, "root mean squared error"))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# Each network was trained on 30 samples, and for 300 updates only, to save your time.
# **The classical methods win.** PLS of the measured spectra has the lowest error, and
# SNV makes it worse. `Redatum` after SNV is about as good as SNV alone. A code of eight
# numbers with a ridge regression is worst: it lost details that the spectra still have.
#
# ## A search over sizes
#
# `GridSearchCV` chooses the size of the coherent code inside the training samples, as
# it chooses any other parameter. A parameter of a step has the name `step__parameter`.
# Keep `n_jobs=1`: one training uses all processor cores.

# %%
search = GridSearchCV(
    pipelines["SNV, Redatum, PLS"],
    {"redatum__coherent_dim": [4, 8]},
    cv=cv,
    scoring="neg_root_mean_squared_error",
    n_jobs=1,
)
search.fit(X, y, groups=ids)
table = pd.DataFrame(
    {
        "coherent_dim": search.cv_results_["param_redatum__coherent_dim"],
        "root mean squared error": -search.cv_results_["mean_test_score"],
    }
)
size = search.best_params_["redatum__coherent_dim"]
display(table.style.format({"root mean squared error": "{:.4f}"}).hide(axis="index"))
display(Markdown(f"Chosen: {size}."))

# %% [markdown]
# ## Virtual spectra as a table, and a file
#
# We called `set_output(transform="pandas")`, so `Redatum` returns a table with the
# columns of its input. The pipeline that the search fitted on all samples has four
# virtual spectra per sample. They should agree better than the measured ones.

# %%
virtual = search.best_estimator_[:2].transform(X)
display(virtual.iloc[:4, 98:103].style.format("{:.3f}"))


def share_within(table):
    """Variance within samples over the total variance, in percent."""
    values = table.to_numpy().reshape(N_SAMPLES, 4, -1)
    within = values.var(axis=1, ddof=1).mean()
    return 100 * within / values.reshape(4 * N_SAMPLES, -1).var(axis=0).mean()


fig = Figure(figsize=(7.2, 3.2), layout="constrained")
tables = {"measured": X, "SNV": corrected, "SNV, Redatum": virtual}
for ax, (title, table) in zip(
    fig.subplots(1, 3, sharex=True), tables.items(), strict=True
):
    for k, sample in enumerate(chosen):
        rows = table[ids == sample].to_numpy()
        ax.plot(axis, rows.T, color=COLOURS[k], linewidth=0.9)
    ax.set_title(f"{title}: {share_within(table):.0f} %", loc="left", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
fig.axes[0].set_ylabel("absorbance", fontsize=11)
fig.supxlabel("wavelength (relative)", fontsize=11)
display(fig)

# %% [markdown]
# The numbers are the share of the variance that is within samples. A small share alone
# proves nothing: a constant would have none. The error of the prediction decides.
#
# A fitted pipeline can be pickled. The file contains the network as the bytes of a
# `.keras` file, and gives the same predictions. As always, unpickle only files that you
# trust.

# %%
stored = pickle.dumps(search.best_estimator_)
again = pickle.loads(stored)
same = np.array_equal(again.predict(X), search.best_estimator_.predict(X))
display(Markdown(f"{len(stored) / 1e6:.1f} MB; equal predictions: {same}."))

# %% [markdown]
# ## How many samples does it need?
#
# Networks need more data than projections. We train on more and more samples and
# predict new ones, which no method has seen. The size of the code stays the one that
# the search chose on the small data.

# %%
X_new, y_new, _ = table_of(N_TEST, seed=16)
X_many, y_many, ids_many = table_of(N_MANY, seed=17)
errors = {"one measurement": {}, "mean of four": {}}
for n in (N_MANY // 4, N_MANY):
    part = ids_many < n
    for name in ("PLS", "EPO, PLS", "SNV, EPO, PLS", "SNV, Redatum, PLS"):
        pipeline = sklearn.base.clone(pipelines[name])
        if "Redatum" in name:
            pipeline.set_params(
                redatum__coherent_dim=size, redatum__training=training(UPDATES_MANY)
            )
        given = routed(name, X_many[part], ids_many[part])
        pipeline.fit(X_many[part], y_many[part], **given)
        for what, error in errors_of(pipeline.predict(X_new), y_new).items():
            errors[what].setdefault(name, {})[n] = error
curves = {what: pd.DataFrame(each) for what, each in errors.items()}
for what, table in curves.items():
    display(
        table.rename_axis(f"samples ({what})")
        .style.format("{:.4f}")
        .highlight_min(axis=1, props="font-weight: bold")
    )

fig = Figure(figsize=(7.2, 3.4), layout="constrained")
styles = zip("osD^", ("-", "--", ":", "-"), strict=True)
styles = dict(zip(curves["one measurement"], styles, strict=True))
for ax, (what, table) in zip(
    fig.subplots(1, 2, sharex=True, sharey=True), curves.items(), strict=True
):
    for k, (name, (marker, line)) in enumerate(styles.items()):
        ax.plot(table[name], line, marker=marker, color=COLOURS[k], label=name)
    ax.set_title(what, loc="left", fontsize=11)
    ax.set_xscale("log", base=2)
    ax.set_xticks(table.index, [str(n) for n in table.index])
    ax.spines[["top", "right"]].set_visible(False)
fig.axes[0].set_ylim(bottom=0)
handles = fig.axes[0].get_legend_handles_labels()
fig.legend(*handles, loc="outside upper center", ncols=2, frameon=False)
fig.supxlabel("samples to train on", fontsize=11)
fig.supylabel("root mean squared error", fontsize=11)
display(fig)
best = {what: table.idxmin(axis=1)[N_MANY] for what, table in curves.items()}
told = "; ".join(f"{what}: {name}" for what, name in best.items())
display(Markdown(f"Best with {N_MANY} samples. {told}."))
if QUICK:
    display(Markdown(NOT_TRAINED))

# %% [markdown]
# Why is it so?
#
# - **Baselines are additive**, and a linear method such as PLS removes them exactly,
#   from few samples. A network must learn this. With few samples it cannot, so the
#   classical methods win.
# - **Scatter is a factor.** A linear method can only approximate the division by it,
#   and more samples do not help: the errors of PLS and EPO hardly fall from left to
#   right. A network can learn the division if it has enough samples: the error of
#   `Redatum` for one measurement falls by 25 %, to that of PLS (0.0265 and 0.0261).
# - **The mean of four measurements** averages scatter and baselines out without any
#   model. This helps the linear methods most.
#
# So use the classical methods if you have tens of samples or can average replicates.
# Try `Redatum` if you have hundreds of samples and must predict from single
# measurements, and keep it only if it wins on samples that it has not seen. Here it
# does not: 240 samples are enough to catch up with PLS, not to be better.

# %% [markdown]
# ## Exercises
#
# **1.** How much better do methods look if you split by row? Replace `GroupKFold` by
# `KFold(shuffle=True)` for the classical pipelines.
#
# <details><summary>Solution</summary>
#
# ```python
# from sklearn.model_selection import KFold
#
# by_row = KFold(2, shuffle=True, random_state=0)
# for name in ("PLS", "SNV, PLS"):
#     params = {"groups": ids}
#     found = cross_val_predict(pipelines[name], X, y, cv=by_row, params=params)
#     print(name, errors_of(found, y))
# ```
#
# The errors are lower, but not for new samples. Methods with many parameters profit
# most.
#
# </details>
#
# **2.** Spectra are often cheap and concentrations expensive. `Redatum` needs no
# concentrations. Suppose that only the first 20 samples have one. Freeze the networks
# that were trained on all samples, and fit PLS to the 20.
#
# <details><summary>Solution</summary>
#
# ```python
# from sklearn.frozen import FrozenEstimator
#
# known = ids < 20
# frozen = FrozenEstimator(search.best_estimator_[:2])
# for steps in ([frozen], []):
#     few = make_pipeline(*steps, pls()).fit(X[known], y[known], groups=ids[known])
#     print(len(steps), errors_of(few.predict(X_new), y_new))
# ```
#
# Compare the two lines. Whether virtual spectra help depends on how well the networks
# were trained: with 60 samples, they lose to PLS of the measured spectra.
#
# </details>
#
# **3.** All virtual spectra show the mean nuisance of the training rows. Show the
# nuisance of the first row instead, with `reference`.
#
# <details><summary>Solution</summary>
#
# ```python
# spectra = snv.fit_transform(X)
# short = sk.training.Training(min_updates=20)
# redatum = Redatum(reference=spectra[0], training=short, random_state=0)
# redatum.fit(spectra, groups=ids)
# print(np.abs(redatum.transform(spectra)[:4] - spectra[0]).mean(axis=1))
# ```
#
# The prediction hardly changes: all rows have the same nuisance in both cases.
#
# </details>

# %% [markdown]
# ## Summary
#
# - `Redatum` and `CoherentCode` are steps of pipelines. They work in cross-validations
#   and searches, return pandas tables, and can be pickled.
# - Metadata routing passes the sample of each row to the splitter and to the steps.
# - With tens of samples, PLS of the measured spectra is hard to beat. `Redatum` is for
#   hundreds of samples whose nuisances are not additive.
# - Always compare with the classical methods, on samples that no method has seen.
