"""Interactions of state and nuisance that nuisance codes contain.

A nuisance can act differently on each state: a gain changes bright stars most. Nuisance
codes that only subtract the mean of a group contain this interaction. There are two
measurements of its variance, and each can miss what the other detects.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.evaluation._limit_terms import (
    MOST_NUISANCES,
    Interactions,
    components,
)

_BLOCKS: Final = 20
#: Maximum number of instances from which directions of nuisances are computed.
_MOST_ROWS: Final = 2048
#: Number of states, and their minimum reliability and relative variance.
_MOST_STATES: Final = 8
_GROUPS_PER_STATE: Final = 8
_LEAST_RELIABILITY: Final = 0.3
_LEAST_STATE: Final = 1e-4


def from_neighbours(
    x: Array, present: Array, n_partners: int, rng: np.random.Generator
) -> Array:
    """Return the variance of interactions, `(groups,)`, from the nearest neighbours.

    With an interaction, instances of one group, decoded with a common coherent code and
    centred, are closer to each other than to those of other groups. Half the difference
    of squared nearest-neighbour distances estimates the variance. Noise hides it.

    Args:
        x: Decoded and scaled instances, `(groups, instances, pixels)`.
        present: Present instances, at least three per group.
        n_partners: Number of other groups to compare each group with.
        rng: Random generator for these.
    """
    counts = present.sum(axis=1)
    x = x - _means(x, present)[:, None]
    own = _squared_distances(x, x)
    own[:, np.arange(x.shape[1]), np.arange(x.shape[1])] = np.inf
    others = np.zeros_like(own[:, :, 0])
    order = rng.permutation(len(x))
    for step in range(1, n_partners + 1):
        partner = np.empty_like(order)
        partner[order] = np.roll(order, step)
        distances = _squared_distances(x, x[partner])
        # Omit one instance: an instance has one neighbour less in its group.
        chance = np.where(present[partner], rng.random(present.shape), -1.0)
        out = ~present[partner]
        out[np.arange(len(out)), chance.argmax(axis=1)] = True
        distances[np.broadcast_to(out[:, None], distances.shape)] = np.inf
        others += distances.min(axis=2) / n_partners
    own[np.broadcast_to(~present[:, None], own.shape)] = np.inf
    # Centring by the mean of a few instances reduces distances between groups.
    excess = others * (counts / (counts - 1.0))[:, None] - own.min(axis=2)
    return np.asarray(0.5 * np.sum(excess, axis=1, where=present) / counts)


def from_covariance(x: Array, chosen: Array, states: Array) -> Array:
    """Return the variance of interactions, `(blocks,)`, from the covariance in groups.

    With an interaction, the covariance within groups, decoded with a common coherent
    code, changes with the state, see `Interactions`. The average over many groups
    removes noise, but a change that is not linear in the state is not detected.

    The values are those of a jackknife over blocks of groups: their mean is the result.

    Args:
        x: Decoded and scaled instances, `(groups, instances, pixels)`.
        chosen: Instances for the covariance, at least two per group.
        states: States of the groups, from other instances, see `states_of_halves`.
    """
    counts = chosen.sum(axis=1)
    deviations = np.where(chosen[..., None], x - _means(x, chosen)[:, None], 0.0)
    rows = deviations[chosen]
    few = rows[:: max(1, len(rows) // _MOST_ROWS)].astype("float64")
    vectors = components(few, MOST_NUISANCES)
    deviations = deviations @ vectors
    each = np.einsum("gtl,gtm->glm", deviations, deviations)
    values, turn = np.linalg.eigh(each.sum(axis=0) / (counts - 1.0).sum())
    each = turn.T @ each @ turn / (counts - 1.0)[:, None, None] - np.diag(values)
    n_blocks = min(_BLOCKS, len(x))
    blocks = np.arange(len(x)) % n_blocks
    changes = np.stack(
        [
            np.einsum("gk,glm->klm", states[blocks == block], each[blocks == block])
            for block in range(n_blocks)
        ]
    )
    found = Interactions(values.clip(0.0), vectors @ turn, changes, np.bincount(blocks))
    whole = float(np.trace(found.effect()))
    parts = [float(np.trace(found.effect(block))) for block in range(n_blocks)]
    return n_blocks * whole - (n_blocks - 1.0) * np.array(parts)


def states_of_halves(first: Array, second: Array) -> Array:
    """Return uncorrelated states of unit variance, `(groups, states)`.

    The correlation with the second halves is the reliability of a state. Unreliable
    states are left out, and the others are scaled for what their noise takes away.

    Args:
        first: Coherent codes of the first halves of groups, which give the states.
        second: Coherent codes of the second halves.
    """
    first = (first - first.mean(axis=0)).astype("float64")
    second = (second - second.mean(axis=0)).astype("float64")
    values, vectors = np.linalg.eigh(first.T @ first / len(first))
    kept = values > _LEAST_STATE * values[-1]
    vectors = vectors[:, kept] / np.sqrt(values[kept])
    first, second = first @ vectors, second @ vectors
    reliability = (first * second).mean(axis=0)
    most = min(_MOST_STATES, len(first) // _GROUPS_PER_STATE)
    best = np.argsort(-reliability)[:most]
    best = best[reliability[best] > _LEAST_RELIABILITY]
    return np.asarray(first[:, best] / np.sqrt(reliability[best]))


def _means(x: Array, chosen: Array) -> Array:
    total = np.einsum("gt,gtp->gp", chosen, x)
    return np.asarray(total / chosen.sum(axis=1)[:, None])


def _squared_distances(a: Array, b: Array) -> Array:
    """Return distances between instances, `(groups, instances, instances)`."""
    products = np.einsum("gtp,gsp->gts", a, b, optimize=True)
    return np.asarray(
        (a**2).sum(-1)[..., None] + (b**2).sum(-1)[:, None] - 2 * products
    )
