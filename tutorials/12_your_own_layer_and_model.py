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
# **Aim.** Write your own pooling layer and encoder and use them in `SymAE`. Then build
# your own grouped model from the layers of the package, with your own loss term. Save
# the model and load it in a new process and on another backend.
#
# **Prerequisites.** Tutorials 05 (groups and permutation invariance) and 06 (SymAE);
# basic knowledge of Python classes.
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
N_STATES = 60 if QUICK else 1200  # stars for training
N_TEST = 60 if QUICK else 300
EPOCHS = 1 if QUICK else 20
PRICES = (1e-2,) if QUICK else (1e-4, 1e-2)  # penalties of the model in the last part
FOLDER = Path(tempfile.mkdtemp())  # for all files of this notebook

# %% [markdown]
# ## Task and data
#
# The data are simulated exposures of stars, with nine spectra per star that are
# affected by air, instrument and velocity. In real observations, some exposures are
# lost completely, for example because of a cloud or a saturated detector. We simulate a
# lost exposure by a constant spectrum of scattered light. The training data contain no
# lost exposures.
#
# A mean is not robust: one outlier can change it by any amount. A classical remedy is
# the trimmed mean, which is also used for the marks in figure skating: remove the
# highest and the lowest values, then compute the mean. The package has no such pooling,
# so we write it.

# %%
train = sk.data.simulate_exposures(n_states=N_STATES, n_instances=9, seed=0)
test = sk.data.simulate_exposures(n_states=N_TEST, n_instances=9, seed=1)


def with_clouds(x, count):
    """Replace `count` exposures of each group by scattered light."""
    x = x.copy()
    x[:, :count] = 0.25
    return x


fig, axes = plt.subplots(1, 3, figsize=(7.5, 3.2), sharey=True, layout="constrained")
for count, ax in zip((0, 2, 4), axes, strict=True):
    for t, exposure in enumerate(with_clouds(test.x, count)[0]):
        lost = t < count
        colour, width = ("C1", 2.0) if lost else ("C0", 0.8)
        ax.plot(test.axis, exposure + 0.6 * t, color=colour, linewidth=width)
    ax.set_title(f"{count} of 9 exposures lost", fontsize=10)
fig.supxlabel(test.axis_label, fontsize=10)
axes[0].set_ylabel("flux (relative), shifted")
display(fig)
plt.close(fig)

# %% [markdown]
# ## A pooling layer
#
# A Keras layer has up to four methods:
#
# - `__init__` stores the arguments.
# - `build` creates the weights, if there are any (here there are none).
# - `call` computes the output **with `keras.ops` only**, so that it runs on TensorFlow,
#   JAX and PyTorch.
# - `get_config` returns the arguments, so that a saved model can be rebuilt.
#
# `SymAE` calls a pooling layer as `pool(features, mask=mask)`. The features have the
# shape `(groups, instances, size)`. The mask is boolean with the shape
# `(groups, instances)`, True = present, or `None`. The output has the shape
# `(groups, size)`. The trimmed mean sorts each feature over the instances and omits the
# $k = \lfloor \text{trim} \cdot T \rfloor$ smallest and largest of the $T$ values that
# are present:
#
# $$\text{pool}(f)_j = \frac{1}{T - 2k} \sum_{r=k}^{T-k-1} f_{(r)j}$$
#
# where $f_{(r)j}$ is the value of rank $r$, counted from 0. Sorting removes the order
# of the instances, so this pooling is permutation invariant.
#
# Three details are important. Missing instances are replaced by a huge **finite**
# number, which is sorted to the end (infinity times zero would be NaN). Counts and
# ranks are computed without `ops.shape`, so the number of instances may be unknown when
# the graph is built. The sum is computed in float32, for any precision of the model.


# %%
@keras.saving.register_keras_serializable(package="my_lab")
class TrimmedMean(keras.Layer):
    """Mean over instances, without the smallest and largest values of each feature."""

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
        return None  # the output has no instance axis, so it needs no mask

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *input_shape[2:])

    def get_config(self):
        return {**super().get_config(), "trim": self.trim}


# %% [markdown]
# `register_keras_serializable` registers the class in Keras, here as
# `my_lab>TrimmedMean`. This name is stored in every saved model, so do not change it
# later.
#
# <div class="admonition tip alert alert-success">
# <p class="admonition-title"><b>Tip</b></p>
#
# **Test a layer before you use it in training.** Four properties can each be tested in
# a line or two: a value computed independently, the order of the instances, padding
# (which contains NaN, because NaN times a zero weight is still NaN), and a finite
# output for a group without any instance.
#
# </div>

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
display(Markdown("All four tests pass."))

# %% [markdown]
# ## An encoder
#
# The argument `encoder=` accepts a layer or a Keras model that maps **one** instance to
# features. The package applies it to all instances of all groups at once. In
# spectroscopy, derivatives are often used to remove slowly varying baselines. Our
# encoder receives the spectrum and its first difference, and can use either.
#
# Two rules avoid later problems. Create all inner layers in `__init__` and build all of
# them in `build`: a layer that is first built in `call` may have no weights when a
# saved model is loaded. And pass the `dtype_policy` of the outer layer to the inner
# layers, so that mixed precision applies to them.
#
# `SymAE` makes two copies of the encoder, one for each code, with `get_config`. This is
# a second reason why `get_config` has to be complete. An encoder with a method `mirror`
# can also define the matching decoder. Otherwise, `SymAE` uses a `DenseDecoder`.


# %%
@keras.saving.register_keras_serializable(package="my_lab")
class DerivativeEncoder(keras.Layer):
    """Dense network on a spectrum and its first difference."""

    def __init__(self, output_dim, units=256, gain=5.0, **kwargs):
        super().__init__(**kwargs)
        self.output_dim = output_dim
        self.units = units
        self.gain = gain  # scales the differences to the size of the spectrum
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
# ## SymAE with both layers
#
# We train two models that differ only in the pooling. The encoder, the codes, the
# seeds, the batches and the number of steps are the same.


# %%
def symae(pooling):
    """Return a SymAE with our encoder."""
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
# To evaluate the models, we show one star with the nuisances of the exposures of
# another star, and compare with the exact truth. Of the nine exposures that provide the
# **state**, 0, 1, 2, 3 or 4 are now lost. Those that provide the nuisance are intact.

# %%
pair = (np.arange(N_TEST) + 1) % N_TEST  # the group that provides the state
own, instance = np.indices(test.present.shape)
truth = test.virtual(pair[:, None], own, instance)


def cloudy_error(model, count):
    """Compute the redatuming error if `count` exposures of each state are lost."""
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
        f"Error without clouds: mean {clean['mean']:.3f}, trimmed mean "
        f"{clean['trimmed mean']:.3f}. With two lost exposures: mean "
        f"{lost['mean']:.3f}, trimmed mean {lost['trimmed mean']:.3f}."
    )
)

# %% [markdown]
# With trim = 0.25, two of nine values may be wrong on either side, so the error of the
# trimmed mean should stay low up to two lost exposures. With three or four, it is not
# more robust than the mean. Robustness has a disadvantage: on clean data, the trimmed
# mean discards exposures, and the mean is the better average of independent noise. A
# network can also *learn* to detect clouds if the training data contain some (exercise
# 2), or a mask can mark them.
#
# ## A new grouped model
#
# Now we build a model without `SymAE`. The idea is that the nuisance code is a
# **channel with limited capacity**. Information theory gives the capacity of a noisy
# channel: a number of variance $P$ with added noise of variance $\sigma^2$ transmits at
# most
#
# $$\tfrac12 \log_2\!\left(1 + P / \sigma^2\right) \text{ bits}$$
#
# (Shannon). We therefore add noise of fixed strength and penalise the power of the
# code,
#
# $$\text{loss} = \text{reconstruction} + \lambda\, \overline{N^2}.$$
#
# Without the penalty, the code would grow until the noise has no effect. The coherent
# code has no penalty, so the model should encode in it what the instances share. Five
# layers of the package and two of Keras are enough:
#
# | step | layer |
# |---|---|
# | features of each instance | `PerInstance(encoder)` |
# | coherent code | `DeepSetsPooling`, `Dense` |
# | nuisance code, given the coherent one | `Dense` on both |
# | noise in training | `NuisanceDropout("additive")` |
# | every instance from both codes | `PerInstance(DenseDecoder)` |
#
# The penalty is added with `add_loss` in `call`. The reconstruction loss is set in
# `compile(loss=...)`. Keras scales both correctly if several devices train (tutorial
# 11), and no training loop has to be written.
#
# The methods `encode`, `decode`, `reconstruct` and `redatum` have the same signatures
# as in the package. Therefore, all functions in `sk.evaluation` and `sk.plotting`
# accept the model.


# %%
@keras.saving.register_keras_serializable(package="my_lab")
class PricedChannel(keras.Model):
    """Grouped autoencoder with a penalty on the power of the nuisance code."""

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
        # A symbolic call creates all weights, for any number of groups and instances.
        self.reconstruct(keras.KerasTensor((None, None, *self.instance_shape)))
        self.built = True

    def encode(self, x, mask=None):
        x = self.normalization(ops.convert_to_tensor(x, dtype="float32"))
        features = self.features(x)
        coherent = self.coherent_head(self.pool(features, mask=mask))
        # Concatenate the code of the group with the features of each instance.
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
# We test the invariance of the whole model. If the instances are permuted, the coherent
# code must not change, and the nuisance codes must be permuted in the same way. This is
# a property of the architecture, so we test it before training.

# %%
own_models = {}  # by penalty
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
        f"Largest change of a coherent code: {moved:.1e}. Largest change of a nuisance "
        f"code, at its new position: {matched:.1e}. These are rounding errors."
    )
)

# %% [markdown]
# We train it like the other models and compute the errors with the package.

# %%
rows = {}
for price, model in own_models.items():
    sk.training.train(model, train, training)
    rows[f"PricedChannel, penalty {price:g}"] = sk.evaluation.redatuming_error(
        model, test
    )
rows["SymAE, mean"] = sk.evaluation.redatuming_error(models["mean"], test)
table = {name: [error.reconstruction, float(error)] for name, error in rows.items()}
table["mean swap"] = [np.nan, rows["SymAE, mean"].mean_swap]
heads = ["reconstruction error", "redatuming error"]
table = pd.DataFrame.from_dict(table, orient="index", columns=heads)
table.style.format(precision=4, na_rep="–")


# %%
def capacity(model):
    """Return the capacity of each nuisance number in bits, largest first."""
    nuisance = ops.convert_to_numpy(model.encode(test.x)[1])
    power = nuisance.reshape(-1, nuisance.shape[-1]).var(axis=0)
    return np.sort(0.5 * np.log2(1.0 + power))[::-1]


fig, ax = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
for (price, model), marker in zip(own_models.items(), "os", strict=False):
    bits = capacity(model)
    label = f"penalty {price:g}: {bits.sum():.1f} bits in total"
    ax.plot(np.arange(1, len(bits) + 1), bits, marker=marker, label=label)
ax.set(xlabel="number of the nuisance code, sorted", ylabel="capacity (bits)")
ax.set_ylim(bottom=0)
ax.legend(frameon=False)
display(fig)
plt.close(fig)

# %% [markdown]
# The figure shows an upper bound, in bits, on the information that an instance can
# transmit through its nuisance code. The multiplicative noise of SymAE gives no such
# bound. In the simulator, each exposure has five nuisance parameters (water, oxygen,
# slope, curvature, velocity), so only a few numbers need a high capacity. With a higher
# penalty, the channel transmits less. The table shows whether redatuming then becomes
# better.
#
# ## Saving, and loading in a new process
#
# `model.save` writes the *config* and the weights, but not the Python code. To load the
# file, you need the classes: put them in a module and import it first. A notebook is
# not a module, so we collect the cells that define the three classes.


# %%
def cell_of(cls):
    """Return the source of the cell, or file, that defines a class."""
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
# The new process has only the module and the files. It loads both models, redatums, and
# writes the result. We start it once for each installed backend: **weights that were
# trained with TensorFlow are used in a model that runs on JAX**.

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
    backends = ["jax"] if QUICK else [here, "jax"]

rows = []
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
        rows.append((type(model).__name__, backend, f"{difference:.1e}"))
pd.DataFrame(rows, columns=["model", "backend", "largest difference"])

# %% [markdown]
# These rules make the classes independent of the backend:
#
# - Use `keras.ops` in `call`, never `tf.`, `jnp.` or `torch.`. Use NumPy only in
#   `__init__`.
# - Do not use a Python `if` on the *values* of a tensor, only on conditions that are
#   known in advance (`mask is None`, `training`).
# - Draw random numbers with a `keras.random.SeedGenerator` that is an attribute of the
#   layer, as in `NuisanceDropout`. Never use `np.random` in `call`: its numbers would
#   be drawn once and become constants of the graph.
# - Change no state in `call` except Keras variables. Use no `Lambda` layer and no
#   lambda in a config, because they cannot be saved safely.
#
# ## Exercises
#
# **1.** The median is the limit of trimming. Show that `TrimmedMean(0.49)` of nine
# numbers is their median. What does it return for eight numbers?
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
# For nine numbers, $k = \lfloor 4.41 \rfloor = 4$, so one number remains. For eight
# numbers, $k = 3$, so the two in the middle remain. Their mean is the median as well.
#
# </details>
#
# **2.** Train the model with the *mean* on groups with two lost exposures. Does it
# learn to ignore clouds?
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
# The errors with zero, one and two clouds are now almost equal: the encoder has learned
# to detect a cloud and to encode it in features that the next layer can remove.
# However, it has learned only *this* kind of cloud. The trimmed mean was trained
# without any clouds.
#
# </details>
#
# **3.** Write the penalty as a separate layer that returns its input and adds the loss,
# so that any model can use it. Check its value.
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
# - A layer stores its arguments, creates its weights in `build`, computes with
#   `keras.ops`, and returns its arguments in `get_config`.
# - Before training, test a layer with an independently computed value, a permuted
#   order, padding that contains NaN, and an empty group.
# - `SymAE` accepts any encoder of one instance, any decoder of one code, and any
#   pooling that accepts a mask.
# - Your own model needs `encode`, `decode`, `reconstruct` and `redatum` for
#   `sk.evaluation`. Set losses in `compile` and `add_loss`. No training loop is needed.
# - Saved models contain names of classes, not code. Import your module before loading.
#
# Next: compare your model fairly with the others ([tutorial
# 10](10_grouped_baselines.ipynb)), or train it on several devices ([tutorial
# 11](11_several_gpus_and_machines.ipynb)).
