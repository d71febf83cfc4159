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
# # 12 Your own layer and model
#
# **Aim.** Write a pooling layer and an encoder of your own and put them into `SymAE`;
# then build a grouped model of your own from the layers of the package, with a loss
# term that you design. Save it, load it in a fresh process, and on another backend.
#
# **Prerequisites.** Tutorials 05 (groups and permutation invariance) and 06
# (SymAE); some Python classes.
#
# **Time.** About 4 minutes on two CPU cores
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
import inspect
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from keras import ops

import symae_keras as sk

# %matplotlib inline
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_STATES = 200 if QUICK else 1200  # stars to train on
N_TEST = 100 if QUICK else 300
EPOCHS = 10 if QUICK else 20
PRICES = (1e-2,) if QUICK else (1e-4, 1e-2)  # of the model of the last part
FOLDER = Path(tempfile.mkdtemp())  # for all files of this notebook

# %% [markdown]
# ## The question
#
# The data are simulated exposures of stars: nine spectra of each, spoiled by air,
# instrument and velocity. In real nights some exposures are worse than spoiled: a
# cloud, a saturated detector. We make such ones by replacing an exposure with a flat
# line of scattered light, and never show any in training.
#
# A mean has no defence: one bad number moves it as far as it likes. Statistics knows a
# remedy that is as old as the ice rinks' judges: strike out the highest and the lowest
# marks, then take the mean. Nothing of the kind is in the package, so we write it.

# %%
train = sk.data.simulate_exposures(n_states=N_STATES, n_instances=9, seed=0)
test = sk.data.simulate_exposures(n_states=N_TEST, n_instances=9, seed=1)


def with_clouds(x, count):
    """The same groups with `count` exposures of each lost in scattered light."""
    x = x.copy()
    x[:, :count] = 0.25
    return x


fig, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
ax.plot(test.axis, with_clouds(test.x, 2)[0, 1:4].T, linewidth=0.8)
ax.set(xlabel=test.axis_label, ylabel="flux (relative)")
ax.set_title("two good exposures of a star, and one lost in a cloud")
display(fig)
plt.close(fig)

# %% [markdown]
# ## A pooling layer
#
# A layer of Keras has up to four parts:
#
# - `__init__` keeps the arguments;
# - `build` makes the weights, if there are any (here there are none);
# - `call` computes, **with `keras.ops` alone**, so that it runs on TensorFlow, JAX and
#   PyTorch;
# - `get_config` gives back the arguments, so that a saved model can be rebuilt.
#
# A pooling for `SymAE` is called as `pool(features, mask=mask)` with features
# `(groups, instances, size)` and a boolean mask `(groups, instances)`, True = present,
# or `None`, and returns `(groups, size)`. The trimmed mean sorts each feature over the
# instances and leaves out the $k = \lfloor \text{trim} \cdot T \rfloor$ smallest and
# largest of the $T$ that are present:
#
# $$\text{pool}(f)_j = \frac{1}{T - 2k} \sum_{r=k}^{T-k-1} f_{(r)j}$$
#
# where $f_{(r)j}$ is the value of rank $r$, counted from 0. Sorting forgets the order
# of the instances, so that this is permutation invariant.
#
# Three lines deserve a look. Absent instances get a huge **finite** number, which
# sorting puts last (infinity times zero would be NaN). Counts and ranks come from
# `ops.shape`-free expressions, so that the number of instances may be unknown when the
# graph is built. And the sum is taken in float32 whatever the precision of the model.


# %%
@keras.saving.register_keras_serializable(package="my_lab")
class TrimmedMean(keras.Layer):
    """Mean over instances without the smallest and largest values of each feature."""

    def __init__(self, trim=0.25, **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= trim < 0.5:
            raise ValueError(f"`trim` must be in [0, 0.5). Received: {trim}")
        self.trim = trim

    def call(self, inputs, mask=None):
        x = ops.cast(inputs, "float32")
        if mask is None:
            mask = ops.ones_like(x[..., 0], dtype="bool")
        mask = ops.cast(mask, "bool")
        x = ops.sort(ops.where(mask[..., None], x, 1e30), axis=1)

        ones = ops.ones_like(mask, dtype="int32")
        rank = ops.cumsum(ones, axis=1) - 1
        count = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
        trimmed = ops.cast(self.trim * ops.cast(count, "float32"), "int32")
        keep = ops.logical_and(rank >= trimmed, rank < count - trimmed)[..., None]

        total = ops.sum(ops.where(keep, x, 0.0), axis=1)
        number = ops.sum(ops.cast(keep, "float32"), axis=1)
        return ops.cast(total / ops.maximum(number, 1.0), self.compute_dtype)

    def compute_mask(self, inputs, previous_mask):
        return None  # the axis of the instances is gone, and its mask with it

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *input_shape[2:])

    def get_config(self):
        return {**super().get_config(), "trim": self.trim}


# %% [markdown]
# `register_keras_serializable` writes the class into Keras's book of names, here as
# `my_lab>TrimmedMean`. The name is stored in every saved model: choose it once and keep
# it.
#
# **Test a layer before you train with it.** Four properties, each of which takes a line
# or two: a value worked out by hand, the order of the instances, padding (with NaN in
# it, which a weight of zero would not stop), and a gradient that is finite even for a
# group without any instance.

# %%
pool = TrimmedMean(0.25)
rng = np.random.default_rng(0)
features = rng.normal(size=(4, 9, 5)).astype("float32")

by_hand = np.sort(features, axis=1)[:, 2:7].mean(axis=1)  # 0.25 * 9 = 2.25, so k = 2
assert np.allclose(pool(features), by_hand, atol=1e-6)

shuffled = features[:, rng.permutation(9)]
assert np.allclose(pool(shuffled), pool(features), atol=1e-6)

padding = np.full((4, 3, 5), np.nan, "float32")
padded = np.concatenate([features, padding], axis=1)
mask = np.arange(12) < np.full((4, 1), 9)
assert np.allclose(pool(padded, mask=mask), pool(features), atol=1e-6)

nobody = np.zeros((4, 9), bool)
assert np.array_equal(pool(features, mask=nobody), np.zeros((4, 5)))
display(Markdown("All four hold."))

# %% [markdown]
# ## An encoder
#
# An encoder for `encoder=` is a layer, or a Keras model, from **one** instance to
# features; the package applies it to all instances of all groups at once.
# Spectroscopists take derivatives to be rid of slow baselines. Ours sees the spectrum
# and its first difference side by side, and is free to use either.
#
# Two habits save grief later. Make all inner layers in `__init__` and build all of them
# in `build`: a layer that is first built in `call` may be empty when a saved model is
# loaded. And give inner layers the `dtype_policy` of the outer one, so that mixed
# precision reaches them.
#
# Two copies are made of the encoder, one for each code, by way of `get_config`: a
# second reason for it to be complete. An encoder with a method `mirror` can also say
# what decoder belongs to it; without one, `SymAE` takes a `DenseDecoder`.


# %%
@keras.saving.register_keras_serializable(package="my_lab")
class DerivativeEncoder(keras.Layer):
    """Dense network on a spectrum and its first difference."""

    def __init__(self, output_dim, units=256, gain=5.0, **kwargs):
        super().__init__(**kwargs)
        self.output_dim = output_dim
        self.units = units
        self.gain = gain  # differences are small; this brings them to the same size
        policy = self.dtype_policy
        self.hidden = keras.layers.Dense(units, activation="gelu", dtype=policy)
        self.out = keras.layers.Dense(output_dim, dtype=policy)

    def build(self, input_shape):
        pixels = input_shape[-1]
        self.hidden.build((None, 2 * pixels - 1))
        self.out.build((None, self.units))

    def call(self, inputs):
        difference = self.gain * (inputs[:, 1:] - inputs[:, :-1])
        both = ops.concatenate([inputs, difference], axis=-1)
        return self.out(self.hidden(both))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.output_dim)

    def get_config(self):
        own = {"output_dim": self.output_dim, "units": self.units, "gain": self.gain}
        return {**super().get_config(), **own}


# %% [markdown]
# ## Both in SymAE
#
# Two models that differ in the pooling alone: the same encoder, codes, seeds, batches
# and steps.


# %%
def symae(pooling):
    """A SymAE with our encoder."""
    keras.utils.set_random_seed(0)
    return sk.models.SymAE(
        train.instance_shape,
        coherent_dim=8,
        nuisance_dim=8,
        encoder=DerivativeEncoder(64),
        decoder=sk.layers.DenseDecoder(train.instance_shape, units=(256,)),
        pooling=pooling,
        normalization=sk.training.normalization(train),
        seed=0,
    )


training = sk.training.Training(epochs=EPOCHS, instances=9)
models = {"mean": symae("mean"), "trimmed mean": symae(TrimmedMean(0.25))}
for model in models.values():
    sk.training.train(model, train, training)

# %% [markdown]
# The judgement: one star as it would look under the nuisances of another's exposures,
# against the exact truth. The exposures that tell the **state** now hold 0, 1, 2, 3 or
# 4 clouds out of nine; those that lend the nuisance are clean.

# %%
pair = (np.arange(N_TEST) + 1) % N_TEST  # whose state each group is shown in
own, instance = np.indices(test.present.shape)
truth = test.virtual(pair[:, None], own, instance)


def cloudy_error(model, count):
    """Redatuming error where `count` exposures of each state are lost."""
    virtual = model.redatum(
        coherent_from=with_clouds(test.x, count)[pair], nuisance_from=test.x
    )
    return sk.evaluation.relative_error(virtual, truth)


clouds = np.arange(5)
errors = {
    name: [cloudy_error(model, count) for count in clouds]
    for name, model in models.items()
}

fig, ax = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
for (name, values), marker in zip(errors.items(), "os", strict=True):
    ax.plot(clouds, values, marker=marker, label=f"SymAE, {name}")
ax.set(xlabel="lost exposures out of 9", ylabel="redatuming error / variance")
ax.set(xticks=clouds, yscale="log")
ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
ax.set_yticks(ticks, ticks)
ax.minorticks_off()
ax.legend(frameon=False)
display(fig)
plt.close(fig)

# %%
clean, lost = (
    {name: values[count] for name, values in errors.items()} for count in (0, 2)
)
display(
    Markdown(
        f"Without clouds: mean {clean['mean']:.3f}, trimmed mean "
        f"{clean['trimmed mean']:.3f}. With two lost exposures: mean "
        f"{lost['mean']:.3f}, trimmed mean {lost['trimmed mean']:.3f}."
    )
)

# %% [markdown]
# With trim = 0.25 two of nine may be wrong on either side, and up to there the trimmed
# curve should stay low; with three or four it has no more defence than the mean.
# Robustness is not free either: on clean data the trimmed mean throws away exposures,
# and the mean is the better average of independent noise. A network can also *learn* to
# see clouds if there are some in training (exercise 2), or be told by a mask.
#
# ## A grouped model of your own
#
# Now without `SymAE`. The idea: a nuisance code is an **expensive channel**, and
# information theory tells what a noisy channel costs. A number of variance $P$ to which
# noise of variance $\sigma^2$ is added carries at most
#
# $$\tfrac12 \log_2\!\left(1 + P / \sigma^2\right) \text{ bits}$$
#
# (Shannon). So: add noise of fixed strength, and put a price on power,
#
# $$\text{loss} = \text{reconstruction} + \lambda\, \overline{N^2}.$$
#
# Without the price the code would simply grow until the noise no longer matters. What
# the instances share is free of charge through the pooled code, so that it should go
# there. Five layers of the package and two of Keras are enough:
#
# | step | layer |
# |---|---|
# | features of each instance | `PerInstance(encoder)` |
# | coherent code | `DeepSetsPooling`, `Dense` |
# | nuisance code, given the coherent one | `Dense` on both |
# | noise in training | `NuisanceDropout("additive")` |
# | every instance from both codes | `PerInstance(DenseDecoder)` |
#
# The price is added with `add_loss` in `call`. Reconstruction stays in
# `compile(loss=...)`. Both are scaled rightly by Keras when several devices train
# (tutorial 11), and nothing in training has to be written by hand.
#
# Methods `encode`, `decode`, `reconstruct` and `redatum` with the signatures of the
# package make it a citizen: everything in `sk.evaluation` and `sk.plotting` takes it.


# %%
@keras.saving.register_keras_serializable(package="my_lab")
class PricedChannel(keras.Model):
    """Grouped autoencoder whose nuisance code pays for its power."""

    def __init__(
        self,
        instance_shape,
        encoder,
        coherent_dim=8,
        nuisance_dim=8,
        price=1e-2,
        normalization=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.instance_shape = tuple(instance_shape)
        self.encoder = encoder
        self.coherent_dim = coherent_dim
        self.nuisance_dim = nuisance_dim
        self.price = price
        self.normalization = normalization or sk.layers.Standardization()
        self.seed = seed

        self.features = sk.layers.PerInstance(encoder)
        self.pool = sk.layers.DeepSetsPooling("mean")
        self.coherent_head = keras.layers.Dense(coherent_dim)
        self.nuisance_hidden = keras.layers.Dense(64, activation="gelu")
        self.nuisance_head = keras.layers.Dense(nuisance_dim)
        self.noise = sk.layers.NuisanceDropout("additive", strength=1.0, seed=seed)
        self.decoder = sk.layers.PerInstance(
            sk.layers.DenseDecoder(self.instance_shape, units=(256,))
        )
        self.build()

    def build(self, input_shape=None):
        # A call on a symbol makes all weights: of any number of groups and instances.
        self.reconstruct(keras.KerasTensor((None, None, *self.instance_shape)))
        self.built = True

    def encode(self, x, mask=None):
        x = self.normalization(ops.convert_to_tensor(x, dtype="float32"))
        features = self.features(x)
        coherent = self.coherent_head(self.pool(features, mask=mask))
        # The group's code beside each instance's features.
        shared = ops.zeros_like(features[..., :1]) + coherent[:, None]
        both = ops.concatenate([shared, features], axis=-1)
        return coherent, self.nuisance_head(self.nuisance_hidden(both))

    def decode(self, coherent, nuisance):
        shared = ops.zeros_like(nuisance[..., :1]) + coherent[:, None]
        decoded = self.decoder(ops.concatenate([shared, nuisance], axis=-1))
        return self.normalization.inverse(decoded)

    def call(self, x, training=None):
        coherent, nuisance = self.encode(x)
        self.add_loss(self.price * ops.mean(ops.square(nuisance)))
        return self.decode(coherent, self.noise(nuisance, training=training))

    def reconstruct(self, x, mask=None):
        return self.decode(*self.encode(x, mask))

    def redatum(
        self, coherent_from, nuisance_from, coherent_mask=None, nuisance_mask=None
    ):
        coherent, _ = self.encode(coherent_from, coherent_mask)
        _, nuisance = self.encode(nuisance_from, nuisance_mask)
        return self.decode(coherent, nuisance)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "instance_shape": self.instance_shape,
            "encoder": serialize(self.encoder),
            "coherent_dim": self.coherent_dim,
            "nuisance_dim": self.nuisance_dim,
            "price": self.price,
            "normalization": serialize(self.normalization),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        for name in ("encoder", "normalization"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


# %% [markdown]
# Does the invariance hold for the whole model? Shuffling the instances must leave the
# coherent code alone and shuffle the nuisance codes in the same way, before any
# training: it belongs to the architecture.

# %%
own_models = {}
for price in PRICES:
    keras.utils.set_random_seed(0)
    own_models[price] = PricedChannel(
        train.instance_shape,
        encoder=DerivativeEncoder(64),
        price=price,
        normalization=sk.training.normalization(train),
        seed=0,
    )

order = rng.permutation(9)
model = own_models[PRICES[-1]]
coherent, nuisance = model.encode(test.x)
coherent_shuffled, nuisance_shuffled = model.encode(test.x[:, order])
moved = float(ops.max(ops.abs(coherent_shuffled - coherent)))
matched = float(ops.max(ops.abs(nuisance_shuffled - ops.take(nuisance, order, axis=1))))
assert moved < 1e-4 and matched < 1e-4
display(
    Markdown(
        f"Largest change of a coherent code: {moved:.1e}; of a nuisance code, followed "
        f"to its new place: {matched:.1e}. That is rounding."
    )
)

# %% [markdown]
# Train it as the others, and ask the package for its errors.

# %%
rows = {}
for price, model in own_models.items():
    sk.training.train(model, train, training)
    rows[f"priced channel, price {price:g}"] = sk.evaluation.redatuming_error(
        model, test
    )
rows["SymAE, mean"] = sk.evaluation.redatuming_error(models["mean"], test)
lines = [
    f"| {name} | {error.reconstruction:.4f} | {error:.4f} |"
    for name, error in rows.items()
]
swap = rows["SymAE, mean"].mean_swap
head = "| model | reconstruction error | redatuming error |\n|---|---:|---:|\n"
mean_swap = f"\n| linear mean swap | – | {swap:.4f} |"
display(Markdown(head + "\n".join(lines) + mean_swap))


# %%
def capacity(model):
    """Bits that each nuisance number can carry, the largest first."""
    nuisance = ops.convert_to_numpy(model.encode(test.x)[1])
    power = nuisance.reshape(-1, nuisance.shape[-1]).var(axis=0)
    return np.sort(0.5 * np.log2(1.0 + power))[::-1]


fig, ax = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
for (price, model), marker in zip(own_models.items(), "os", strict=False):
    bits = capacity(model)
    label = f"price {price:g}: {bits.sum():.1f} bits in all"
    ax.plot(np.arange(1, len(bits) + 1), bits, marker=marker, label=label)
ax.set(xlabel="number of the nuisance code, by size", ylabel="capacity (bits)")
ax.set_ylim(bottom=0)
ax.legend(frameon=False)
display(fig)
plt.close(fig)

# %% [markdown]
# The figure is something that SymAE's multiplicative noise does not give: a bound, in
# bits, on what an instance can tell through its nuisance code. In the simulator each
# exposure has five numbers of its own (water, oxygen, slope, curvature, velocity), so
# that capacity beyond a few numbers has nothing to carry. A dearer channel carries
# less; whether it then redatums better is what the table is for.
#
# ## Save, and load in a fresh process
#
# `model.save` writes the *config* and the weights, not the Python code. Who loads the
# file must have the classes: put them in a module and import it first. A notebook has
# no module, so we collect the cells in which the three classes were defined.


# %%
def cell_of(cls):
    """The text of the cell, or file, that a class was defined in."""
    return "".join(inspect.findsource(cls.__init__)[0]).split("# %%")[-1]


imports = "import keras\nfrom keras import ops\n\nimport symae_keras as sk\n\n\n"
classes = (TrimmedMean, DerivativeEncoder, PricedChannel)
module = imports + "\n\n".join(cell_of(cls).strip() + "\n" for cls in classes)
(FOLDER / "my_lab.py").write_text(module)

saved = {"symae": models["trimmed mean"], "own": own_models[PRICES[-1]]}
x = test.x[:20]
np.save(FOLDER / "x.npy", x)
for name, model in saved.items():
    model.save(FOLDER / f"{name}.keras")

# %% [markdown]
# The other process knows nothing but the module and the files. It loads both models,
# redatums, and writes what it got. It is started once for each backend that is
# installed: **weights that TensorFlow trained, in a model that runs on JAX**.

# %%
script = """
import sys, keras, numpy as np
import symae_keras, my_lab

backend = keras.backend.backend()
x = np.load("x.npy")
for name in ("symae", "own"):
    model = keras.saving.load_model(f"{name}.keras")
    virtual = model.redatum(coherent_from=x[:10], nuisance_from=x[10:])
    np.save(f"{name}_{backend}.npy", keras.ops.convert_to_numpy(virtual))
"""
here = keras.backend.backend()
backends = [here]
if importlib.util.find_spec("jax") and here != "jax":
    backends.append("jax")

lines = []
for backend in backends:
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=FOLDER,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    for name, model in saved.items():
        virtual = model.redatum(coherent_from=x[:10], nuisance_from=x[10:])
        loaded = np.load(FOLDER / f"{name}_{backend}.npy")
        difference = np.abs(loaded - ops.convert_to_numpy(virtual)).max()
        assert difference < 1e-3
        lines.append(f"| {type(model).__name__} | {backend} | {difference:.1e} |")
head = "| model | loaded on | largest difference |\n|---|---|---:|\n"
display(Markdown(head + "\n".join(lines)))

# %% [markdown]
# What kept the classes free of any one backend:
#
# - `keras.ops` in `call`, never `tf.`, `jnp.` or `torch.`; NumPy only in `__init__`;
# - no Python `if` on the *values* of a tensor, only on what is known beforehand
#   (`mask is None`, `training`);
# - random numbers from a `keras.random.SeedGenerator` that is an attribute of the
#   layer, as `NuisanceDropout` has one; never `np.random` in `call`, which would be
#   drawn once and frozen into the graph;
# - no state changed in `call` but Keras variables; no `Lambda` layer and no lambda in a
#   config, which cannot be saved safely.
#
# ## Exercises
#
# **1.** The median is the limit of trimming. Show that `TrimmedMean(0.49)` of nine
# numbers is their median, and say what it does to eight.
#
# <details><summary>Solution</summary>
#
# ```python
# nine = rng.normal(size=(1, 9, 3)).astype("float32")
# assert np.allclose(TrimmedMean(0.49)(nine), np.median(nine, axis=1))  # k = 4
# eight = nine[:, :8]
# assert np.allclose(TrimmedMean(0.49)(eight), np.median(eight, axis=1))  # k = 3
# ```
#
# Of nine, $k = \lfloor 4.41 \rfloor = 4$ on either side are left out and one stays. Of
# eight, $k = 3$ and the two in the middle stay, whose mean is the median as well.
#
# </details>
#
# **2.** Train the model with the *mean* on groups of which two exposures are lost. Does
# it learn to live with clouds?
#
# <details><summary>Solution</summary>
#
# ```python
# import dataclasses
#
# cloudy = dataclasses.replace(train, x=with_clouds(train.x, 2), render=None)
# used_to_clouds = symae("mean")
# sk.training.train(used_to_clouds, cloudy, training)
# print([round(cloudy_error(used_to_clouds, count), 3) for count in clouds])
# ```
#
# The errors with none, one and two clouds now hardly differ: the encoder has learned
# to see a cloud, and to give it features that the next layer can undo. But it has
# learned *this* kind of cloud. The trimmed mean had never seen any.
#
# </details>
#
# **3.** Write the price as a layer of its own that passes its input through and adds
# the loss, so that any model can use it, and check its value.
#
# <details><summary>Solution</summary>
#
# ```python
# @keras.saving.register_keras_serializable(package="my_lab")
# class Price(keras.Layer):
#     def __init__(self, price=1e-2, **kwargs):
#         super().__init__(**kwargs)
#         self.price = price
#
#     def call(self, inputs):
#         self.add_loss(self.price * ops.mean(ops.square(inputs)))
#         return inputs
#
#     def compute_output_shape(self, input_shape):
#         return input_shape
#
#     def get_config(self):
#         return {**super().get_config(), "price": self.price}
#
#
# layer = Price(0.5)
# layer(2.0 * ops.ones((3, 4)))
# assert np.isclose(float(layer.losses[0]), 0.5 * 4.0)
# ```
#
# </details>
#
# ## Summary
#
# - A layer keeps its arguments, makes its weights in `build`, computes with
#   `keras.ops`, and gives its arguments back in `get_config`.
# - Test it against a value by hand, a shuffled order, padding full of NaN, and nothing
#   at all, before you train with it.
# - `SymAE` takes any encoder of one instance, any decoder of one code, any pooling
#   called with a mask.
# - A model of your own needs `encode`, `decode`, `reconstruct` and `redatum` to be
#   judged by `sk.evaluation`; losses go into `compile` and `add_loss`, never into a
#   training loop of your own.
# - Saved models hold names, not code: import the module of your classes before loading.
#
# Next: compare your model fairly with the others (tutorial 10), or train it on several
# devices (tutorial 11).
