"""Data sets of `symae compare --sets`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from symae_keras._utils.text import check_names
from symae_keras.data import (
    bag_by_label,
    load,
    load_idx,
    simulate_exposures,
    simulate_shapes,
)
from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.data.simulators.replicates import simulate_replicates
from symae_keras.errors import InputError
from symae_keras.evaluation.contenders import Sizes
from symae_keras.training import Training

#: Training groups and test groups.
Parts = tuple[GroupedData, GroupedData]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
    """Data of a comparison, with settings that all models share.

    Attributes:
        title: Its name in tables.
        about: One or two sentences of description.
        load: Function of `quick` that returns training groups and test groups. If
            `quick` is true, there are fewer test groups. For a set with `file`, the
            first argument is the path.
        sizes: Code sizes of all models.
        training: Training settings of all models.
        file: Description of the file that the user provides, `None` for simulated data.
    """

    title: str
    about: str
    load: Callable[..., Parts]
    sizes: Sizes = Sizes()
    training: Training = Training()
    file: str | None = None


def _exposures(quick: bool, entangled: bool) -> Parts:
    return (
        simulate_exposures(2000, 16, seed=100, entangled=entangled),
        simulate_exposures(300 if quick else 1000, 16, seed=1, entangled=entangled),
    )


def _shapes(quick: bool) -> Parts:
    train = simulate_shapes(1000, 16, seed=100, size=16)
    return train, simulate_shapes(100 if quick else 500, 16, seed=1, size=16)


def _small(quick: bool) -> Parts:
    test = simulate_replicates(100 if quick else 500, 4, seed=1)
    return simulate_replicates(30, 4, seed=100), test


def _tablets(path: Path, quick: bool) -> Parts:
    loaded = load(path)
    groups = loaded if isinstance(loaded, GroupedData) else loaded.load()
    if groups.n_instances != 2 or len(groups.instance_shape) != 1:
        raise InputError(
            f"{path} must contain spectra of tablets on two instruments, "
            f"x (tablets, 2, pixels); received x of shape {groups.x.shape}."
        )
    if groups.masks or not np.isfinite(groups.x).all():
        raise InputError(f"{path} must contain complete spectra; values are missing.")
    split = groups.group_metadata.get("split")
    if split is None:
        train, test = groups.split(train=0.8, seed=0)
    else:
        train, test = (groups[np.asarray(split) == name] for name in ("train", "test"))
        if len(train) < 2 or len(test) < 2:
            raise InputError(
                f"{path}: split must be 'train' or 'test', at least two tablets each."
            )
    return _measured(train.x), _measured(test.x)


def _measured(x: Array) -> GroupedData:
    """Return groups whose virtual instances were measured: the spectra are the state.

    The best-fitting quadratic is subtracted from each spectrum. It depends on the
    random position of the tablet, so that no swap can predict it.
    """
    powers = np.vander(np.linspace(-1.0, 1.0, x.shape[-1]), 3)
    basis = np.linalg.qr(powers)[0]
    x = (x - (x @ basis) @ basis.T).astype("float32")
    return GroupedData(
        x,
        state={"spectra": x.reshape(len(x), -1)},
        nuisance={"instrument": np.tile(np.arange(x.shape[1]), (len(x), 1))},
        render=partial(_as_measured, x.shape[1]),
    )


def _as_measured(instruments: int, state: Parameters, nuisance: Parameters) -> Array:
    spectra = state["spectra"]
    spectra = spectra.reshape(len(spectra), instruments, -1)
    return np.asarray(spectra[np.arange(len(spectra)), nuisance["instrument"]])


def _bags(path: Path, quick: bool) -> Parts:
    train = bag_by_label(*load_idx(path, "train"), bag_size=200, seed=0)
    test = bag_by_label(*load_idx(path, "test"), bag_size=20, seed=1)
    return train, test[:100] if quick else test


#: Sets by name; simulated sets first. To add a set, add an entry.
SETS: Final[dict[str, DataSet]] = {
    "exposures": DataSet(
        title="Exposures, entangled",
        about="Simulated stellar spectra of 256 pixels. One exposure does not identify "
        "its nuisance; the exposures of a star together do.",
        load=partial(_exposures, entangled=True),
    ),
    "identifiable": DataSet(
        title="Exposures, identifiable",
        about="The same, without the star's own continuum slope, so that each exposure "
        "identifies its nuisance.",
        load=partial(_exposures, entangled=False),
    ),
    "shapes": DataSet(
        title="Shapes",
        about="Simulated images of glyphs, 16 x 16 pixels, shifted, turned and lit at "
        "random.",
        load=_shapes,
    ),
    "small": DataSet(
        title="Small: 30 samples x 4 replicates",
        about="Simulated laboratory spectra of 200 pixels with three bands, and random "
        "shift, scatter, baseline and noise in each replicate.",
        load=_small,
    ),
    "tablets": DataSet(
        title="Tablets",
        about="Measured near-infrared spectra of tablets on two instruments, with the "
        "best-fitting quadratic subtracted. A swap is compared with the measured "
        "spectrum, one of the two from which the coherent code is pooled.",
        load=_tablets,
        sizes=Sizes(coherent_dim=16, nuisance_dim=2),
        training=Training(epochs=100, instances=2, learning_rate=1e-3),
        file="the spectra of tablets on two instruments, such as tablets_nir.npz",
    ),
    "bags": DataSet(
        title="Bags of images",
        about="Images of one class form a group; the class is the state. There is no "
        "ground truth of virtual images, so models are ranked by the estimated error.",
        load=_bags,
        sizes=Sizes(coherent_dim=8, nuisance_dim=3),
        training=Training(instances=20, min_updates=2500),
        file="a folder with the four idx files of MNIST or a set of its format",
    ),
}


def check_sets(names: Sequence[str]) -> None:
    """Raise an error for names of sets that are unknown or repeated."""
    check_names("set", names, SETS)
