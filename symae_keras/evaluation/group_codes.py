"""Whether codes hang on the group, as coherent ones must and nuisance ones must not."""

from __future__ import annotations

from typing import Any

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.batching import in_batches

_MOST_PAIRED = 2000


def coherent_agreement(model: Any, groups: GroupedData) -> float:
    """Whether each instance alone leads to the coherent code of its group.

    Every instance is encoded as a group of its own. The agreement is the intraclass
    correlation of these codes, all their numbers taken together,

        (B - W) / (B + (T - 1) W),

    with `B` the mean square between groups and `W` that within: the share of the
    variance of the codes that is due to the group. It is 1 where every instance tells
    all of the state, and 0 on average for codes that know nothing of the group. Where
    one instance cannot tell state from nuisance, as in the entangled exposures, it
    cannot be 1, and pooling is what helps.

    Args:
        model: Anything with `encode`, such as `SymAE`.
        groups: Two groups or more; absent instances do not count.

    Returns:
        The agreement, 1 at most.

    Raises:
        InputError: No group has two instances, there is but one group, or codes do not
            differ at all.

    Reference:
        - [Fisher, Statistical methods for research workers, 1925, chapter
          7](https://psychclassics.yorku.ca/Fisher/Methods/chap7.htm)

    Example:
    >>> from symae_keras.classical import MeanSwap
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=20, n_instances=4, seed=0)
    >>> 0.0 < coherent_agreement(MeanSwap().fit(groups), groups) < 1.0
    True
    """
    present = groups.present
    alone = groups.x[present][:, None]
    mask = groups.model_mask
    codes = in_batches(
        lambda x, mask: model.encode(x, mask)[0],
        alone,
        None if mask is None else mask[present][:, None],
    )
    return _intraclass_correlation(codes, np.nonzero(present)[0])


def _intraclass_correlation(codes: Array, group: Array) -> float:
    """Of codes `(rows, numbers)` whose groups are numbered; sizes may differ."""
    codes = codes.reshape(len(codes), -1).astype("float64")
    _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
    n_rows, n_groups = len(codes), len(sizes)
    if n_groups < 2 or n_rows == n_groups:
        raise InputError(
            "Agreement needs two groups, and a group of two instances; received "
            f"{n_groups} groups of {n_rows} instances in all."
        )
    sums = np.zeros((n_groups, codes.shape[1]))
    np.add.at(sums, group, codes)
    means = sums / sizes[:, None]
    within = np.sum((codes - means[group]) ** 2) / (n_rows - n_groups)
    spread = np.sum((means - codes.mean(axis=0)) ** 2, axis=1)
    between = np.sum(sizes * spread) / (n_groups - 1)
    # For groups of one size, that size.
    size = (n_rows - np.sum(sizes**2) / n_rows) / (n_groups - 1)
    if not between + within > 0.0:
        raise InputError("The codes of all instances are equal, so nothing agrees.")
    return float((between - within) / (between + (size - 1.0) * within))


def nuisance_dependence(model: Any, groups: GroupedData, seed: int = 0) -> float:
    """How far the nuisance codes of a group are from those of all groups.

    The mean squared energy distance between the codes of one group and the codes of
    all, over the largest that it can be:

        1 - mean |n - n'| within groups / mean |n - n'| between groups,

    with Euclidean distances of codes whose numbers have unit variance. Where nuisances
    are drawn for each instance by itself, a clean nuisance code has 0, give or take a
    little, and one that is the same for all instances of a group, as only a code of the
    state can be, has 1. Unlike a probe it needs no labels, so that it serves for
    measured data; unlike a probe it does not see what leaks in a number or two of a
    code of many.

    Args:
        model: Anything with `encode`, such as `SymAE`.
        groups: Two groups or more; absent instances do not count.
        seed: Seed of the pairs between groups.

    Returns:
        The dependence, 1 at most.

    Raises:
        InputError: No group has two instances, there is but one group, or codes do not
            differ at all.

    Reference:
        - [Rizzo & Székely, DISCO analysis,
          2010](https://arxiv.org/abs/1011.2288)

    Example:
    >>> from symae_keras.classical import MeanSwap
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=50, n_instances=8, seed=0)
    >>> abs(nuisance_dependence(MeanSwap().fit(groups), groups)) < 0.1
    True
    """
    present = groups.present
    nuisance = in_batches(
        lambda x, mask: model.encode(x, mask)[1], groups.x, groups.model_mask
    )
    codes = nuisance[present].reshape(int(present.sum()), -1).astype("float64")
    return _dependence(codes, np.nonzero(present)[0], seed)


def _dependence(codes: Array, group: Array, seed: int) -> float:
    scale = codes.std(axis=0)
    if not np.any(scale > 0.0):
        raise InputError("The codes of all instances are equal, so none are apart.")
    codes = (codes - codes.mean(axis=0)) / np.where(scale > 0.0, scale, 1.0)
    within = []
    for each in np.unique(group):
        own = codes[group == each]
        if len(own) > 1:
            distance = np.linalg.norm(own[:, None] - own, axis=-1)
            within.append(distance.sum() / (len(own) * (len(own) - 1)))
    rows = np.random.default_rng(seed).permutation(len(codes))[:_MOST_PAIRED]
    apart = group[rows][:, None] != group[rows]
    if not within or not apart.any():
        raise InputError(
            "Dependence needs two groups, and a group of two instances; received "
            f"{len(np.unique(group))} groups of {len(codes)} instances in all."
        )
    between = [
        np.linalg.norm(codes[rows[other]] - codes[row], axis=1)
        for row, other in zip(rows, apart, strict=True)
    ]
    return float(1.0 - np.mean(within) / np.mean(np.concatenate(between)))
