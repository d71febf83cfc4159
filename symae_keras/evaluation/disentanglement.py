"""Scores of disentanglement."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from symae_keras.data.groups import Array, Parameters
from symae_keras.errors import InputError
from symae_keras.evaluation.leakage import chance_score, is_label

_BINS = 20
#: With fewer rows, some cells of the histograms are empty by chance.
_MIN_ROWS = 200


@dataclasses.dataclass(frozen=True)
class Disentanglement:
    """Scores from 0 (none) to 1 (one component of the code per factor, and vice versa).

    Attributes:
        mig: Mutual information gap.
        sap: Separated attribute predictability.
        disentanglement: Of Eastwood and Williams: how exclusively each component of the
            code depends on a single factor.
        completeness: Of the same authors: how exclusively each factor depends on a
            single component.
        informativeness: Of the same authors: R^2, or accuracy for classes, of the
            factors predicted from the whole code on held-out rows.
    """

    mig: float
    sap: float
    disentanglement: float
    completeness: float
    informativeness: float


@dataclasses.dataclass(frozen=True)
class DisentanglementSpread:
    """Mean and spread of disentanglement scores over seeds.

    Attributes:
        mean: Mean of each score.
        spread: Sample standard deviation of each score over the seeds.
        scores: The scores of each seed.
    """

    mean: Disentanglement
    spread: Disentanglement
    scores: tuple[Disentanglement, ...]


def disentanglement(
    codes: Array, factors: Parameters, train: float = 0.7, seed: int = 0
) -> Disentanglement:
    """Score a code against the true factors of the data.

    The scores are defined as follows:

    - Mutual information gap: the two components of the code that have the most mutual
      information with a factor are compared. The gap is the difference of their mutual
      information, divided by the entropy of the factor. Codes and numeric factors are
      put into 20 bins of equal counts, so that it does not depend on units. The mutual
      information that independent columns have by chance is estimated from rows in
      random order and subtracted from both.
    - Separated attribute predictability: the same gap, for R^2 of a linear regression,
      or
      for the accuracy of a linear classifier above that of always predicting the most
      frequent class.
    - Disentanglement, completeness and informativeness: computed from the importances
      of
      a random forest for each factor. Disentanglement is one minus the entropy of a
      component's importances over the factors, weighted by importance. Completeness is
      one minus the entropy of a factor's importances over the components.
      Informativeness is the quality of the prediction itself.

    A code that equals the factors in another order or in other units has the score 1 in
    all of them. A rotation of the factors has much lower scores: it contains the same
    information, but no single component has a meaning. Training without labels does not
    make a disentangled code likely: without knowledge of groups there is no reason for
    it (Locatello et al.).

    `disentanglement_spread` measures how strongly the scores depend on the seed.

    Args:
        codes: `(rows, code_dim)`; at least two components.
        factors: True factors by name, as `GroupedData.state`: `(rows,)` or `(rows,
            components)`, where each component is a factor.
        train: Share of rows for the training of predictors. Defaults to 0.7.
        seed: Seed of the split, the forests and the random order.

    Returns:
        A `Disentanglement`.

    Raises:
        InputError: There are fewer than 200 rows, or fewer than two components.

    Reference:
        - [Chen et al., 2018](https://arxiv.org/abs/1802.04942): MIG
        - [Kumar et al., 2018](https://arxiv.org/abs/1711.00848): SAP
        - [Eastwood & Williams, 2018](https://openreview.net/forum?id=By-7dz-AZ): DCI
        - [Locatello et al., 2019](https://arxiv.org/abs/1811.12359)

    Example:
    >>> rng = np.random.default_rng(0)
    >>> factors = rng.uniform(size=(500, 2))
    >>> named = {"temperature": factors[:, 0], "velocity": factors[:, 1]}
    >>> scores = disentanglement(factors[:, ::-1] ** 3, named)
    >>> round(scores.mig, 1), round(scores.disentanglement, 1)
    (1.0, 1.0)
    """
    codes = np.asarray(codes, "float64")
    if codes.ndim != 2 or len(codes) < _MIN_ROWS or codes.shape[1] < 2:
        raise InputError(
            f"`codes` must be of shape (rows, numbers) with at least {_MIN_ROWS} rows "
            f"and two numbers per row; received shape {codes.shape}."
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(codes))
    fit, test = np.split(order, [round(train * len(order))])
    rows = [
        _Factor(codes, factor, fit, test, rng.permutation(len(codes)), seed)
        for factor in _label_columns(factors, len(codes)).values()
    ]
    importance = np.array([each.importance for each in rows])
    return Disentanglement(
        mig=float(np.mean([_gap(each.information) for each in rows])),
        sap=float(np.mean([_gap(each.predictability) for each in rows])),
        disentanglement=_concentration(importance),
        completeness=_concentration(importance.T),
        informativeness=float(np.mean([each.informativeness for each in rows])),
    )


def disentanglement_spread(
    codes: Array | Sequence[Array],
    factors: Parameters,
    train: float = 0.7,
    n_seeds: int = 5,
) -> DisentanglementSpread:
    """Score a code, or those of several trained models, over seeds.

    For one code, the spread is that of the split, the forests and the random order,
    that is, the uncertainty of the measure itself. Training adds much more, since
    another seed may lead to other axes. To include it, train a model for each seed and
    give all their codes of the same rows,

        disentanglement_spread([model.encode(x).coherent for model in models], factors)

    Args:
        codes: One code `(rows, code_dim)`, or a list or tuple of codes, one per trained
            model; they may differ in `code_dim`.
        factors: True factors by name, see `disentanglement`.
        train: Share of rows for the training of predictors. Defaults to 0.7.
        n_seeds: Number of seeds, 0, 1, ..., with which a single code is scored; at
            least two. Ignored for a list of codes, each of which has its own seed.
            Defaults to 5.

    Returns:
        A `DisentanglementSpread`.

    Raises:
        InputError: There are fewer than two scores, or a code does not fit.

    Reference:
        - [Locatello et al., 2019](https://arxiv.org/abs/1811.12359): seeds matter more
          than models

    Example:
    >>> rng = np.random.default_rng(0)
    >>> factors = rng.uniform(size=(200, 2))
    >>> named = {"temperature": factors[:, 0], "velocity": factors[:, 1]}
    >>> found = disentanglement_spread(factors, named, n_seeds=2)
    >>> found.mean.sap > 0.9, found.spread.sap < 0.05, len(found.scores)
    (True, True, 2)
    """
    several = isinstance(codes, (list, tuple))
    of_seeds = list(codes) if several else [codes] * n_seeds
    if len(of_seeds) < 2:
        raise InputError(
            "A spread needs at least two scores: two seeds, or the codes of two "
            f"trained models; received {len(of_seeds)}."
        )
    scores = tuple(
        disentanglement(np.asarray(each), factors, train, seed)
        for seed, each in enumerate(of_seeds)
    )
    table = np.array([dataclasses.astuple(each) for each in scores])
    return DisentanglementSpread(
        mean=Disentanglement(*table.mean(axis=0).tolist()),
        spread=Disentanglement(*table.std(axis=0, ddof=1).tolist()),
        scores=scores,
    )


def _label_columns(labels: Parameters, rows: int) -> dict[str, Array]:
    """Return each component of each label under its own name."""
    columns: dict[str, Array] = {}
    for name, values in labels.items():
        values = np.asarray(values)
        if values.ndim not in (1, 2) or len(values) != rows:
            raise InputError(
                f"labels[{name!r}] must have one row for each of the {rows} codes, and "
                f"one or two axes; received shape {values.shape}."
            )
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}[{i}]": each for i, each in enumerate(values.T)}
    return columns


class _Factor:
    """Three scores of each component of a code as predictor of one factor."""

    def __init__(
        self,
        codes: Array,
        factor: Array,
        fit: Array,
        test: Array,
        shuffled: Array,
        seed: int,
    ) -> None:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
        from sklearn.metrics import mutual_info_score

        classes = is_label(factor)
        binned = np.unique(factor, return_inverse=True)[1] if classes else _bins(factor)
        entropy = mutual_info_score(binned, binned)
        self.information = np.array(
            [
                _over_chance(
                    mutual_info_score(code, binned),
                    mutual_info_score(code, binned[shuffled]),
                    entropy,
                )
                for code in map(_bins, codes.T)
            ]
        )
        measure = _accuracy_over_chance if classes else _squared_correlation
        self.predictability = np.array(
            [measure(code, factor, fit, test) for code in codes.T]
        )
        forest: Any = RandomForestClassifier if classes else RandomForestRegressor
        # Each split may use all components, so that uninformative ones are not used.
        forest = forest(50, max_depth=10, max_features=1.0, random_state=seed)
        forest.fit(codes[fit], factor[fit])
        self.importance = forest.feature_importances_
        self.informativeness = float(forest.score(codes[test], factor[test]))


def _bins(values: Array) -> Array:
    """Return the indices of 20 bins of equal counts."""
    edges = np.quantile(values, np.linspace(0.0, 1.0, _BINS + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


def _squared_correlation(code: Array, factor: Array, fit: Array, test: Array) -> float:
    if np.ptp(code) == 0.0 or np.ptp(factor) == 0.0:
        return 0.0
    return float(np.corrcoef(code, factor)[0, 1] ** 2)


def _accuracy_over_chance(code: Array, factor: Array, fit: Array, test: Array) -> float:
    """Return a linear classifier's score: 0 for the commonest class, 1 for exact."""
    from sklearn.linear_model import LogisticRegression

    scale = np.std(code[fit]) or 1.0
    column = (code[:, None] - np.mean(code[fit])) / scale
    model = LogisticRegression(max_iter=1000).fit(column[fit], factor[fit])
    found = float(model.score(column[test], factor[test]))
    return _over_chance(found, chance_score(factor[test]), 1.0)


def _over_chance(found: float, chance: float, most: float) -> float:
    """Rescale a score to 0 for chance and 1 for a perfect score."""
    return max(found - chance, 0.0) / max(most - chance, 1e-12)


def _gap(values: Array) -> float:
    second, first = np.sort(values)[-2:]
    return float(first - second)


def _concentration(importance: Array) -> float:
    """Return one minus the entropy of each column's shares, weighted by its sum.

    With only one factor, a component cannot depend on several factors.
    """
    if len(importance) == 1:
        return 1.0
    total = importance.sum(axis=0)
    shares = importance / np.where(total > 0.0, total, 1.0)
    logs = np.log(np.where(shares > 0.0, shares, 1.0))
    entropy = -np.sum(shares * logs, axis=0) / np.log(len(importance))
    return float(np.sum((1.0 - entropy) * total) / max(total.sum(), 1e-12))


@dataclasses.dataclass(frozen=True, eq=False)
class MutualInformation:
    """Mutual information in nats, one value per component of a code.

    Attributes:
        nats: Estimates by label, `(code_dim,)` each.
        chance: For each label, the estimate for independent data: the mean over labels
            in random order, `(code_dim,)`.
        spread: The standard deviation of the same, `(code_dim,)`. An estimate is
            significant if it exceeds `chance` by several standard deviations.
    """

    nats: dict[str, Array]
    chance: dict[str, Array]
    spread: dict[str, Array]


def mutual_information(
    codes: Array,
    labels: Parameters,
    seed: int = 0,
    n_neighbors: int = 3,
    n_permutations: int = 10,
) -> MutualInformation:
    """Estimate the mutual information of each component of a code and each label.

    Unlike correlation, mutual information detects any dependence: it is 0 only for
    independent quantities. The estimators are scikit-learn's, based on distances to
    nearest neighbours: that of Kraskov, Stögbauer and Grassberger for numbers, and that
    of Ross for classes. Each component of the code is considered separately.
    Information that is only in two components together, such as the axes of a rotated
    plane, is not in the table.

    The estimates have the following limits:

    - For independent quantities, the mean is 0 and the scatter falls as `1 /
      sqrt(rows)`.
      scikit-learn sets negative estimates to 0, so that `chance` is slightly above 0.
      `chance` and `spread` give the values for the present rows.
    - For strong dependence, the estimate is too low. Neighbours must be closer than the
      width of the relation, which needs a number of rows that grows as `exp(nats)`.
      scikit-learn adds noise of relative size 1e-10, which limits the estimate for an
      exact relation. More neighbours reduce the scatter and increase this bias.
    - Rows must be independent. Of the exposures of one star, use one or their mean:
      otherwise the nearest neighbours belong to the same star in any code.

    The paper of Sedaghat et al. counts pairs in bins of a histogram. That estimate is
    biased upwards by about (number of occupied cells) / (2 rows).

    Args:
        codes: `(rows, code_dim)`.
        labels: Labels by name, arrays with one row per code: numbers `(rows,)` or
            `(rows, components)`, whose components get names such as `abundance[0]`, or
            classes `(rows,)`.
        seed: Seed of permutations and of the noise that scikit-learn adds.
        n_neighbors: Number of nearest neighbours. Defaults to 3.
        n_permutations: Number of random orders for the estimate of chance. Defaults to
            10.

    Returns:
        A `MutualInformation`.

    Raises:
        InputError: There are too few rows, or a label does not fit the codes.

    Reference:
        - [Kraskov, Stögbauer & Grassberger, Estimating mutual information,
          2004](https://arxiv.org/abs/cond-mat/0305641)
        - [Ross, Mutual information between discrete and continuous data sets,
          2014](https://doi.org/10.1371/journal.pone.0087357)
        - [Sedaghat et al., 2021](https://arxiv.org/abs/2009.12872), section 6

    Example:
    >>> rng = np.random.default_rng(0)
    >>> code = rng.normal(size=(1000, 2))
    >>> found = mutual_information(code, {"temperature": code[:, 0] ** 2})
    >>> (found.nats["temperature"] > 1.0).tolist()
    [True, False]
    """
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    codes = np.asarray(codes)
    if codes.ndim != 2 or len(codes) <= n_neighbors:
        raise InputError(
            f"codes must have two axes and more than {n_neighbors} rows; received "
            f"shape {codes.shape}."
        )

    options = {"n_neighbors": n_neighbors, "random_state": seed}

    def estimate(label: Array) -> Array:
        function = mutual_info_classif if is_label(label) else mutual_info_regression
        return np.asarray(function(codes, label, discrete_features=False, **options))

    found = MutualInformation({}, {}, {})
    for name, label in _label_columns(labels, len(codes)).items():
        rng = np.random.default_rng(seed)
        by_chance = np.array(
            [estimate(rng.permutation(label)) for _ in range(n_permutations)]
        )
        found.nats[name] = estimate(label)
        found.chance[name] = by_chance.mean(axis=0)
        found.spread[name] = by_chance.std(axis=0)
    return found
