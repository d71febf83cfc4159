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
# # 11 Several GPUs and machines
#
# **Aim.** Train one model on several devices with `tf.distribute`, see that the result
# is that of one device to rounding, and know where it is not. Then do the same with two
# processes, as on two machines.
#
# **Prerequisites.** Tutorial 06 (SymAE); gradients and gradient descent.
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
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from IPython.display import Markdown, display

import symae_keras as sk
from symae_keras import distribute

# %% [markdown]
# ## Two devices out of one
#
# You need no second GPU to follow. TensorFlow can split the processor into two
# **logical devices**, which behave as two GPUs would: each holds its own copy of the
# weights, and they exchange gradients. This has to be said before TensorFlow computes
# anything (importing it is no harm), so that it comes first. With real GPUs leave these
# lines out.

# %%
cpu = tf.config.list_physical_devices("CPU")[0]
half = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [half, half])

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Settings
# %matplotlib inline
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
tf.get_logger().setLevel("ERROR")  # strategies tell of each thing that they send
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_STATES = 96 if QUICK else 640
EPOCHS = 3 if QUICK else 10
BATCH = 16  # of the whole, over all devices
FOLDER = Path(tempfile.mkdtemp())  # for all files of this notebook

# %% [markdown]
# ## What a strategy does
#
# Let a batch hold $B$ groups, and let $\ell_i(w)$ be the loss of group $i$ at the
# weights $w$. Gradient descent needs the gradient of the mean,
#
# $$
# g = \frac{1}{B} \sum_{i=1}^{B} \nabla \ell_i(w) = \frac{1}{2} \Big(
# \underbrace{\tfrac{2}{B} \sum_{i \le B/2} \nabla \ell_i(w)}_{\text{replica 0}} +
# \underbrace{\tfrac{2}{B} \sum_{i > B/2} \nabla \ell_i(w)}_{\text{replica 1}} \Big).
# $$
#
# A sum can be split. Each **replica** holds all weights, takes its part of the batch,
# and computes the gradient of it; then the gradients are added up (*all-reduce*), and
# all replicas take the same step. This is *data parallelism with synchronous updates*:
# no replica ever has weights that the others do not have.
#
# `make_strategy` finds out what there is, and `running` is the scope in which models
# are made, compiled and fitted. `"auto"` would pick several GPUs, or several machines;
# our two halves of a processor are made on purpose, so that we name the strategy.

# %%
strategy = distribute.make_strategy("mirrored")
display(
    Markdown(
        f"{strategy.num_replicas_in_sync} replicas, on "
        + " and ".join(strategy.extended.worker_devices)
    )
)

# %% [markdown]
# ## Two replicas against one
#
# The claim is strong, so test it sharply: the same weights at the start, the same
# batches, plain gradient descent (SGD), and then compare losses and weights.
#
# - Why SGD and not Adam? Adam divides each gradient by its own size. A gradient that is
#   wrong by a *factor*, the commonest mistake in distributed training, would go unseen.
# - Noise in training would differ between the two runs, for a good reason that comes
#   below. So we switch it off here.


# %%
def new_model(noise=0.0, optimizer=None):
    """A small SymAE with the same weights whenever it is called."""
    keras.utils.set_random_seed(0)
    model = sk.models.SymAE(
        groups.instance_shape,
        coherent_dim=4,
        nuisance_dim=4,
        encoder=sk.layers.DenseEncoder(32, units=(64,)),
        noise_strength=noise,
        normalization=sk.training.normalization(groups),
        seed=0,
    )
    optimizer = optimizer or keras.optimizers.SGD(0.2, momentum=0.9)
    model.compile(optimizer, loss=sk.losses.RelativeMeanSquaredError(variance))
    return model


def batches():
    """The same batches whenever it is called."""
    return sk.data.batches(groups, BATCH, instances=4, seed=0)


def fit(strategy, **options):
    """Train, and return losses, weights and seconds an epoch."""
    with distribute.running(strategy):
        model = new_model(**options)
        seconds = SecondsOfEpochs()
        model.fit(
            batches(), epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[seconds]
        )
    weights = np.concatenate([np.ravel(w) for w in model.get_weights()])
    return seconds.losses, weights, min(seconds.seconds)


class SecondsOfEpochs(keras.callbacks.Callback):
    """The time that each epoch took, and its loss."""

    def on_train_begin(self, logs=None):
        self.seconds, self.losses = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)
        self.losses.append(logs["loss"])


groups = sk.data.simulate_exposures(n_states=N_STATES, n_instances=8, seed=0)
variance = sk.training.data_variance(groups)
one_loss, one_weights, one_seconds = fit(None)
two_loss, two_weights, two_seconds = fit(strategy)

# %%
difference = np.abs(np.array(two_loss) / np.array(one_loss) - 1.0)
fig, (ax, below) = plt.subplots(
    2, 1, figsize=(6, 4.6), sharex=True, layout="constrained", height_ratios=(3, 2)
)
epochs = np.arange(1, EPOCHS + 1)
ax.plot(epochs, one_loss, linewidth=5, alpha=0.5, label="one device")
ax.plot(epochs, two_loss, "o--", color="black", markersize=4, label="two replicas")
ax.set(ylabel="training loss / variance")
ax.legend(frameon=False)
below.semilogy(epochs, np.maximum(difference, 1e-9), "o-", color="C1", markersize=4)
below.axhline(2.0**-23, color="0.5", linestyle=":", label="last digit of float32")
below.set(xlabel="epoch", ylabel="relative difference\n(0 is drawn at $10^{-9}$)")
below.set(xticks=epochs)
below.set_ylim(5e-10, 1e-3)
below.legend(frameon=False)
display(fig)
plt.close(fig)

# %%
step = np.abs(two_weights - one_weights).max()
display(
    Markdown(
        f"After {EPOCHS} epochs of {int(batches().cardinality())} steps the losses "
        f"differ by {difference.max():.1e} of their size at most, and no weight by "
        f"more than {step:.1e}. An epoch took {one_seconds:.2f} s on one device and "
        f"{two_seconds:.2f} s on two replicas."
    )
)

# %% [markdown]
# The differences are those of adding float32 numbers in another order; nothing else is
# left. Do not expect it to be faster here: two halves of one processor compute no more
# than the whole, but have to talk. Strategies pay where each replica is a device of its
# own and the batch is large enough to keep it busy. [Scaling](../docs/scaling.md)
# counts what a step computes and sends.
#
# ## What splitting a batch does
#
# The batch size you give is that of the **whole** batch; replicas share it. With twice
# the devices, each gets half, and the result stays the same. To gain speed you give
# larger batches, which *does* change the result, as it would on one device: fewer and
# less noisy steps in an epoch. Then people raise the learning rate along with it.
#
# What if $B$ is not divisible? Each replica takes the mean over *its* part, and the two
# means count alike. Of 13 groups, one replica gets 6 and the other 7, and a group in
# the smaller part weighs $13 / (2 \cdot 6)$ of what it should. A gradient shows it.
# Give the rows $e_1, e_2, \dots$ with a single 1 each to the model $y = w \cdot x$ with
# the loss $-y$: the gradient with respect to $w_i$ is then minus the weight of row $i$
# in the mean, and one step of SGD at rate 1 writes these weights into $w$.


# %%
@keras.saving.register_keras_serializable(package="tutorial")
class MinusPrediction(keras.losses.Loss):
    """So that the gradient is minus the input."""

    def call(self, y_true, y_pred):
        return -y_pred[:, 0]


def weights_of_rows(n_rows):
    """How much each row of a batch counts, times the number of rows."""
    rows = np.eye(n_rows, dtype="float32")
    with distribute.running(strategy):
        inputs = keras.Input((n_rows,))
        product = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        model = keras.Model(inputs, product(inputs))
        model.compile(keras.optimizers.SGD(1.0), loss=MinusPrediction())
        model.fit(rows, rows, batch_size=n_rows, shuffle=False, verbose=0)
    return model.get_weights()[0][:, 0] * n_rows


counts = {n: weights_of_rows(n) for n in (12, 13)}
fig, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True, layout="constrained")
for ax, (n, found) in zip(axes, counts.items(), strict=True):
    first = n // 2
    ax.bar(np.arange(first), found[:first], label="replica 0")
    ax.bar(np.arange(first, n), found[first:], label="replica 1", hatch="//")
    ax.axhline(1.0, color="black", linewidth=0.8)
    ax.set(title=f"{n} rows in the batch", xlabel="row", xticks=range(0, n, 3))
axes[0].set_ylabel("weight, times the rows")
axes[1].legend(frameon=True, loc="lower right")
display(fig)
plt.close(fig)

# %%
uneven = counts[13]
display(
    Markdown(
        f"Weights of the rows of a batch of 13: from {uneven.min():.3f} (7 on a "
        f"replica; 13/14 = {13 / 14:.3f}) to {uneven.max():.3f} (6 on a replica; "
        f"13/12 = {13 / 12:.3f}). They add up to {uneven.mean() * 13:.2f}."
    )
)

# %% [markdown]
# The difference is small and falls as batches grow, but it is there. So are these,
# which you should know before you compare runs:
#
# - **Masks** have the same effect where one part of a batch has more good pixels than
#   another.
# - **Losses that couple the rows of a batch** (a maximum mean discrepancy, a mean
#   activity) are those of each part.
# - **Batch normalisation** takes its statistics from each part. The encoders of this
#   package have layer normalisation, which does not mix rows.
# - **Noise** has to differ between replicas, or else the parts of a batch would share
#   it. Keras's own layers draw the same numbers on all replicas; those of this package
#   do not, as we can see.


# %%
def draws(layer, **options):
    """What two replicas draw for the same ones."""
    ones = tf.ones((1, 2000))
    drawn = strategy.run(lambda: layer(ones, training=True, **options))
    first, second = (each.numpy().ravel() for each in drawn.values)
    return np.corrcoef(first, second)[0, 1]


with strategy.scope():
    ours = sk.layers.NuisanceDropout("gaussian", strength=0.5, seed=0)
    theirs = keras.layers.GaussianDropout(0.2, seed=0)
display(
    Markdown(
        "Correlation of the noise of two replicas: "
        f"{draws(theirs):.2f} with `keras.layers.GaussianDropout`, {draws(ours):.2f} "
        "with `sk.layers.NuisanceDropout`."
    )
)

# %% [markdown]
# ## Several machines
#
# With several machines, each runs the **same program**. What differs is one environment
# variable, `TF_CONFIG`: who takes part, and which of them am I? On the first of two:
#
# ```bash
# export TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]},
#                    "task": {"type": "worker", "index": 0}}'
# symae train symae_exposures --data stars.npz --out run --strategy multiworker
# ```
#
# and on the second the same with `"index": 1`. Under Slurm, `srun` tells it without
# `TF_CONFIG`. Worker 0 is the **chief**: it alone writes results. The traffic is
# neither encrypted nor authenticated, so use a network of your own.
#
# In Python the lines stay those of the first half, with three things to mind:
#
# - `make_strategy` comes first of all, and waits until all workers are there;
# - save *outside* of `running`, on the chief alone: inside, reading a metric waits for
#   the others, who are not coming;
# - let nobody leave early: `distribute.meet` waits for all.
#
# `running` also mends what stock Keras 3 lacks here: its `fit` fails under several
# workers ([issue 20585](https://github.com/keras-team/keras/issues/20585)).
#
# We play it through on this machine: two processes that talk over the loopback
# address. This is the whole program; it is the first half of this notebook in one file.

# %%
program = """
import json, sys
from symae_keras import distribute

strategy = distribute.make_strategy("auto")   # before anything else uses TensorFlow

import keras, numpy as np
import symae_keras as sk

n_states, epochs, batch, out = json.loads(sys.argv[1])
groups = sk.data.simulate_exposures(n_states=n_states, n_instances=8, seed=0)
with distribute.running(strategy):
    keras.utils.set_random_seed(0)
    model = sk.models.SymAE(
        groups.instance_shape, coherent_dim=4, nuisance_dim=4,
        encoder=sk.layers.DenseEncoder(32, units=(64,)), noise_strength=0.0,
        normalization=sk.training.normalization(groups), seed=0,
    )
    model.compile(
        keras.optimizers.SGD(0.2, momentum=0.9),
        loss=sk.losses.RelativeMeanSquaredError(sk.training.data_variance(groups)),
    )
    history = model.fit(
        sk.data.batches(groups, batch, instances=4, seed=0),
        epochs=epochs, shuffle=False, verbose=0,
    ).history

weights = np.concatenate([np.ravel(w) for w in model.get_weights()])
number = distribute.worker_number(strategy)
np.savez(f"{out}/worker{number}.npz", loss=history["loss"], weights=weights)
if distribute.is_chief(strategy):
    model.save(f"{out}/stars.keras")
with distribute.running(strategy):
    distribute.meet(strategy)
"""
_ = (FOLDER / "train.py").write_text(program)


# %% [markdown]
# What is left is to start it twice: two free ports, one `TF_CONFIG` each, and a limit
# on the time, since a worker waits for one that does not come. If the two cannot reach
# each other here, as in some hosted notebooks, the cell says so and the notebook goes
# on.


# %%
def free_ports(count):
    """Ports of the loopback address that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def run_workers(count, patience=600):
    """Start the program `count` times; whether all ended well, and what they said."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    settings = json.dumps([N_STATES, EPOCHS, BATCH, str(FOLDER)])
    processes = []
    try:
        for index in range(count):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": {"worker": addresses}, "task": task})
            with (FOLDER / f"worker{index}.txt").open("w") as said:
                command = [sys.executable, str(FOLDER / "train.py"), settings]
                environment = {**os.environ, "TF_CONFIG": config}
                environment["CUDA_VISIBLE_DEVICES"] = ""  # both would take the same GPU
                processes.append(
                    subprocess.Popen(
                        command, env=environment, stdout=said, stderr=subprocess.STDOUT
                    )
                )
        end = time.monotonic() + patience
        codes = [each.wait(max(end - time.monotonic(), 1.0)) for each in processes]
    except subprocess.TimeoutExpired:
        codes = [None] * count
    finally:
        for each in processes:
            each.kill()
            each.wait()
    return codes == [0] * count, codes


start = time.perf_counter()
ended_well, codes = run_workers(2)
seconds = time.perf_counter() - start

# %%
if ended_well:
    first, second = (dict(np.load(FOLDER / f"worker{n}.npz")) for n in range(2))
    between = np.abs(first["weights"] - second["weights"]).max()
    to_one = np.abs(first["weights"] - one_weights).max()
    losses = np.abs(first["loss"] / np.array(one_loss) - 1.0).max()
    told = (
        f"Two processes trained for {EPOCHS} epochs, in {seconds:.0f} s with their "
        f"start. Largest difference of a weight between the two: {between:.1e}; to one "
        f"process: {to_one:.1e}; of a loss: {losses:.1e} of its size. The chief wrote "
        f"{(FOLDER / 'stars.keras').stat().st_size / 1e6:.1f} MB."
    )
else:
    last = (FOLDER / "worker0.txt").read_text().strip().splitlines()[-1:]
    told = f"The two did not end well here (exit codes {codes}): {' '.join(last)}"
display(Markdown(told))

# %% [markdown]
# The two workers agree with each other to the last digit, because they add up the same
# numbers in the same order; with one process they agree to rounding. What the chief
# saved is an ordinary file, which any process loads without a strategy:

# %%
if ended_well:
    loaded = keras.saving.load_model(FOLDER / "stars.keras")
    error = sk.evaluation.reconstruction_error(loaded, groups)
    display(Markdown(f"Reconstruction error of the saved model: {error:.3f}."))

# %% [markdown]
# If a worker dies, the others end within seconds with one sentence that names it
# (`distribute.WorkerLost`). `symae train --resume` on all of them goes on from the last
# checkpoint.
#
# ## Exercises
#
# **1.** Train with three replicas and batches of 16. By how much can the weight of a
# group be off? Work it out, then measure.
#
# <details><summary>Solution</summary>
#
# ```python
# # Parts of 5, 5 and 6: a group counts 16 / (3 * 6) = 0.889 or 16 / (3 * 5) = 1.067.
# parts = [len(each) for each in np.array_split(np.arange(16), 3)]
# print([16 / (3 * part) for part in parts])
# # To measure it, start the notebook with [half] * 3 in the first cell; then
# # weights_of_rows(16) shows the two values.
# ```
#
# </details>
#
# **2.** The sharp test used SGD. Show that Adam would have hidden a gradient that is
# wrong by a factor of two: train twice on one device, once with the loss doubled.
#
# <details><summary>Solution</summary>
#
# ```python
# def losses_of(optimizer, factor):
#     model = new_model()
#     loss = sk.losses.RelativeMeanSquaredError(variance / factor)
#     model.compile(optimizer, loss=loss)
#     history = model.fit(batches(), epochs=EPOCHS, shuffle=False, verbose=0).history
#     return np.array(history["loss"]) / factor
#
#
# for name, make in {
#     "SGD": lambda: keras.optimizers.SGD(0.2, momentum=0.9),
#     "Adam": lambda: keras.optimizers.Adam(1e-3),
# }.items():
#     ratio = losses_of(make(), 2.0) / losses_of(make(), 1.0)
#     print(name, np.abs(ratio - 1.0).max())
# ```
#
# With SGD the runs part at once, with Adam they differ by a tiny amount only: its step
# does not depend on the size of the gradient.
#
# </details>
#
# **3.** With many workers it is a waste that each draws whole batches and keeps its
# part. `distribute.per_worker` lets each draw its own part. Use it on the two replicas,
# and show that nothing changes.
#
# <details><summary>Solution</summary>
#
# ```python
# with distribute.running(strategy):
#     model = new_model()
#     parts, steps = distribute.per_worker(
#         lambda shard: sk.data.batches(groups, BATCH, instances=4, seed=0, shard=shard)
#     )
#     options = {"epochs": EPOCHS, "shuffle": False, "verbose": 0}
#     history = model.fit(parts, steps_per_epoch=steps, **options)
# print(np.abs(np.array(history.history["loss"]) / np.array(two_loss) - 1.0).max())
# ```
#
# </details>
#
# ## Summary
#
# - A batch is a sum, and sums can be split: two replicas equal one device to rounding.
#   Test it with SGD and without noise; Adam hides factors.
# - `make_strategy` first of all; make, compile and fit inside of `running`; save
#   outside of it, on the chief.
# - The batch size is that of the whole batch. Where it does not divide, rows in the
#   smaller part count a little more.
# - Several machines run the same program; `TF_CONFIG`, or `srun`, tells each who it is.
#
# Next: [From a laptop to several machines](../docs/scaling.md) has Slurm, speed, and
# what is measured; tutorial 12 builds layers and models that work under any strategy.
