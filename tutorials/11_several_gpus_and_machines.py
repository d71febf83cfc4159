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
# **Aim.** Train one model on several devices with `tf.distribute`, check that the
# result agrees with that of one device up to rounding, and learn the exceptions. Then
# do the same with two processes, as on two machines.
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
# ## Two logical devices
#
# You do not need a second GPU for this tutorial. TensorFlow can split the CPU into two
# **logical devices**, which behave like two GPUs: each has a copy of the weights, and
# they exchange gradients. The split has to be configured before TensorFlow computes
# anything (importing it is allowed), so it is the first step. With real GPUs, omit this
# cell.

# %%
cpu = tf.config.list_physical_devices("CPU")[0]
half = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [half, half])

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Settings
# %matplotlib inline
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #882255 #E69F00 #332288 #56B4E9".split()
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
tf.get_logger().setLevel("ERROR")  # strategies log each transfer
keras.utils.set_random_seed(0)

QUICK = os.environ.get("SYMAE_QUICK") == "1"
N_STATES = 64 if QUICK else 640
EPOCHS = 2 if QUICK else 10
BATCH = 16  # groups per step, over all devices
FOLDER = Path(tempfile.mkdtemp())  # for all files of this notebook

# %% [markdown]
# ## Data parallelism
#
# Let a batch contain $B$ groups, and let $\ell_i(w)$ be the loss of group $i$ with the
# weights $w$. Gradient descent needs the gradient of the mean,
#
# $$
# g = \frac{1}{B} \sum_{i=1}^{B} \nabla \ell_i(w) = \frac{1}{2} \Big(
# \underbrace{\tfrac{2}{B} \sum_{i \le B/2} \nabla \ell_i(w)}_{\text{replica 0}} +
# \underbrace{\tfrac{2}{B} \sum_{i > B/2} \nabla \ell_i(w)}_{\text{replica 1}} \Big).
# $$
#
# The sum can be split. Each **replica** has all weights, receives its part of the
# batch, and computes the gradient of this part. Then the gradients are added
# (*all-reduce*), and all replicas take the same step. This is *data parallelism with
# synchronous updates*: the weights of all replicas are equal at all times.
#
# The figure shows a batch of 16 groups on two replicas.

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
fig, ax = plt.subplots(figsize=(7.5, 3.0))
for group in range(16):
    colour = f"C{group // 8}"
    row, column = divmod(group, 4)
    ax.add_patch(plt.Rectangle((column, 3 - row), 0.9, 0.9, color=colour))
boxes = {
    "batch": (2.0, -0.6, "black"),
    "replica 0\nweights w": (8.0, 3.2, "C0"),
    "replica 1\nweights w": (8.0, 0.8, "C1"),
    "all-reduce\nsum of gradients": (13.5, 2.0, "black"),
    "the same step\non both replicas": (19.5, 2.0, "C2"),
}
for text, (x, y, colour) in boxes.items():
    ax.text(
        x,
        y,
        text,
        color=colour,
        ha="center",
        va="center",
        bbox=None
        if text == "batch"
        else {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour},
    )
arrows = [
    ((4.2, 3.2), (6.1, 3.2)),
    ((4.2, 0.8), (6.1, 0.8)),
    ((9.9, 3.2), (11.0, 2.3)),
    ((9.9, 0.8), (11.0, 1.7)),
    ((16.0, 2.0), (17.0, 2.0)),
]
for start, end in arrows:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1.5})
ax.set(xlim=(-0.5, 22), ylim=(-1.2, 4.5))
ax.set_axis_off()
display(fig)
plt.close(fig)

# %% [markdown]
# `make_strategy` detects the available devices. `running` is the scope in which models
# are created, compiled and fitted. `"auto"` selects several GPUs or several machines if
# there are any. It ignores logical devices, so we name the strategy here.

# %%
strategy = distribute.make_strategy("mirrored")
display(
    Markdown(
        f"{strategy.num_replicas_in_sync} replicas on "
        + " and ".join(strategy.extended.worker_devices)
    )
)

# %% [markdown]
# ## Two replicas compared with one
#
# To test the claim, we use the same initial weights, the same batches and plain
# gradient descent (SGD), and compare losses and weights.
#
# - Why SGD and not Adam? Adam divides each gradient by its own magnitude. It would hide
#   a gradient that is wrong by a constant *factor*, which is the most common error in
#   distributed training.
# - Noise in training would differ between the two runs, for a reason that is explained
#   below. We switch it off here.


# %%
def new_model(noise=0.0, optimizer=None):
    """Return a small SymAE, with the same weights in every call."""
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
    """Return the same batches in every call."""
    return sk.data.batches(groups, BATCH, instances=4, seed=0)


def fit(strategy, **options):
    """Train a model and return losses, weights and seconds per epoch."""
    with distribute.running(strategy):
        model = new_model(**options)
        seconds = SecondsOfEpochs()
        model.fit(
            batches(), epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[seconds]
        )
    weights = np.concatenate([np.ravel(w) for w in model.get_weights()])
    return seconds.losses, weights, min(seconds.seconds)


class SecondsOfEpochs(keras.callbacks.Callback):
    """Record of the time and the loss of each epoch."""

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

# %% tags=["hide-input"] jupyter={"source_hidden": true} cellView="form"
# @title Figure
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
below.axhline(2.0**-23, color="0.3", linestyle=":", label="precision of float32")
below.set(xlabel="epoch", ylabel="relative difference\n(0 is shown as $10^{-9}$)")
below.set(xticks=epochs)
below.set_ylim(5e-10, 1e-3)
below.legend(frameon=False)
display(fig)
plt.close(fig)

# %%
step = np.abs(two_weights - one_weights).max()
display(
    Markdown(
        f"After {EPOCHS} epochs of {int(batches().cardinality())} steps, the largest "
        f"relative difference of the losses is {difference.max():.1e}. The largest "
        f"difference of a weight is {step:.1e}. An epoch took {one_seconds:.2f} s on "
        f"one device and {two_seconds:.2f} s on two replicas."
    )
)

# %% [markdown]
# The differences are rounding errors, because float32 numbers are added in another
# order. Do not expect a speed-up here: two halves of one CPU are not faster than the
# whole CPU, and they have to communicate. Strategies are useful if each replica is a
# separate device and the batch is large enough to use it fully.
# [Scaling](../docs/scaling.md) lists the computation and communication of a step.
#
# ## Effects of splitting a batch
#
# The batch size is that of the **whole** batch, which the replicas share. With twice as
# many devices, each receives half of it, and the result stays the same. To train
# faster, use larger batches. This *does* change the result, as on one device: an epoch
# has fewer steps with less noise. A common correction is to increase the learning rate.
#
# If $B$ is not divisible, each replica computes the mean over *its* part,
# and both means have the same weight. Of 13 groups, one replica receives 6 and the
# other 7, so a group in the smaller part has the weight $13 / (2 \cdot 6)$ instead of
# 1. We can measure these weights with a gradient. The inputs are the rows
# $e_1, e_2, \dots$ with a single 1 each, the model is $y = w \cdot x$, and the loss is
# $-y$. The gradient with respect to $w_i$ is then minus the weight of row $i$ in the
# mean, and one step of SGD with learning rate 1 stores these weights in $w$.


# %%
@keras.saving.register_keras_serializable(package="tutorial")
class MinusPrediction(keras.losses.Loss):
    """Loss whose gradient is minus the input."""

    def call(self, y_true, y_pred):
        return -y_pred[:, 0]


def weights_of_rows(n_rows):
    """Return the weight of each row of a batch, times the number of rows."""
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
axes[0].set_ylabel("weight x number of rows")
axes[1].legend(frameon=True, loc="lower right")
display(fig)
plt.close(fig)

# %%
uneven = counts[13]
display(
    Markdown(
        f"In a batch of 13, the weights of the rows range from {uneven.min():.3f} (7 "
        f"rows per replica, 13/14 = {13 / 14:.3f}) to {uneven.max():.3f} (6 rows per "
        f"replica, 13/12 = {13 / 12:.3f}). Their sum is {uneven.mean() * 13:.2f}."
    )
)

# %% [markdown]
# The difference is small and decreases with the batch size, but it exists.
#
# <div class="admonition warning alert alert-warning">
# <p class="admonition-title"><b>Warning</b></p>
#
# Several other details also depend on the split. Know them before you compare runs:
#
# - **Masks** have the same effect if one part of a batch has more good pixels than
#   another.
# - **Losses that couple the rows of a batch** (a maximum mean discrepancy, a mean
#   activity) are computed for each part separately.
# - **Batch normalisation** computes its statistics for each part separately. The
#   encoders of this package use layer normalisation, which does not mix rows.
# - **Noise** has to differ between replicas. Otherwise, the parts of a batch have the
#   same noise. The layers of Keras draw the same numbers on all replicas. Those of this
#   package do not, as the next cell shows.
#
# </div>


# %%
def draws(layer, **options):
    """Return the correlation between the noise of two replicas."""
    ones = tf.ones((1, 2000))
    drawn = strategy.run(lambda: layer(ones, training=True, **options))
    first, second = (each.numpy().ravel() for each in drawn.values)
    return np.corrcoef(first, second)[0, 1]


with strategy.scope():
    ours = sk.layers.NuisanceDropout("gaussian", strength=0.5, seed=0)
    theirs = keras.layers.GaussianDropout(0.2, seed=0)
display(
    Markdown(
        "Correlation between the noise of two replicas: "
        f"{draws(theirs):.2f} with `keras.layers.GaussianDropout`, {draws(ours):.2f} "
        "with `sk.layers.NuisanceDropout`."
    )
)

# %% [markdown]
# ## Several machines
#
# With several machines, each runs the **same program**. Only the environment variable
# `TF_CONFIG` differs. It lists all workers and the index of this one. On the first of
# two machines:
#
# ```bash
# export TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]},
#                    "task": {"type": "worker", "index": 0}}'
# symae train symae_exposures --data stars.npz --out run --strategy multiworker
# ```
#
# On the second machine, use the same commands with `"index": 1`. Under Slurm, `srun`
# provides this information without `TF_CONFIG`. Worker 0 is the **chief**: only the
# chief writes results. The traffic is neither encrypted nor authenticated, so use a
# private network.
#
# In Python, the code is the same as in the first half of this tutorial, with three
# rules:
#
# - Call `make_strategy` first. It waits until all workers have started.
# - Save *outside* `running`, and only on the chief. Inside `running`, reading a metric
#   waits for the other workers, and the program hangs.
# - All workers have to stay until the end. `distribute.meet` waits for all of them.
#
# `running` also works around a bug of Keras 3, whose `fit` fails with several workers
# ([issue 20585](https://github.com/keras-team/keras/issues/20585)).
#
# We try this on one machine, with two processes that communicate over the loopback
# address. The following file contains the whole program, the same as the first half of
# this notebook.

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
# Now we start the program twice, with two free ports and one `TF_CONFIG` per process.
# We set a time limit, because a worker waits for missing workers. If the two processes
# cannot connect, as in some hosted notebooks, the cell reports it and the notebook
# continues.


# %%
def free_ports(count):
    """Find unused ports of the loopback address."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def run_workers(count, patience=600):
    """Start the program `count` times; return if all succeeded, and the exit codes."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    settings = json.dumps([N_STATES, EPOCHS, BATCH, str(FOLDER)])
    processes = []
    try:
        for index in range(count):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": {"worker": addresses}, "task": task})
            with (FOLDER / f"worker{index}.txt").open("w") as log:
                command = [sys.executable, str(FOLDER / "train.py"), settings]
                environment = {**os.environ, "TF_CONFIG": config}
                environment["CUDA_VISIBLE_DEVICES"] = ""  # both would use the same GPU
                processes.append(
                    subprocess.Popen(
                        command, env=environment, stdout=log, stderr=subprocess.STDOUT
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
succeeded, codes = run_workers(2)
seconds = time.perf_counter() - start

# %%
if succeeded:
    first, second = (dict(np.load(FOLDER / f"worker{n}.npz")) for n in range(2))
    between = np.abs(first["weights"] - second["weights"]).max()
    to_one = np.abs(first["weights"] - one_weights).max()
    losses = np.abs(first["loss"] / np.array(one_loss) - 1.0).max()
    report = (
        f"Two processes trained for {EPOCHS} epochs in {seconds:.0f} s with start-up. "
        f"Largest difference of a weight between the two: {between:.1e}, and to "
        f"one process: {to_one:.1e}. Largest relative difference of a loss: "
        f"{losses:.1e}. The chief wrote "
        f"{(FOLDER / 'stars.keras').stat().st_size / 1e6:.1f} MB."
    )
else:
    last = (FOLDER / "worker0.txt").read_text().strip().splitlines()[-1:]
    report = f"The two processes failed here (exit codes {codes}): {' '.join(last)}"
display(Markdown(report))

# %% [markdown]
# The weights of the two workers are exactly equal, because they add the same numbers in
# the same order. They agree with those of one process up to rounding. The file that the
# chief saved is an ordinary file, which any process can load without a strategy:

# %%
if succeeded:
    loaded = keras.saving.load_model(FOLDER / "stars.keras")
    error = sk.evaluation.reconstruction_error(loaded, groups)
    display(Markdown(f"Reconstruction error of the saved model: {error:.3f}."))

# %% [markdown]
# If a worker fails, the others stop within seconds with an error that names it
# (`distribute.WorkerLost`). `symae train --resume` on all workers resumes from the last
# checkpoint.
#
# ## Exercises
#
# **1.** Use three replicas and batches of 16. How much can the weight of a group
# deviate from 1? Compute it, then measure it.
#
# <details><summary>Solution</summary>
#
# ```python
# # Parts of 5, 5 and 6: the weight is 16 / (3 * 6) = 0.889 or 16 / (3 * 5) = 1.067.
# parts = [len(each) for each in np.array_split(np.arange(16), 3)]
# print([16 / (3 * part) for part in parts])
# # To measure it, restart the notebook with [half] * 3 as the logical devices. Then
# # weights_of_rows(16) returns these two values.
# ```
#
# </details>
#
# **2.** The test above used SGD. Show that Adam would have hidden a gradient that is
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
# With SGD, the runs differ from the start. With Adam, they differ only by a tiny
# amount, because its step does not depend on the magnitude of the gradient.
#
# </details>
#
# **3.** With many workers, it is inefficient if each worker draws whole batches and
# uses only its part. `distribute.per_worker` makes each worker draw only its part. Use
# it on the two replicas, and show that the result does not change.
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
# - The gradient of a batch is a sum, which can be split: two replicas agree with one
#   device up to rounding. Test this with SGD and without noise, because Adam hides
#   constant factors.
# - Call `make_strategy` first. Create, compile and fit inside `running`. Save outside
#   it, on the chief.
# - The batch size is that of the whole batch. If it is not divisible, rows in the
#   smaller part have a slightly larger weight.
# - Several machines run the same program. `TF_CONFIG` or `srun` gives each its index.
#
# Next: [From a laptop to several machines](../docs/scaling.md) covers Slurm, speed, and
# measurements. [Tutorial 12](12_your_own_layer_and_model.ipynb) builds layers and
# models that work under any strategy.
