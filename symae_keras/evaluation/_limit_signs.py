"""Signs that nuisances are confounded with groups."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.evaluation.confounding import confounded_metadata, share_between

_SHUFFLES: Final = 199
_COMPONENTS: Final = 20
#: Minimum share of variance that is reported.
_MIN_ORDER: Final = 0.1
_MIN_COLUMN: Final = 0.2
_MIN_COMMON: Final = 0.1
#: Only nuisances with at least this share of the variance within groups are checked.
_MAIN: Final = 0.9


def signs_of_confounding(
    groups: GroupedData, scores: GroupedData, crossed: bool
) -> tuple[str, ...]:
    """Describe each sign in one sentence.

    Args:
        groups: The groups, with their metadata.
        scores: The same groups as components `(groups, instances, components)`, present
            instances first.
        crossed: Whether the groups have a crossed design.
    """
    rng = np.random.default_rng(0)
    found = [
        f"{name} differs between groups more than within them ({share:.0%} of its "
        "variance): its effect cannot be separated from the state."
        for name, share in confounded_metadata(groups).items()
    ]
    present, counts = scores.present, scores.counts
    x = np.where(present[..., None], scores.x, 0.0)
    means = x.sum(axis=1) / counts[:, None]
    deviations = np.where(present[..., None], x - means[:, None], 0.0)
    of_means = _main(means - means.mean(axis=0))
    found += _columns(groups, of_means, rng)
    if not crossed:
        found += _order(deviations, present, counts, rng)
    found += _common(means, deviations, counts)
    return tuple(found)


def _main(x: Array) -> Array:
    """Return the scores of the main components of centred rows."""
    vectors = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :_COMPONENTS]
    return np.asarray(x @ vectors)


def _beats_chance(value: float, least: float, shuffled: Callable[[], float]) -> bool:
    return value >= least and value > max(shuffled() for _ in range(_SHUFFLES))


def _columns(groups: GroupedData, means: Array, rng: np.random.Generator) -> list[str]:
    """Check metadata that are the same in all instances of each group."""
    found = []
    for name, values in groups.group_metadata.items():
        if values.ndim != 1 or values.dtype.kind not in "UOST":
            continue
        labels, label = np.unique(values.astype(str), return_inverse=True)
        if not 2 <= len(labels) <= len(values) // 2:
            continue
        share = share_between(means, label)
        chance = partial(_share_of_shuffled, means, label, rng)
        if _beats_chance(share, _MIN_COLUMN, chance):
            found.append(
                f"{name} is the same in all instances of each group and explains "
                f"{share:.0%} of the variance of group means: if it describes the "
                "measurement and not the state, its effect cannot be separated from "
                "the state."
            )
    return found


def _share_of_shuffled(means: Array, label: Array, rng: np.random.Generator) -> float:
    return share_between(means, rng.permutation(label))


def _order(
    deviations: Array, present: Array, counts: Array, rng: np.random.Generator
) -> list[str]:
    """Compare consecutive instances with the other instances of the group."""
    several = counts > 2
    if not several.any():
        return []
    chosen = deviations[several]
    flat = chosen.reshape(-1, chosen.shape[-1])
    main = _main(flat).reshape(*chosen.shape[:2], -1)
    there = present[several]
    # Half of the mean squared difference between two instances of one group.
    usual = (main**2).sum() / (counts[several] - 1).sum()

    def alike(x: Array) -> float:
        pairs = there[:, 1:] & there[:, :-1]
        steps = (np.diff(x, axis=1)[pairs] ** 2).sum() / pairs.sum()
        return float(1.0 - 0.5 * steps / usual)

    def shuffled() -> float:
        order = np.argsort(rng.random(there.shape) + ~there, axis=1)
        return alike(np.take_along_axis(main, order[..., None], axis=1))

    if not usual > 0.0 or not _beats_chance(alike(main), _MIN_ORDER, shuffled):
        return []
    return [
        "Consecutive instances of a group are more alike than other instances of the "
        f"group (by {alike(main):.0%} of the variance): nuisances seem to drift, and "
        "the part that a whole group shares cannot be separated from the state."
    ]


def _common(means: Array, deviations: Array, counts: Array) -> list[str]:
    """Check whether every main nuisance also differs between groups."""
    flat = deviations.reshape(-1, deviations.shape[-1])
    within = flat.T @ flat / (counts - 1).sum()
    values, vectors = np.linalg.eigh(within)
    values, vectors = values[::-1], vectors[:, ::-1]
    size = int(np.searchsorted(np.cumsum(values), _MAIN * values.sum())) + 1
    if size < 3 or len(means) < 10 * size:
        return []
    units = (means - means.mean(axis=0)) @ vectors[:, :size] / np.sqrt(values[:size])
    between = units.T @ units / (len(means) - 1) - np.eye(size) * np.mean(1.0 / counts)
    least = float(np.linalg.eigvalsh(between)[0])
    if least < _MIN_COMMON:
        return []
    return [
        f"All of the {size} strongest nuisances also differ between groups, by at "
        f"least {least:.0%} of their variance within groups: instances of a group seem "
        "to share a part of their nuisances, unless states vary in the same "
        "ways."
    ]
