"""Small pictures of the results of each trained preset, for the page of the zoo.

    python benchmarks/zoo_pictures.py --out docs/images/zoo
    python benchmarks/zoo_pictures.py --out docs/images/zoo --data tablets_nir.npz

Pictures of grouped models show A, B, and the state of A under the nuisance of B.
Pictures of other models show instances and their reconstructions; denoising models
start from noisy instances. Presets without available data keep their pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

import symae_keras as sk
from symae_keras._utils.arrays import in_batches, swaps_codes
from symae_keras.data import GroupedData
from symae_keras.errors import InputError
from symae_keras.plotting.style import COHERENT, NUISANCE, TRUTH, VIRTUAL, new_figure
from symae_keras.zoo.recipes import load_recipe

#: Seed of groups that were not used to train any preset.
SEED: Final = 9_999
#: Standard deviation of the noise that denoising models remove.
NOISE: Final = {
    "denoising_exposures": 0.1,
    "denoising_shapes": 0.3,
    "unet_shapes": 0.15,
}
_WIDTH: Final = 3.2


def picture(name: str, groups: GroupedData) -> Figure:
    """Draw the results of a preset for the first two groups."""
    model = sk.zoo.load(name)
    spectra = len(groups.instance_shape) == 1
    if swaps_codes(model):
        a, b = groups.x[0, 0], groups.x[1, 1 % groups.n_instances]
        place = 1 % groups.n_instances
        virtual = in_batches(model.redatum, groups.x[:1], groups.x[1:2])[0, place]
        shown = {"A": (a, COHERENT), "B": (b, NUISANCE)}
        shown["state of A, nuisance of B"] = (virtual, VIRTUAL)
        return _lines(shown, groups.axis) if spectra else _images([[a, b, virtual]])
    x = np.asarray(groups.x[:3, 0], "float32")
    noise = np.random.default_rng(0).normal(0.0, NOISE.get(name, 0.0), x.shape)
    x = (x + noise).astype("float32")
    decoded = in_batches(model.reconstruct, x)
    if not spectra:
        return _images([x, decoded])
    given = "noisy" if name in NOISE else "instance"
    shown = {given: (x[0], TRUTH), "reconstruction": (decoded[0], VIRTUAL)}
    return _lines(shown, groups.axis)


def _lines(shown: dict[str, tuple[Any, str]], axis: Any) -> Figure:
    figure = new_figure(_WIDTH, 1.9)
    ax = figure.subplots()
    pixels = np.arange(len(next(iter(shown.values()))[0])) if axis is None else axis
    for number, (label, (values, colour)) in enumerate(shown.items()):
        ax.plot(pixels, values, color=colour, label=label, linewidth=1.6 - 0.3 * number)
    ax.margins(x=0.0)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(labelsize=7)
    figure.legend(loc="outside upper left", fontsize=7, ncols=3, frameon=False)
    return figure


def _images(rows: list[Any]) -> Figure:
    n = len(rows[0])
    figure = new_figure(_WIDTH, _WIDTH * len(rows) / n + 0.2, "compressed")
    titles = ("A", "B", "A under B") if len(rows) == 1 else ("instances", "", "")
    low, high = (float(f(np.asarray(rows[0]))) for f in (np.min, np.max))
    all_axes = figure.subplots(len(rows), n, squeeze=False)
    for axes, images in zip(all_axes, rows, strict=True):
        for ax, image in zip(axes, images, strict=True):
            flat = np.asarray(image).reshape(np.shape(image)[:2])
            ax.imshow(flat, cmap="gray", vmin=low, vmax=high)
            ax.set_axis_off()
    for ax, title in zip(all_axes[0], titles, strict=True):
        ax.set_title(title, fontsize=7)
    if len(rows) > 1:
        all_axes[1, 0].set_title("reconstructions", fontsize=7)
    return figure


def main() -> None:
    """Draw all presets, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="FILE", help="the tablets")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    made: dict[Any, GroupedData] = {}
    for name in given.only or sk.zoo.list():
        recipe = load_recipe(name).recipe
        try:
            if recipe.data is not None:
                key = inspect.getsource(recipe.data)
                if key not in made:
                    made[key] = recipe.data(SEED)[:8]
                groups = made[key]
            elif given.data is not None:
                loaded = sk.data.load(given.data)
                assert isinstance(loaded, GroupedData)
                groups = loaded
            else:
                raise InputError("its data are not shipped; give --data")
        except InputError as error:
            print(f"{name}: no picture, {error}")
            continue
        plain = dataclasses.replace(groups, render=None, state={}, nuisance={})
        file = given.out / f"{name}.png"
        picture(name, plain[:8]).savefig(file, dpi=110)
        print(file, flush=True)


if __name__ == "__main__":
    main()
