"""Downstream estimation: what real, averaged and virtual instances tell of labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.errors import InputError
from symae_keras.evaluation.batching import in_batches, to_numpy
from symae_keras.evaluation.label_probes import probe_labels
from symae_keras.evaluation.leakage import MIN_GROUPS


@dataclasses.dataclass(frozen=True)
class Downstream:
    """Scores of one estimator by label, from three kinds of input, on held-out groups.

    Numbers are scored by R^2 (1 is exact, 0 no better than the mean; the components of
    a label are averaged), classes by accuracy.

    Attributes:
        real: From one instance as it was measured.
        means: From the mean of the instances of a group.
        virtual: From the virtual instance of a group, see `virtual_under`.
    """

    real: dict[str, float]
    means: dict[str, float]
    virtual: dict[str, float]


def virtual_under(model: Any, groups: GroupedData, reference: GroupedData) -> Array:
    """Every group as it would look under the nuisances of one reference group.

    Whatever differs between two such virtual instances is a difference of states, as
    far as the model can tell. They are averaged over the instances of the reference.

    Args:
        model: Anything with `redatum`, such as `SymAE`.
        groups: The groups whose states are shown.
        reference: One group, whose instances lend their nuisances.

    Returns:
        float32 array `(groups, *instance_shape)`.

    Raises:
        InputError: The reference is not one group, or of instances of another shape.

    Example:
    >>> from symae_keras.classical import MeanSwap
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=20, n_instances=4, seed=0)
    >>> model = MeanSwap().fit(groups)
    >>> virtual_under(model, groups, reference=groups[:1]).shape
    (20, 256)
    """
    if len(reference) != 1 or reference.instance_shape != groups.instance_shape:
        raise InputError(
            "reference must be one group of instances of the shape "
            f"{groups.instance_shape}, such as groups[:1]; received {len(reference)} "
            f"groups of instances of the shape {reference.instance_shape}."
        )
    present = reference.present[0]

    def redatum(x: Array, mask: Array | None) -> Any:
        def repeat(array: Array | None) -> Array | None:
            return None if array is None else np.repeat(array, len(x), axis=0)

        virtual = model.redatum(
            coherent_from=x,
            nuisance_from=repeat(reference.x),
            coherent_mask=mask,
            nuisance_mask=repeat(reference.model_mask),
        )
        return to_numpy(virtual)[:, present].mean(axis=1)

    return np.asarray(in_batches(redatum, groups.x, groups.model_mask))


def downstream(
    model: Any,
    groups: GroupedData,
    labels: Parameters | None = None,
    reference: GroupedData | None = None,
    train: float = 0.7,
    seed: int = 0,
    linear: bool = True,
) -> Downstream:
    """Estimate labels of groups from real, averaged and virtual instances.

    The same estimator is trained three times on one part of the groups and judged on
    the other: on single instances as they were measured, each with the label of its
    group; on group means; and on virtual instances, all under the same nuisances, so
    that the estimator has none to learn. The groups should be new to the model too.

    Group means are what one would do without a model: they average nuisances down. A
    virtual instance is worth its model where it beats them.

    Args:
        model: Anything with `redatum`, such as `SymAE`.
        groups: Groups to estimate from; absent instances and bad pixels do not count.
        labels: What to estimate, by name: one row a group, numbers `(groups,)` or
            `(groups, components)`, or classes. `None` (default) takes `groups.state`,
            which simulated groups have.
        reference: One group whose nuisances are lent. `None` (default) takes the first
            of the training part.
        train: Share of the groups that the estimator is trained on. Defaults to 0.7.
        seed: Seed of the split and of the estimator.
        linear: Whether the estimator is linear, ridge or logistic regression; else it
            is a multilayer perceptron, see `probe`. Defaults to True.

    Returns:
        A `Downstream`, whose fields are dicts by label.

    Raises:
        InputError: There is no label, a label does not fit the groups, or there are too
            few groups to tell a score from chance.

    Example:
    >>> from symae_keras.classical import MeanSwap
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=60, n_instances=8, seed=0)
    >>> scores = downstream(MeanSwap().fit(groups), groups)
    >>> scores.real["abundance"] < scores.means["abundance"] < 1.0
    True
    """
    labels = groups.state if labels is None else labels
    if not labels:
        raise InputError(
            "There is nothing to estimate: these groups carry no true state. Give "
            "`labels`, such as groups.group_metadata."
        )
    labels = {name: np.asarray(values) for name, values in labels.items()}
    for name, values in labels.items():
        if values.shape[:1] != (len(groups),):
            raise InputError(
                f"labels[{name!r}] must have one row for each of the {len(groups)} "
                f"groups; received shape {values.shape}."
            )
    if len(groups) < MIN_GROUPS:
        raise InputError(
            f"Estimation needs {MIN_GROUPS} groups or more, to train on and to judge "
            f"by; received {len(groups)}."
        )
    parts = dataclasses.replace(groups, group_metadata=labels).split(train, seed)
    lender = parts[0][:1] if reference is None else reference
    # Here, because it loads Keras.
    from symae_keras.classical import MeanSwap

    averaged = MeanSwap().fit(parts[0])
    fill = averaged.fill_.reshape(groups.instance_shape)

    def score(inputs: list[Array], group: list[Array]) -> dict[str, float]:
        first, second = (x.reshape(len(x), -1) for x in inputs)
        known, asked = (
            {name: values[rows] for name, values in part.group_metadata.items()}
            for part, rows in zip(parts, group, strict=True)
        )
        return probe_labels((first, second), (known, asked), seed, linear)

    every = [np.arange(len(part)) for part in parts]
    return Downstream(
        real=score(
            [np.where(part.good_pixels, part.x, fill)[part.present] for part in parts],
            [np.nonzero(part.present)[0] for part in parts],
        ),
        means=score(
            [averaged.encode(part.x, part.model_mask).coherent for part in parts],
            every,
        ),
        virtual=score([virtual_under(model, part, lender) for part in parts], every),
    )
