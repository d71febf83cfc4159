"""How the redatuming error falls with the number of instances."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from symae_keras.data.groups import GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.redatuming import redatuming_error


@dataclasses.dataclass(frozen=True)
class ErrorOverInstances:
    """Redatuming errors of groups of few and of many instances.

    Attributes:
        n_instances: Instances a group.
        errors: Redatuming error with so many.
        slope: Of the logarithm of the error over that of the number, by least squares:
            -1 for a law of 1 / T, 0 where more instances do not help, NaN where an
            error is 0.
    """

    n_instances: tuple[int, ...]
    errors: tuple[float, ...]
    slope: float


def error_over_instances(
    model: Any, groups: GroupedData, n_instances: Sequence[int] | None = None
) -> ErrorOverInstances:
    """Redatuming error of groups cut to their first instances.

    Both the state and the nuisance come from groups that are cut. What one instance
    leaves open of the state is averaged out by many: the error of an optimal estimator
    falls as 1 / T, down to a floor that the network and pixel noise set.

    Args:
        model: Anything with `redatum` and `reconstruct`, such as `SymAE`.
        groups: Simulated groups, which know their `virtual` instances.
        n_instances: Numbers of instances to cut groups to, two or more of them,
            increasing. `None` (default) takes powers of 2 up to the smallest group.

    Returns:
        An `ErrorOverInstances`.

    Raises:
        InputError: A group has fewer instances than that.

    Example:
    >>> from symae_keras.classical import MeanSwap
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=100, n_instances=8, seed=0)
    >>> found = error_over_instances(MeanSwap().fit(groups), groups)
    >>> found.n_instances, found.errors[0] > found.errors[-1], found.slope < 0.0
    ((1, 2, 4, 8), True, True)
    """
    present = groups.present
    smallest = int(present.sum(axis=1).min())
    if n_instances is None:
        n_instances = [2**k for k in range(smallest.bit_length())]
    counts = [int(each) for each in n_instances]
    increasing = all(a < b for a, b in zip(counts[:-1], counts[1:], strict=True))
    if len(counts) < 2 or counts[0] < 1 or not increasing or counts[-1] > smallest:
        raise InputError(
            "n_instances must be two or more increasing numbers, no larger than the "
            f"smallest group, which has {smallest}; received {counts}."
        )
    place = np.cumsum(present, axis=1)
    errors = []
    for count in counts:
        first = present & (place <= count)
        width = int(np.flatnonzero(first.any(axis=0))[-1]) + 1
        cut = groups.take_instances(slice(width))
        if groups.mask is not None:
            cut = dataclasses.replace(cut, mask=first[:, :width])
        errors.append(float(redatuming_error(model, cut)))
    slope = math.nan
    if min(errors) > 0.0:
        slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    return ErrorOverInstances(tuple(counts), tuple(errors), float(slope))
