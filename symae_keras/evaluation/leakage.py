"""Probes: what a code tells of the thing that it should not know."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.batching import in_batches

_ENOUGH_TO_STOP_EARLY = 2000
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
            or `(rows,)` or `(rows, components)` numbers.
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
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = targets
    labels = is_label(train)
    if not labels:
        mean, scale = train.mean(axis=0), train.std(axis=0)
        scale = np.where(scale > 0.0, scale, 1.0)
        train, test = (train - mean) / scale, (test - mean) / scale
    estimator = _linear(labels) if linear else _perceptron(labels, len(train), seed)
    model = make_pipeline(StandardScaler(), estimator)
    with warnings.catch_warnings():
        # A probe that is still getting better after `max_iter` tells enough.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(codes[0], train)
    return float(model.score(codes[1], test))


def _linear(labels: bool) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeCV

    if labels:
        return LogisticRegression(max_iter=1000)
    return RidgeCV(alphas=np.logspace(-3.0, 3.0, 13))


def _perceptron(labels: bool, rows: int, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    return (MLPClassifier if labels else MLPRegressor)(
        hidden_layer_sizes=(128,),
        early_stopping=rows >= _ENOUGH_TO_STOP_EARLY,
        n_iter_no_change=15,
        max_iter=500,
        random_state=seed,
    )


def is_label(target: Array) -> bool:
    """Whether a parameter is a class (integers, booleans, text), not a number."""
    return not np.issubdtype(target.dtype, np.floating)


class _Encoded:
    """Codes of some groups, row by row beside what they may tell."""

    def __init__(self, model: Any, groups: GroupedData) -> None:
        coherent, nuisance = in_batches(model.encode, groups.x, groups.model_mask)
        self.groups = groups
        self.coherent: Array = coherent
        self.nuisance: Array = nuisance[groups.present]

    def state(self, name: str) -> Array:
        """One target a group."""
        return self.groups.state[name]

    def state_of_each(self, name: str) -> Array:
        """One target a present instance."""
        return np.repeat(self.state(name), self.groups.present.sum(axis=1), axis=0)

    def mean_nuisance(self, name: str) -> Array:
        """One target a group, the mean over its present instances."""
        values, present = self.groups.nuisance[name], self.groups.present
        weights = present.reshape(present.shape + (1,) * (values.ndim - 2))
        return np.asarray((values * weights).sum(axis=1) / weights.sum(axis=1))


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
    fit, held_out = (_Encoded(model, part) for part in groups.split(train, seed))

    def score(code: str, target: str, name: str) -> float:
        codes = getattr(fit, code), getattr(held_out, code)
        targets = getattr(fit, target)(name), getattr(held_out, target)(name)
        try:
            return probe(codes, targets, seed)
        except ValueError as error:  # of scikit-learn, on NaN or a class of one group
            raise InputError(
                f"No probe can be trained on {name}: "
                f"{' '.join(str(error).split()).rstrip('.')}."
            ) from error

    result = Leakage({}, {}, {}, {})
    for name in groups.state:
        result.state_from_nuisance[name] = score("nuisance", "state_of_each", name)
        result.state_from_coherent[name] = score("coherent", "state", name)
        result.chance[name] = chance_score(held_out.state(name))
    for name in groups.nuisance:
        result.nuisance_from_coherent[name] = score("coherent", "mean_nuisance", name)
        result.chance[name] = 0.0
    return result


def check_enough_groups(groups: GroupedData) -> None:
    """Refuse groups too few for probes.

    Raises:
        InputError: There are fewer than 20.
    """
    if len(groups) < MIN_GROUPS:
        raise InputError(
            f"Leakage needs at least {MIN_GROUPS} groups, because scores of probes on "
            f"fewer are chance; received {len(groups)}."
        )


def chance_score(target: Array) -> float:
    """Score of a guess that sees no code: the commonest class, or the mean."""
    if not is_label(target):
        return 0.0
    return float(np.unique(target, return_counts=True)[1].max() / len(target))
