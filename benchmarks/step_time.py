"""Time of a training step: one call for all instances, or one call per instance.

`PerInstance` folds the instances of all groups into the batch and calls its layer once.
`keras.layers.TimeDistributed` calls its layer once per instance. The number of
instances is fixed when the graphs are built. Otherwise Keras 3.15 maps over as many
instances as there are groups, and its result is wrong.

There are three comparisons. In each, the benchmark first checks that both networks
compute the same:

- SymAE: the model of this package, and a copy in which every `PerInstance` is replaced
  by a `TimeDistributed`.
- original: the network of the first publication of SymAE. Every layer of its two
  convolutional encoders and its transposed convolutional decoder is wrapped separately.
- encoder: one convolutional encoder alone, forward and backward.

The default sizes are those of bagged MNIST: 8 groups of 20 images of 28 x 28 pixels,
64 filters of 5 x 5. The ratio is the time of TimeDistributed divided by that of
PerInstance. The two are timed in turn, many times, so that other load on the machine
affects both equally. The table shows the median ratio over these turns, with the lowest
and the highest one. On a busy machine use the ratio of CPU times, because wall time
includes the waiting for a core. The first step includes the building of the graph.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any, Final

# The comparison is for the layers of the TensorFlow backend.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from common import print_table, write_json
from keras import ops

from symae_keras.layers import Conv2DEncoder, PerInstance
from symae_keras.models import SymAE

IMAGE: Final = (28, 28, 1)
FEATURES: Final = 128
COHERENT_DIM: Final = 4
NUISANCE_DIM: Final = 8
#: Keras's name for multiplicative noise of standard deviation 0.5.
DROPOUT_RATE: Final = 0.2

Wrapper = type[PerInstance] | type[keras.layers.TimeDistributed]


def make_symae(filters: int, kernel: int) -> SymAE:
    """Return the model of the package."""
    encoder = Conv2DEncoder(FEATURES, filters=(filters, filters), kernel_size=kernel)
    return SymAE(IMAGE, COHERENT_DIM, NUISANCE_DIM, encoder=encoder, seed=0)


def make_twin(model: SymAE, n_instances: int) -> keras.Model:
    """Return the same network with the same weights, built from `TimeDistributed`."""
    clones: list[tuple[keras.Layer, keras.Layer]] = []

    def copy(layer: keras.Layer) -> keras.Layer:
        clones.append((layer, clone(layer)))
        return clones[-1][1]

    def apply(layers: list[keras.Layer], x: Any) -> Any:
        for layer in layers:
            x = copy(layer)(x)
        return x

    def unfolded(layer: PerInstance) -> keras.Layer:
        return keras.layers.TimeDistributed(copy(layer.layer))

    x = keras.Input((n_instances, *IMAGE))
    pooled = copy(model.pool)(unfolded(model.coherent_encoder)(x))
    coherent = apply(model.coherent_head, pooled)
    features = unfolded(model.nuisance_encoder)(x)
    nuisance = apply(model.nuisance_head, join(coherent, features))
    nuisance = copy(model.noise)(nuisance)
    twin = keras.Model(x, unfolded(model.instance_decoder)(join(coherent, nuisance)))
    for original, copied in clones:
        copied.set_weights(original.get_weights())
    return twin


def clone(layer: keras.Layer) -> keras.Layer:
    """Return a new layer with the same configuration."""
    return type(layer).from_config(layer.get_config())


def make_original(
    wrapper: Wrapper, n_instances: int, filters: int, kernel: int
) -> keras.Model:
    """Return the network of the original code, with each layer wrapped separately."""
    layers = keras.layers
    conv: dict[str, Any] = {"strides": 2, "padding": "same", "activation": "relu"}
    smallest = (IMAGE[0] // 4, IMAGE[1] // 4, filters)

    def apply(chain: list[keras.Layer], x: Any) -> Any:
        for layer in chain:
            x = wrapper(layer)(x)
        return x

    def encode(x: Any) -> Any:
        chain = [
            layers.Conv2D(filters, kernel, **conv),
            layers.Conv2D(filters, kernel, **conv),
            layers.Flatten(),
            layers.Dense(FEATURES, activation="relu"),
        ]
        return apply(chain, x)

    x = keras.Input((n_instances, *IMAGE))
    coherent = layers.Dense(COHERENT_DIM)(ops.mean(encode(x), axis=1))
    nuisance = apply([layers.Dense(NUISANCE_DIM)], encode(x))
    nuisance = layers.GaussianDropout(DROPOUT_RATE, seed=0)(nuisance)
    chain = [
        layers.Dense(int(np.prod(smallest)), activation="relu"),
        layers.Reshape(smallest),
        layers.Conv2DTranspose(filters, kernel, **conv),
        layers.Conv2DTranspose(1, kernel, strides=2, padding="same"),
    ]
    return keras.Model(x, apply(chain, join(coherent, nuisance)))


def join(coherent: Any, per_instance: Any) -> Any:
    """Concatenate the code of a group with the values of each of its instances."""
    repeated = coherent[:, None, :] + ops.zeros_like(per_instance[..., :1])
    return ops.concatenate([repeated, per_instance], axis=-1)


def training(model: keras.Model, x: Any) -> Callable[[int], None]:
    """Return a function that runs a number of training steps."""
    model.compile(optimizer="adam", loss="mse")
    data = tf.data.Dataset.from_tensors((x, x)).repeat()

    def take(steps: int) -> None:
        model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)

    return take


def differentiating(layer: keras.Layer, x: Any) -> Callable[[int], None]:
    """Return a function that runs a layer forward and backward several times."""

    @tf.function
    def gradients(inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(inputs)))
        return tape.gradient(loss, layer.trainable_variables)

    def take(steps: int) -> None:
        for _ in range(steps):
            result = gradients(x)
        result[-1].numpy()  # waits for an asynchronous device

    return take


def check_same(folded: Any, distributed: Any, x: Any) -> None:
    """Raise an error unless two networks compute the same."""
    if folded.count_params() != distributed.count_params():
        raise AssertionError("The networks differ in their number of parameters.")
    np.testing.assert_allclose(
        ops.convert_to_numpy(folded(x)), ops.convert_to_numpy(distributed(x)), atol=1e-4
    )


def compare(
    folded: Callable[[int], None],
    distributed: Callable[[int], None],
    repeats: int,
    steps: int,
) -> dict[str, float]:
    """Time two functions in turn, in wall time and in processor time."""
    functions = folded, distributed
    first = []
    for function in functions:
        start = time.perf_counter()
        function(1)  # traces and compiles
        first.append(time.perf_counter() - start)
    wall, cpu = np.empty((2, repeats, 2))
    for repeat in range(repeats):
        for which, function in enumerate(functions):
            start, start_cpu = time.perf_counter(), time.process_time()
            function(steps)
            cpu[repeat, which] = (time.process_time() - start_cpu) / steps
            wall[repeat, which] = (time.perf_counter() - start) / steps
    ratio = wall[:, 1] / wall[:, 0]
    return {
        "PerInstance (s)": float(np.median(wall[:, 0])),
        "TimeDistributed (s)": float(np.median(wall[:, 1])),
        "ratio": float(np.median(ratio)),
        "lowest": float(ratio.min()),
        "highest": float(ratio.max()),
        "CPU ratio": float(np.median(cpu[:, 1] / cpu[:, 0])),
        "first step ratio": first[1] / first[0],
    }


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Build, check and time all networks; return one row per comparison."""
    keras.utils.set_random_seed(0)
    sizes = arguments.filters, arguments.kernel
    n_instances = arguments.instances
    shape = (arguments.groups, n_instances, *IMAGE)
    x = tf.random.stateless_uniform(shape, seed=(0, 0))

    model = make_symae(*sizes)
    encoder = model.coherent_encoder.layer
    pairs = {
        "SymAE": (model, make_twin(model, n_instances)),
        "original": (
            make_original(PerInstance, n_instances, *sizes),
            make_original(keras.layers.TimeDistributed, n_instances, *sizes),
        ),
        "encoder": (
            PerInstance(clone(encoder)),
            keras.layers.TimeDistributed(clone(encoder)),
        ),
    }
    rows = []
    for network, pair in pairs.items():
        for each in pair:
            each(x)  # builds the layers
        if network != "SymAE":  # the copy has the same weights
            pair[1].set_weights(pair[0].get_weights())
        check_same(*pair, x)
        timed = differentiating if network == "encoder" else training
        folded, distributed = (timed(each, x) for each in pair)
        times = compare(folded, distributed, arguments.repeats, arguments.steps)
        rows.append({"network": network, "parameters": pair[0].count_params(), **times})
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, text in (
        ("groups", 8, "groups in a batch"),
        ("instances", 20, "instances in a group"),
        ("filters", 64, "filters of each convolution"),
        ("kernel", 5, "size of the kernels"),
        ("repeats", 5, "timings of each network"),
        ("steps", 1, "training steps in a timing; many on a GPU"),
    ):
        text = f"{text} (default {default})"
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--out", help="JSON file to write the results to")
    arguments = parser.parse_args()

    rows = run(arguments)
    print_table(rows, list(rows[0]))
    if arguments.out:
        settings = {k: v for k, v in vars(arguments).items() if k != "out"}
        devices = [device.name for device in tf.config.list_logical_devices()]
        write_json(
            arguments.out, {"settings": settings, "devices": devices, "rows": rows}
        )


if __name__ == "__main__":
    main()
