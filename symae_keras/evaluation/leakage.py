"""Leakage: what codes encode that they should not."""

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
#: With fewer groups, the scores of probes are chance.
MIN_GROUPS = 20


@dataclasses.dataclass(frozen=True)
class Leakage:
    """Scores of probes on groups that they were not trained on.

    Labels are scored by accuracy, numbers by R^2 (1 is exact, 0 no better than the
    mean; parameters with several components are averaged). A disentangled model has
    scores at chance in the first two and high ones in the third.

    Attributes:
        state_from_nuisance: Score of each state parameter from one nuisance code.
        nuisance_from_coherent: Score of each nuisance parameter, averaged over the
            group, from the coherent code of the group.
        state_from_coherent: Score of each state parameter from the coherent code.
        chance: For each parameter, the score of a guess that sees no code: 0 for
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
    standardised codes: a linear probe would miss what a decoder can use. It stops early
    where a tenth of the rows are enough to tell when. A linear probe tells what lies
    open: ridge regression whose penalty is found by leaving one out, or logistic
    regression for labels.

    Args:
        codes: Train and test codes, `(rows, dim)` each.
        targets: Train and test targets, `(rows,)` labels (integers, booleans or text)
            or `(rows, ...)` numbers, each of which is a component.
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
    """Train a probe; arguments as those of `probe`, but of one part.

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
        # A probe that is still getting better after `max_iter` tells enough.
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
    """Probe both codes for what they should not know, on held-out states.

    The groups should be new to the model too. Their mean nuisance is what can leak
    through pooling, so that is what the coherent code is probed for.

    Args:
        model: Anything with `encode`, such as `SymAE`.
        groups: Groups with known `state`, and `nuisance` where there is one.
        train: Fraction of the states to train the probes on. Defaults to 0.7.
        seed: Seed of split and probes.

    Returns:
        A `Leakage`, whose fields are dicts by parameter.

    Raises:
        InputError: The groups carry no true parameters, are fewer than 20, so that
            scores would be chance, or hold a parameter that no probe can be trained on.
    """
    if not groups.state:
        raise InputError(
            "Leakage is measured against true parameters of the state, and these "
            "groups carry none; in Python, give `GroupedData` a `state`."
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
            # Of scikit-learn, on NaN or a class of one group.
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
    """State of each present instance."""
    return {k: np.repeat(v, groups.counts, axis=0) for k, v in groups.state.items()}


def _mean_nuisance(groups: GroupedData) -> Parameters:
    """Nuisance of each group, averaged over its present instances."""
    means = {}
    for name, values in groups.nuisance.items():
        shape = groups.present.shape + (1,) * (values.ndim - 2)
        weights = groups.present.reshape(shape)
        means[name] = (values * weights).sum(axis=1) / weights.sum(axis=1)
    return means


def mean_score(scores: dict[str, float]) -> float | None:
    """Return the mean over parameters, with scores below 0 as 0; `None` of none."""
    if not scores:
        return None
    return float(np.mean([max(score, 0.0) for score in scores.values()]))


def check_enough_groups(groups: GroupedData) -> None:
    """Refuse groups too few for probes."""
    if len(groups) < MIN_GROUPS:
        raise InputError(
            f"Leakage needs at least {MIN_GROUPS} groups, because scores of probes on "
            f"fewer are chance; received {len(groups)}."
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

    To tell whether a network has earned its keep, give the scores of the leading
    principal components of the same data beside it, as many as its code has numbers.
    Rows of one group, such as the exposures of a star, must be on one side:
    `GroupedData.split` sees to it.

    Args:
        codes: Train and held-out codes, `(rows, dim)` each.
        labels: Train and held-out labels by name, arrays with one row a code: numbers
            `(rows,)` or `(rows, components)`, or classes `(rows,)`.
        seed: Seed of the probes.
        linear: Whether the probes are linear; else they are multilayer perceptrons, see
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
    return intraclass_correlation(codes, np.nonzero(present)[0])


def intraclass_correlation(rows: Array, group: Array) -> float:
    """Return the share of the variance of rows that is due to their group.

    Args:
        rows: Shape `(rows, ...)`; all numbers are taken together.
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
    # For groups of one size, that size.
    size = (n_rows - np.sum(sizes**2) / n_rows) / (n_groups - 1)
    if not between + within > 0.0:
        raise InputError("The codes of all instances are equal, so nothing agrees.")
    return float((between - within) / (between + (size - 1.0) * within))


def nuisance_dependence(model: Any, groups: GroupedData, seed: int = 0) -> float:
    """Measure how strongly nuisance codes depend on the group.

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
    group = np.nonzero(present)[0]
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
