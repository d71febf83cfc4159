"""Cross-validated probes of codes for metadata and true parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Final, Literal

import numpy as np

from symae_keras._utils.arrays import in_batches
from symae_keras._utils.text import did_you_mean, listed
from symae_keras._utils.validation import integer
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.leakage import (
    MIN_GROUPS,
    chance_score,
    check_enough_groups,
    fit_probe,
    is_label,
    probe_score,
)

#: With fewer rows, a network of 128 units predicts worse than ridge regression.
_ENOUGH_FOR_NETWORKS: Final = 200
#: Maximum number of instances for probes; more would hardly change the scores.
_MOST_ROWS: Final = 4000
#: Minimum mean number of rows per class for integers and text to be classes.
_ROWS_PER_CLASS: Final = 5
_MOST_CLASSES: Final = 50


@dataclasses.dataclass(frozen=True)
class ColumnScore:
    """Scores of probes that predict a column from the codes.

    Attributes:
        of: `"group"` if the column has one value per group, `"instance"` otherwise.
        score: `"R2"` for numbers, `"accuracy"` for classes.
        coherent: Score from the coherent code. For numeric columns of instances, the
            target is their mean over the group; for classes of instances there is no
            score.
        nuisance: Score from one nuisance code.
        chance: Score of a constant prediction, without codes.
    """

    of: Literal["group", "instance"]
    score: Literal["R2", "accuracy"]
    coherent: float | None
    nuisance: float
    chance: float
    groups: int


def probe_columns(
    model: Any,
    groups: GroupedData,
    names: Iterable[str] | None = None,
    linear: bool | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> dict[str, ColumnScore]:
    """Probe both codes for columns of metadata and true parameters.

    The groups are split into `n_folds` parts. Each part is predicted by probes that
    were trained on the others. The score compares all predictions with the true values.
    A column that describes the state should be predictable from the coherent code and
    not from the nuisance code. For a column that describes nuisances it is the other
    way round.

    Integers and text are classes if there are at least 5 rows per class on average.
    Otherwise, integers are numbers, and text cannot be probed. Missing values are left
    out.

    Args:
        model: A model with `encode` for groups, such as `SymAE`.
        groups: At least 20 groups with `state`, `nuisance`, `group_metadata` or
            `instance_metadata`. The groups should be new to the model.
        names: The columns. Defaults to `None`: all that can be probed.
        linear: Whether probes are linear or multilayer perceptrons, see
            `probe`. Defaults to `None`: linear with fewer than 200 rows.
        n_folds: Number of parts. Defaults to 5.
        seed: Seed of parts and probes. Defaults to 0.

    Returns:
        A `ColumnScore` for each column, by name.

    Raises:
        InputError: There are fewer than 20 groups with a value, no such column, or a
            column in `names` cannot be probed.

    Example:
    >>> from symae_keras.classical import MeanSwap
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=60, n_instances=6, seed=0)
    >>> model = MeanSwap().fit(groups)
    >>> found = probe_columns(model, groups, ["abundance"], linear=True)
    >>> found["abundance"].coherent > 0.8 > 0.2 > found["abundance"].nuisance
    True
    """
    integer("n_folds", n_folds, least=2)
    known, of_groups = _columns(groups)
    check_columns(groups, names or ())
    check_enough_groups(groups)
    probes = _Probes(model, groups, linear, n_folds, seed)
    found = {}
    for name in known if names is None else names:
        try:
            found[name] = probes.score(known[name], name in of_groups)
        except _NoProbe as error:
            if names is not None:
                raise InputError(f"{name} cannot be probed: {error}.") from None
    return found


def check_columns(groups: GroupedData, names: Iterable[str]) -> None:
    """Raise an `InputError` if groups lack one of these columns."""
    known, _ = _columns(groups)
    for name in names:
        if name not in known:
            there = did_you_mean(name, known, f"there are {listed(known) or 'none'}")
            raise InputError(f"The data have no column {name}; {there}.")


def _columns(groups: GroupedData) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return all columns, and those that describe groups."""
    of_groups = {**groups.group_metadata, **groups.state}
    return {**groups.instance_metadata, **groups.nuisance, **of_groups}, of_groups


class _NoProbe(Exception):
    """Reason why a column cannot be probed."""


class _Probes:
    """Codes of groups, and the folds of the cross-validation."""

    def __init__(
        self,
        model: Any,
        groups: GroupedData,
        linear: bool | None,
        n_folds: int,
        seed: int,
    ) -> None:
        self.groups, self.linear, self.seed = groups, linear, seed
        codes = in_batches(model.encode, groups.x, groups.model_mask)
        self.coherent, self.nuisance = codes[0].reshape(len(groups), -1), codes[1]
        # Groups with equal ids have the same state, so they are in the same fold.
        state = np.arange(len(groups))
        if groups.ids is not None:
            state = np.unique(groups.ids, return_inverse=True)[1].reshape(-1)
        n_states = int(state.max()) + 1
        order = np.random.default_rng(seed).permutation(n_states)
        self.fold = (order % min(n_folds, n_states))[state]

    def score(self, values: Array, of_group: bool) -> ColumnScore:
        """Score both codes for a column of groups, or of instances."""
        group, place = np.nonzero(self.groups.present)
        if of_group:
            per_group: Array | None = _target(values)
            per_instance = np.asarray(per_group)[group]
        else:
            per_instance = _target(values[group, place])
            numbers = not is_label(per_instance)
            per_group = self._means(values) if numbers else None
        coherent = None
        if per_group is not None:
            every = np.arange(len(per_group))
            coherent = self._predicted(self.coherent, per_group, every)
        codes = self.nuisance[group, place].reshape(len(group), -1)
        nuisance = self._predicted(codes, per_instance, group)
        known = _is_known(per_instance)
        return ColumnScore(
            of="group" if of_group else "instance",
            score="accuracy" if is_label(per_instance) else "R2",
            coherent=coherent,
            nuisance=nuisance,
            chance=chance_score(per_instance[known]),
            groups=len(np.unique(group[known])),
        )

    def _means(self, values: Array) -> Array:
        """Return the mean over the instances of each group, NaN if there is none."""
        present = self.groups.present
        values = values.astype("float64")
        there = present.reshape(present.shape + (1,) * (values.ndim - 2))
        there = there & np.isfinite(values)
        count = there.sum(axis=1)
        total = np.where(there, values, 0.0).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _predicted(self, codes: Array, target: Array, group: Array) -> float:
        """Score predictions of all rows by probes that were not trained on their group.

        Rows without a value are left out.
        """
        rows = np.flatnonzero(_is_known(target))
        if len(rows) > _MOST_ROWS:
            rows = np.random.default_rng(self.seed).permutation(rows)[:_MOST_ROWS]
        codes, target, group = codes[rows], target[rows], group[rows]
        n_groups = len(np.unique(group))
        if n_groups < MIN_GROUPS:
            raise _NoProbe(
                f"only {n_groups} groups have a value, and {MIN_GROUPS} are needed"
            )
        flat = target.reshape(len(target), -1)
        if (flat == flat[0]).all():
            raise _NoProbe("all values are the same")
        linear = self.linear
        if linear is None:
            linear = len(codes) < _ENOUGH_FOR_NETWORKS
        predicted, fold = np.empty_like(target), self.fold[group]
        for number in np.unique(fold):
            out = fold == number
            inside = target[~out]
            if is_label(target) and (inside == inside[0]).all():
                predicted[out] = inside[0]
                continue
            predict = fit_probe(codes[~out], inside, self.seed, linear)
            predicted[out] = predict(codes[out]).reshape(predicted[out].shape)
        return probe_score(target, predicted)


def _target(values: Array) -> Array:
    """Return classes, or float64 numbers with NaN for missing values."""
    if values.dtype.kind == "f":
        return np.where(np.isfinite(values), values.astype("float64"), np.nan)
    if values.ndim > 1 or values.dtype.kind not in "biuU":
        raise _NoProbe("its values are neither numbers nor names")
    known = values[_is_known(values)]
    n_classes = len(np.unique(known))
    if n_classes <= min(_MOST_CLASSES, len(known) / _ROWS_PER_CLASS):
        return values
    if values.dtype.kind in "iu":
        return values.astype("float64")
    raise _NoProbe(
        f"it has {n_classes} different names in {len(known)} rows, too many for classes"
    )


def _is_known(values: Array) -> Array:
    """Return where values are not missing, `(rows,)`."""
    flat = values.reshape(len(values), -1)
    if values.dtype.kind == "f":
        return np.asarray(np.isfinite(flat).all(axis=1))
    if values.dtype.kind == "U":
        return np.asarray((flat != "").all(axis=1))
    return np.ones(len(values), bool)
