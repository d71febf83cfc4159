"""Mutual information between the numbers of a code and labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from symae_keras.data.groups import Array, Parameters
from symae_keras.errors import InputError
from symae_keras.evaluation.columns import label_columns
from symae_keras.evaluation.leakage import is_label


@dataclasses.dataclass(frozen=True, eq=False)
class MutualInformation:
    """Mutual information in nats, one value for each number of a code.

    Attributes:
        nats: Estimates by label, `(code_dim,)` each.
        chance: For each label, what the estimator finds where there is nothing: the
            mean over labels in a random order, `(code_dim,)`.
        spread: The standard deviation of the same, `(code_dim,)`: an estimate is above
            chance where it exceeds `chance` by a few of them.
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
    """Estimate what each number of a code tells of each label.

    Unlike a correlation, mutual information misses no dependence: it is 0 only for
    independent quantities. The estimator is scikit-learn's, from distances to nearest
    neighbours: Kraskov, Stögbauer and Grassberger's for numbers, Ross's for classes.
    Each number of the code is taken by itself; what two tell only together, as the two
    halves of a rotated plane do, is in no value of this table.

    How far to trust an estimate, in four sentences. Of independent quantities it is 0
    on average, with a scatter that falls as `1 / sqrt(rows)`; scikit-learn sets what
    is negative to 0, so that `chance` lies a little above 0, and `chance` and `spread`
    tell how much for the rows at hand. Of strong dependence it is too low: neighbours
    must be closer than the width of the relation to see it, which takes a number of
    rows that grows as `exp(nats)`, and noise of relative size 1e-10 that scikit-learn
    adds bounds what an exact relation can show. More neighbours lower the scatter and
    raise this bias. Rows must be independent: of the exposures of one star take one, or
    a mean, since neighbours that are the same star would be found in any code.

    The paper of Sedaghat et al. counts pairs in bins of a histogram, which is biased
    upwards by about (number of occupied cells) / (2 rows).

    Args:
        codes: `(rows, code_dim)`.
        labels: Labels by name, arrays with one row a code: numbers `(rows,)` or
            `(rows, components)`, whose components get names as `abundance[0]`, or
            classes `(rows,)`.
        seed: Seed of permutations and of the noise that scikit-learn adds.
        n_neighbors: Neighbours that distances are taken to. Defaults to 3.
        n_permutations: Random orders that chance is estimated from. Defaults to 10.

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

    def estimate(label: Array) -> Array:
        function: Any = mutual_info_regression
        if is_label(label):
            function = mutual_info_classif
        return np.asarray(
            function(
                codes,
                label,
                discrete_features=False,
                n_neighbors=n_neighbors,
                random_state=seed,
            )
        )

    found = MutualInformation({}, {}, {})
    for name, label in label_columns(labels, len(codes)).items():
        rng = np.random.default_rng(seed)
        by_chance = np.array(
            [estimate(rng.permutation(label)) for _ in range(n_permutations)]
        )
        found.nats[name] = estimate(label)
        found.chance[name] = by_chance.mean(axis=0)
        found.spread[name] = by_chance.std(axis=0)
    return found
