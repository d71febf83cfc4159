"""Agreement between replicates of one state, before and after redatuming."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from symae_keras._utils.arrays import in_batches
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation._halves import in_random_order
from symae_keras.evaluation.leakage import intraclass_correlation


@dataclasses.dataclass(frozen=True)
class Repeatability:
    """Shares of the variance that are due to the group, 1 where replicates are equal.

    Attributes:
        instances: For instances as measured.
        corrected: For virtual instances, each computed from a single instance.
        means: For the means of two halves of each group.
        virtual: For virtual instances, each computed from one half of a group.
    """

    instances: float
    corrected: float
    means: float
    virtual: float


def repeatability(model: Any, groups: GroupedData, seed: int = 0) -> Repeatability:
    """Compare the agreement of replicates before and after redatuming.

    All virtual instances have one common nuisance code, see `typical_nuisance`, so that
    they should differ only between groups. The measure is the intraclass correlation
    over all pixels: the variance between groups divided by the total variance. Bad
    pixels are replaced by the mean of their group. No ground truth is needed.

    A high value is necessary but not sufficient: virtual instances that have lost
    details of the state also agree. Compare it with `estimate_redatuming_error`.

    Args:
        model: A model with `encode` and `decode` for groups, such as `SymAE`.
        groups: At least two groups with two or more instances each; groups with one
            instance are left out.
        seed: Seed of the halves. Defaults to 0.

    Returns:
        A `Repeatability`.

    Raises:
        InputError: Fewer than two groups have two instances.

    Example:
    >>> from symae_keras.classical import GroupedPCA
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=100, n_instances=8, seed=0)
    >>> found = repeatability(GroupedPCA().fit(groups), groups)
    >>> found.instances < found.means
    True
    """
    groups = groups[groups.counts > 1]
    if len(groups) < 2:
        raise InputError(
            "Repeatability needs at least two groups of two instances; received "
            f"{len(groups)}."
        )
    rng = np.random.default_rng(seed)
    present = groups.present
    group = np.nonzero(present)[0]
    filled = fill_bad_pixels(groups)
    order = in_random_order(groups, rng)
    in_first = np.zeros_like(present)
    half = np.arange(present.shape[1]) < (groups.counts // 2)[:, None]
    np.put_along_axis(in_first, order, half, axis=1)
    nuisance = typical_nuisance(model, groups)[0]
    halves, means = [], []
    for chosen in (in_first, present & ~in_first):
        halves.append(virtual_from(model, groups.x, _mask(groups, chosen), nuisance))
        weights = chosen.reshape(chosen.shape + (1,) * (filled.ndim - 2))
        means.append((filled * weights).sum(axis=1) / weights.sum(axis=1))
    twice = np.tile(np.arange(len(groups)), 2)
    return Repeatability(
        instances=_agreement(filled[present], group),
        corrected=_agreement(virtual_of_each(model, groups, nuisance), group),
        means=_agreement(np.concatenate(means), twice),
        virtual=_agreement(np.concatenate(halves), twice),
    )


def typical_nuisance(model: Any, groups: GroupedData) -> tuple[Array, int, int]:
    """Return the nuisance code that is nearest to the mean code, and its position.

    Args:
        model: A model with `encode` for groups.
        groups: The groups.

    Returns:
        Array `(nuisance_dim,)`, and the indices of the group and of the instance.
    """
    _, codes = in_batches(model.encode, groups.x, groups.model_mask)
    places = np.argwhere(groups.present)
    flat = codes[groups.present].reshape(len(places), -1)
    scale = flat.std(axis=0)
    away = (flat - flat.mean(axis=0)) / np.where(scale > 0.0, scale, 1.0)
    group, place = places[np.argmin((away**2).sum(axis=1))].tolist()
    return codes[group, place], group, place


def virtual_of_each(model: Any, groups: GroupedData, nuisance: Array) -> Array:
    """Return virtual instances of present instances, each encoded separately.

    Args:
        model: A model with `encode` and `decode` for groups.
        groups: The groups.
        nuisance: Nuisance code of all virtual instances, `(nuisance_dim,)`.

    Returns:
        Array `(n_present, *instance_shape)`.
    """
    present, mask = groups.present, groups.model_mask
    alone = None if mask is None else mask[present][:, None]
    return virtual_from(model, groups.x[present][:, None], alone, nuisance)


def virtual_from(model: Any, x: Array, mask: Array | None, nuisance: Array) -> Array:
    """Return one virtual instance per group, with a common nuisance code.

    Args:
        model: A model with `encode` and `decode` for groups.
        x: Shape `(groups, instances, *instance_shape)`.
        mask: As for `encode`.
        nuisance: `(nuisance_dim,)`.

    Returns:
        Array `(groups, *instance_shape)`.
    """
    coherent, _ = in_batches(model.encode, x, mask)
    each = np.broadcast_to(nuisance, (len(x), 1, *nuisance.shape))
    return np.asarray(in_batches(model.decode, coherent, each)[:, 0])


def fill_bad_pixels(groups: GroupedData) -> Array:
    """Return `x` with bad pixels replaced by the mean of the group, or of all."""
    x = groups.x.astype("float64")
    if groups.masks < 2:
        return x
    good = np.broadcast_to(groups.good_pixels, x.shape)
    of_all = x.sum(axis=(0, 1), where=good) / good.sum(axis=(0, 1)).clip(1)
    count = good.sum(axis=1)
    mean = x.sum(axis=1, where=good) / count.clip(1)
    mean = np.where(count > 0, mean, of_all)
    return np.where(good, x, mean[:, None])


def _mask(groups: GroupedData, chosen: Array) -> Array:
    """Return the model mask for a selection of instances of each group."""
    if groups.masks < 2:
        return chosen
    rows = chosen.reshape(chosen.shape + (1,) * len(groups.instance_shape))
    return np.asarray(np.broadcast_to(groups.good_pixels, groups.x.shape) & rows)


def _agreement(rows: Array, group: Array) -> float:
    """Return the intraclass correlation, at least 0, and 0 for equal rows."""
    try:
        return max(intraclass_correlation(rows, group), 0.0)
    except InputError:
        return 0.0
