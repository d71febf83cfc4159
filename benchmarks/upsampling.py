"""Error, checkerboards and cost of the upsamplings in a convolutional decoder.

One autoencoder of simulated shapes (28 x 28 pixels, a code of 16 numbers, two
convolutions of stride 2) is trained with each upsampling and three seeds; all other
settings are equal. Reconstructions of other images are compared with the noise-free
ground truth:

- error: mean squared error divided by the variance of the ground truth;
- board 2 px, 4 px: power of the residuals in patterns that repeat with the stride of
  the last upsampling, or of both, divided by their mean power
  (`symae_keras.evaluation.segmentation`); 1 for white noise;
- untrained 2 px: the same measure for the outputs before training, which shows the
  pattern that the architecture causes;
- step time: median ratio of the time of a training step to that of the transposed
  convolution, timed in turn.

Max unpooling puts values at the positions of the encoder's maxima, so its decoder needs
the indices in addition to the code. Its row shows the benefit of these indices; it
cannot decode a code alone.

    python benchmarks/upsampling.py --out results.json --figures docs/images

takes about seven minutes of processor time; `--quick` tests everything in one minute.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import print_table, write_json

from symae_keras.data import simulate_shapes
from symae_keras.evaluation import checkerboard, in_batches, relative_error
from symae_keras.layers import Conv2DEncoder, MaxPoolingWithIndices2D, MaxUnpooling2D
from symae_keras.models import Autoencoder
from symae_keras.plotting import plot_residuals

IMAGE = (28, 28, 1)
CODE = 16
FILTERS = (16, 32)
BATCH = 32
STEPS_TIMED = 5
UNPOOLING = "max_unpooling"
UPSAMPLINGS = ("transposed", "nearest", "bed_of_nails", "subpixel", UNPOOLING)
MEASURES = ("error", "board 2 px", "board 4 px", "untrained 2 px")
Array = np.ndarray[Any, Any]


def images(n_states: int, seed: int) -> tuple[Array, Array]:
    """Return noisy images, four views of each shape, and the same without noise."""
    groups = simulate_shapes(n_states, n_instances=4, seed=seed)
    group, instance = np.indices(groups.x.shape[:2])
    truth = groups.virtual(group, group, instance)
    # Scale to about zero mean and unit variance, with fixed constants.
    noisy, exact = (
        (x.reshape(-1, *IMAGE).astype("float32") - 0.3) / 0.2 for x in (groups.x, truth)
    )
    return noisy, exact


def make(upsampling: str) -> keras.Model:
    """Return the autoencoder; only the upsampling differs."""
    if upsampling == UNPOOLING:
        return make_unpooling()
    encoder = Conv2DEncoder(CODE, FILTERS)
    decoder = encoder.mirror(IMAGE, upsampling=upsampling)
    return Autoencoder(IMAGE, code_dim=None, encoder=encoder, decoder=decoder)


def make_unpooling() -> keras.Model:
    """Return an autoencoder that passes pooling indices to the decoder."""

    def activated(x: Any) -> Any:
        return keras.activations.gelu(keras.layers.LayerNormalization()(x))

    x = keras.Input(IMAGE)
    maps, indices = x, []
    for filters in FILTERS:
        maps = activated(keras.layers.Conv2D(filters, 3, padding="same")(maps))
        maps, positions = MaxPoolingWithIndices2D(2)(maps)
        indices.append(positions)
    code = keras.layers.Dense(CODE)(keras.layers.Flatten()(maps))
    shape = tuple(maps.shape[1:])
    maps = keras.layers.Dense(int(np.prod(shape)))(code)
    maps = keras.activations.gelu(keras.layers.Reshape(shape)(maps))
    maps = MaxUnpooling2D(2)((maps, indices[1]))
    maps = activated(keras.layers.Conv2D(FILTERS[0], 3, padding="same")(maps))
    maps = MaxUnpooling2D(2)((maps, indices[0]))
    return keras.Model(x, keras.layers.Conv2D(1, 3, padding="same")(maps))


def fit(
    upsampling: str, train: Array, test: tuple[Array, Array], steps: int, seed: int
) -> tuple[keras.Model, Array, dict[str, float]]:
    """Train with one seed; return the model, its reconstructions and their scores."""
    keras.utils.set_random_seed(seed)
    model = make(upsampling)
    x, truth = test
    before = in_batches(model, x)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.fit(train, train, BATCH, max(1, steps * BATCH // len(train)), verbose=0)
    made = in_batches(model, x)
    return (
        model,
        made,
        {
            "error": relative_error(made, truth),
            "board 2 px": checkerboard(made - truth, 2),
            "board 4 px": checkerboard(made - truth, 4),
            "untrained 2 px": checkerboard(before, 2),
        },
    )


def step_times(models: dict[str, keras.Model], x: Array, repeats: int) -> Array:
    """Return seconds per training step, `(models, repeats)`, all models in turn."""
    times = np.empty((len(models), repeats))
    for repeat in range(repeats):
        for row, model in enumerate(models.values()):
            start = time.perf_counter()
            for _ in range(STEPS_TIMED):
                model.train_on_batch(x, x)
            times[row, repeat] = (time.perf_counter() - start) / STEPS_TIMED
    return times


def spoken(name: str) -> str:
    """Return the name of an upsampling in the figure."""
    return name.replace("_", " ")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=512, help="default 512")
    parser.add_argument("--seeds", type=int, default=3, help="default 3")
    parser.add_argument("--quick", action="store_true", help="few steps with one seed")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--figures", type=Path, help="folder for the figure")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.seeds = 64, 1

    train, test = images(512, seed=0)[0], images(128, seed=1)
    models, shown, runs = {}, {}, []
    for name in UPSAMPLINGS:
        for seed in range(options.seeds):
            model, made, scores = fit(name, train, test, options.steps, seed)
            runs.append({"upsampling": name, "seed": seed, **scores})
            print(runs[-1], flush=True)
            if seed == 0:
                models[name], shown[name] = model, made
    times = step_times(models, train[:BATCH], repeats=9)
    ratios = np.median(times / times[0], axis=1)
    table = []
    for (name, model), ratio in zip(models.items(), ratios, strict=True):
        own = [run for run in runs if run["upsampling"] == name]
        medians = {key: float(np.median([run[key] for run in own])) for key in MEASURES}
        sizes = {"parameters": model.count_params(), "step time": float(ratio)}
        table.append({"upsampling": name, **medians, **sizes})
    print_table(table, list(table[0]))
    if options.out:
        write_json(options.out, {"table": table, "runs": runs})
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
        notes = {
            spoken(row["upsampling"]): f"error {row['error']:.2g}\n"
            f"board {row['board 2 px']:.2g}"
            for row in table
        }
        named = {spoken(name): each for name, each in shown.items()}
        figure = plot_residuals(test[1], named, notes)
        figure.savefig(options.figures / "upsampling.png", dpi=150)


if __name__ == "__main__":
    main()
