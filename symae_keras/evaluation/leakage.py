"""Leakage: unwanted information in codes."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from symae_keras._utils.arrays import in_batches
from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.errors import InputError

_ENOUGH_TO_STOP_EARLY = 2000
_MOST_EPOCHS = 500
#: With fewer groups, the scores of probes are at chance level.
MIN_GROUPS = 20


@dataclasses.dataclass(frozen=True)
class Leakage:
    """Scores of probes on groups that they were not trained on.

    Labels are scored by accuracy, numbers by R^2: 1 is exact, 0 is no better than
    predicting the mean. Parameters with several components are averaged. For a
    disentangled model, the first two scores are at chance level and the third is high.

    Attributes:
        state_from_nuisance: Score of each state parameter from one nuisance code.
        nuisance_from_coherent: Score of each nuisance parameter, averaged over the
            group, from the coherent code of the group.
        state_from_coherent: Score of each state parameter from the coherent code.
        chance: For each parameter, the score of a guess without codes: 0 for
            numbers, the share of the commonest class for labels.
    """

    state_from_nuisance: dict[str, float]
    nuisance_from_coherent: dict[str, float]
    state_from_coherent: dict[str, float]
    chance: dict[str, float]


def probe(
    codes: tuple[Array, Array],
    targets: tuple[Array, Array],
    seed: int = 0,
    linear: bool = False,
) -> float:
    """Train a probe on one part and score it on the other.

    The probe is scikit-learn's multilayer perceptron with 128 hidden units on
    standardised codes, because a linear probe would miss nonlinear dependences that a
    decoder can use. It stops early if a tenth of the rows is enough for validation. A
    linear probe only detects linear dependences: it is ridge regression, with a penalty
    from leave-one-out cross-validation, or logistic regression for labels.

    Args:
        codes: Training and test codes, `(rows, dim)` each.
        targets: Training and test targets: labels `(rows,)` (integers, booleans or
            text) or numbers `(rows, ...)`, each of which is a component.
        seed: Seed of the probe.
        linear: Whether the probe is linear. Defaults to False.

    Returns:
        Accuracy for labels, R^2 for numbers, on the test part.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> code = rng.normal(size=(400, 2))
    >>> probe((code[:300], code[300:]), (code[:300, 0], code[300:, 0])) > 0.9
    True
    """
    predict = fit_probe(codes[0], targets[0], seed, linear)
    return probe_score(targets[1], predict(codes[1]))


def fit_probe(
    codes: Array, target: Array, seed: int = 0, linear: bool = False
) -> Callable[[Array], Array]:
    """Train a probe. Arguments are as for `probe`, but for the training part only.

    Returns:
        Function of codes `(rows, dim)` that predicts targets.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = is_label(target)
    mean: Any = 0.0
    scale: Any = 1.0
    if not labels and target.ndim > 2:  # positions of several things, for instance
        components = target.shape[1:]
        flat = fit_probe(codes, target.reshape(len(target), -1), seed, linear)
        return lambda some: flat(some).reshape(-1, *components)
    train = target
    if not labels:
        mean, scale = target.mean(axis=0), target.std(axis=0)
        scale = np.where(scale > 0.0, scale, 1.0)
        train = (target - mean) / scale
    estimator: Any
    if linear:
        ridge = RidgeCV(alphas=np.logspace(-3.0, 3.0, 13))
        estimator = LogisticRegression(max_iter=1000) if labels else ridge
    else:
        estimator = (MLPClassifier if labels else MLPRegressor)(
            hidden_layer_sizes=(128,),
            early_stopping=len(train) >= _ENOUGH_TO_STOP_EARLY,
            n_iter_no_change=15,
            max_iter=_MOST_EPOCHS,
            random_state=seed,
        )
    model = make_pipeline(StandardScaler(), estimator)
    with warnings.catch_warnings():
        # A probe that still improves after `max_iter` is good enough.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(codes, train)
    if labels:
        return lambda some: np.asarray(model.predict(some))
    return lambda some: np.asarray(model.predict(some) * scale + mean)


def probe_score(truth: Array, predicted: Array) -> float:
    """Return the accuracy of labels, or R^2 of numbers, averaged over components."""
    from sklearn.metrics import accuracy_score, r2_score

    if is_label(truth):
        return float(accuracy_score(truth, predicted))
    rows = (len(truth), -1)
    return float(r2_score(truth.reshape(rows), predicted.reshape(rows)))


def is_label(target: Array) -> bool:
    """Return whether a parameter is a class: integers, booleans or text."""
    return not np.issubdtype(target.dtype, np.floating)


def leakage(
    model: Any, groups: GroupedData, train: float = 0.7, seed: int = 0
) -> Leakage:
    """Probe both codes for unwanted information, on held-out states.

    The groups should also be new to the model. The coherent code is probed for the mean
    nuisance of a group, because pooling over instances preserves it.

    Args:
        model: A model with `encode`, such as `SymAE`.
        groups: Groups with known `state`, and `nuisance` if there is one.
        train: Fraction of the states for the training of probes. Defaults to 0.7.
        seed: Seed of split and probes.

    Returns:
        A `Leakage`, whose fields are dicts by parameter.

    Raises:
        InputError: The groups have no true parameters, are fewer than 20, so that
            scores would be chance, or have a parameter that no probe can be trained on.
    """
    if not groups.state:
        raise InputError(
            "Leakage is measured with true parameters of the state, but these groups "
            "have none; in Python, set `state` of `GroupedData`."
        )
    check_enough_groups(groups)
    parts = groups.split(train, seed)
    codes = [in_batches(model.encode, part.x, part.model_mask) for part in parts]
    coherent = codes[0][0], codes[1][0]
    nuisance = codes[0][1][parts[0].present], codes[1][1][parts[1].present]

    def scores(
        codes: tuple[Array, Array], targets: Callable[[GroupedData], Parameters]
    ) -> dict[str, float]:
        fit, held_out = map(targets, parts)
        found = {}
        for name in fit:
            try:
                found[name] = probe(codes, (fit[name], held_out[name]), seed)
            # scikit-learn raises it for NaN or a class of one group.
            except ValueError as error:
                raise InputError(
                    f"No probe can be trained on {name}: "
                    f"{' '.join(str(error).split()).rstrip('.')}."
                ) from error
        return found

    chances = {name: chance_score(each) for name, each in parts[1].state.items()}
    return Leakage(
        state_from_nuisance=scores(nuisance, _state_of_each),
        nuisance_from_coherent=scores(coherent, _mean_nuisance),
        state_from_coherent=scores(coherent, lambda part: part.state),
        chance={**chances, **dict.fromkeys(groups.nuisance, 0.0)},
    )


def _state_of_each(groups: GroupedData) -> Parameters:
    """Return the state of each present instance."""
    return {k: np.repeat(v, groups.counts, axis=0) for k, v in groups.state.items()}


def _mean_nuisance(groups: GroupedData) -> Parameters:
    """Return the nuisance of each group, averaged over its present instances."""
    means = {}
    for name, values in groups.nuisance.items():
        shape = groups.present.shape + (1,) * (values.ndim - 2)
        weights = groups.present.reshape(shape)
        means[name] = (values * weights).sum(axis=1) / weights.sum(axis=1)
    return means


def mean_score(scores: dict[str, float]) -> float | None:
    """Return the mean over parameters, with scores below 0 as 0; `None` if empty."""
    if not scores:
        return None
    return float(np.mean([max(score, 0.0) for score in scores.values()]))


def check_enough_groups(groups: GroupedData) -> None:
    """Raise an error if there are too few groups for probes."""
    if len(groups) < MIN_GROUPS:
        raise InputError(
            f"Leakage needs at least {MIN_GROUPS} groups, because scores of probes on "
            f"fewer groups are at chance level; received {len(groups)}."
        )


def chance_score(target: Array) -> float:
    """Return the score of always predicting the commonest class, or the mean."""
    if not is_label(target):
        return 0.0
    return float(np.unique(target, return_counts=True)[1].max() / len(target))


def probe_labels(
    codes: tuple[Array, Array],
    labels: tuple[Parameters, Parameters],
    seed: int = 0,
    linear: bool = False,
) -> dict[str, float]:
    """Predict each label from codes, and score the predictions on held-out rows.

    As a baseline for a network, compute the scores of the leading principal components
    of the same data, as many as its code has components. Rows of one group, such as the
    exposures of a star, must be in the same part, as after `GroupedData.split`.

    Args:
        codes: Training and held-out codes, `(rows, dim)` each.
        labels: Training and held-out labels by name, arrays with one row per code:
            numbers `(rows,)` or `(rows, components)`, or classes `(rows,)`.
        seed: Seed of the probes.
        linear: Whether the probes are linear or multilayer perceptrons, see
            `probe`. Defaults to False.

    Returns:
        For each label, R^2 (the mean over components) or the accuracy of classes.

    Raises:
        InputError: The two parts do not have the same labels.

    Example:
    >>> import numpy as np
    >>> code = np.random.default_rng(0).normal(size=(400, 2))
    >>> train, held_out = code[:300], code[300:]
    >>> def labels(code):
    ...     return {"sum": code.sum(axis=1), "square": (code**2).sum(axis=1)}
    >>> both = labels(train), labels(held_out)
    >>> linear = probe_labels((train, held_out), both, linear=True)
    >>> mlp = probe_labels((train, held_out), both)
    >>> linear["sum"] > 0.9, linear["square"] > 0.9, mlp["square"] > 0.9
    (True, False, True)
    """
    train, held_out = labels
    if set(train) != set(held_out):
        raise InputError(
            "Both parts must have the same labels; received "
            f"{sorted(train)} and {sorted(held_out)}."
        )
    return {
        name: probe(codes, (train[name], held_out[name]), seed, linear)
        for name in train
    }


_MOST_PAIRED = 2000


def coherent_agreement(model: Any, groups: GroupedData) -> float:
    """Measure whether instances of one group have the same coherent code.

    Every instance is encoded as a separate group. The agreement is the intraclass
    correlation of these codes, over all their components,

        (B - W) / (B + (T - 1) W),

    where `B` is the mean square between groups and `W` is the mean square within
    groups. It is the share of the variance of the codes that is due to the group. It is
    1 if every instance determines the whole state, and 0 on average for codes that are
    independent of the group. If state and nuisance of a single instance cannot be
    separated, as in the entangled exposures, the agreement cannot be 1, and pooling
    over instances helps.

    Args:
        model: A model with `encode`, such as `SymAE`.
        groups: Two groups or more; absent instances do not count.

    Returns:
        The agreement, 1 at most.

    Raises:
        InputError: No group has two instances, there is only one group, or all codes
            are equal.

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
    return intraclass_correlation(codes, np.nonzero(present)[0])


def intraclass_correlation(rows: Array, group: Array) -> float:
    """Return the share of the variance of rows that is due to their group.

    Args:
        rows: Shape `(rows, ...)`; all components count equally.
        group: The group of each row, integers.

    Raises:
        InputError: There are fewer than two groups, none has two rows, or all rows are
            equal.
    """
    rows = rows.reshape(len(rows), -1).astype("float64")
    _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
    n_rows, n_groups = len(rows), len(sizes)
    if n_groups < 2 or n_rows == n_groups:
        raise InputError(
            "Agreement needs two groups, and a group of two instances; received "
            f"{n_groups} groups of {n_rows} instances in all."
        )
    sums = np.zeros((n_groups, rows.shape[1]))
    np.add.at(sums, group, rows)
    means = sums / sizes[:, None]
    within = np.sum((rows - means[group]) ** 2) / (n_rows - n_groups)
    spread = np.sum((means - rows.mean(axis=0)) ** 2, axis=1)
    between = np.sum(sizes * spread) / (n_groups - 1)
    # If all groups have the same size, this is that size.
    size = (n_rows - np.sum(sizes**2) / n_rows) / (n_groups - 1)
    if not between + within > 0.0:
        raise InputError("All codes are equal, so agreement is undefined.")
    return float((between - within) / (between + (size - 1.0) * within))


def nuisance_dependence(model: Any, groups: GroupedData, seed: int = 0) -> float:
    """Measure how strongly nuisance codes depend on the group.

    This is the mean squared energy distance between the codes of one group and the
    codes of all groups, divided by its largest possible value:

        1 - mean |n - n'| within groups / mean |n - n'| between groups,

    with Euclidean distances of codes, each component scaled to unit variance. If
    nuisances are drawn independently for each instance, a clean nuisance code has the
    value 0 up to random scatter. A code that is the same for all instances of a group,
    and so encodes only the state, has the value 1. Unlike a probe, this measure needs
    no labels, so that it is also suitable for measured data. Unlike a probe, it does
    not detect leakage in only one or two of many components.

    Args:
        model: A model with `encode`, such as `SymAE`.
        groups: Two groups or more; absent instances do not count.
        seed: Seed of the pairs between groups.

    Returns:
        The dependence, 1 at most.

    Raises:
        InputError: No group has two instances, there is only one group, or all codes
            are equal.

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
    group = np.nonzero(present)[0]
    scale = codes.std(axis=0)
    if not np.any(scale > 0.0):
        raise InputError(
            "The codes of all instances are equal, so dependence is undefined."
        )
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
