"""Measures of the mixing of codes of several batches, instruments or nights."""

from __future__ import annotations

import numpy as np

from symae_keras._utils.validation import positive, positive_or_none
from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.evaluation.leakage import is_label

#: Number of bisections in the search for the bandwidth.
_HALVINGS = 60
#: Limits of the logarithm of the bandwidth, in units of the mean distance.
_LIMIT = 25.0


def lisi(codes: Array, labels: Array, perplexity: int = 30) -> Array:
    """Compute the local inverse Simpson's index of each row (LISI).

    It is the effective number of labels among the neighbours of a row. The `3 *
    perplexity - 1` nearest neighbours, at distances `d`, have the weights

        p_j = exp(-d_j / h) / sum_k exp(-d_k / h),

    with the bandwidth `h` for which the exponential of their entropy is `perplexity`.
    If `P(b)` is the sum of the weights of neighbours with label `b`, then

        LISI = 1 / sum_b P(b)^2.

    It is 1 if all neighbours have the same label, and equals the number of labels if
    all are equally frequent. It depends on the scales of the components of the code.

    Args:
        codes: `(rows, code_dim)`, such as coherent codes of groups of one instance.
        labels: `(rows,)`, such as the instrument of each instance.
        perplexity: Effective number of neighbours. Defaults to 30.

    Returns:
        Array `(rows,)`.

    Raises:
        InputError: There are fewer than `3 * perplexity` rows, codes are not finite, or
            labels do not fit the codes.

    Reference:
        - [Korsunsky et al., Fast, sensitive and accurate integration of single-cell
          data with Harmony, 2019](https://doi.org/10.1038/s41592-019-0619-0)

    Example:
    >>> codes = np.random.default_rng(0).normal(size=(200, 2))
    >>> labels = np.arange(200) % 2
    >>> mixed, apart = lisi(codes, labels), lisi(codes + 9.0 * labels[:, None], labels)
    >>> bool(1.8 < np.median(mixed) < 2.0), round(float(np.median(apart)), 6)
    (True, 1.0)
    """
    from sklearn.neighbors import NearestNeighbors

    perplexity = positive("perplexity", perplexity)
    codes, labels = _checked(codes, labels)
    if len(codes) < 3 * perplexity:
        raise InputError(
            f"A perplexity of {perplexity} needs {3 * perplexity} rows or more; "
            f"received {len(codes)}. Give more rows or a smaller perplexity."
        )
    count = 3 * perplexity - 1
    # Called without arguments, `kneighbors` excludes the row itself, even if rows are
    # equal.
    distances, places = NearestNeighbors(n_neighbors=count).fit(codes).kneighbors()
    weights = _weights(distances, perplexity)
    names, numbers = np.unique(labels, return_inverse=True)
    neighbours = numbers.reshape(-1)[places]
    squares = np.zeros(len(codes))
    for number in range(len(names)):
        squares += np.sum(weights, axis=1, where=neighbours == number) ** 2
    return np.asarray(1.0 / squares)


def ilisi(codes: Array, batches: Array, perplexity: int = 30) -> float:
    """Score how well batches are mixed, by the median LISI (iLISI).

    With `B` batches, the score is `(median LISI - 1) / (B - 1)`: 0 if all neighbours of
    every row are of its own batch, 1 if all batches are equally frequent around it.
    Batches of different sizes cannot reach 1.

    Args:
        codes: `(rows, code_dim)`.
        batches: Batch of each row, `(rows,)`, two batches or more.
        perplexity: Effective number of neighbours. Defaults to 30.

    Returns:
        The score.

    Raises:
        InputError: There is only one batch, or an argument is invalid for `lisi`.

    Reference:
        - [Luecken et al., Benchmarking atlas-level data integration in single-cell
          genomics, 2022](https://doi.org/10.1038/s41592-021-01336-8)

    Example:
    >>> codes = np.random.default_rng(0).normal(size=(200, 2))
    >>> ilisi(codes, np.arange(200) % 2) > 0.8
    True
    """
    n_batches = _n_batches(batches)
    return float((np.median(lisi(codes, batches, perplexity)) - 1.0) / (n_batches - 1))


def principal_component_regression(
    codes: Array, batches: Array, n_components: int | None = None
) -> float:
    """Compute the share of the variance of codes that batches explain (PCR).

    The share of variance of each principal component is multiplied by the R^2 of its
    linear regression on the batch, and the products are summed. The score is 0 if all
    batches have the same mean, and 1 if the batch determines the code. It only detects
    differences of means; for other differences, see `ilisi`. For `n` rows in `B`
    batches that are independent of the code, it is `(B - 1) / (n - 1)` on average.

    Args:
        codes: `(rows, code_dim)`.
        batches: Batch of each row, `(rows,)`. Floating-point numbers are used as a
            regressor; any other values are classes, at least two.
        n_components: Leading components to use. Defaults to `None`, all of them.

    Returns:
        The share, from 0 to 1.

    Raises:
        InputError: Codes are constant or not finite, there is only one batch, or
            batches do not fit the codes.

    Reference:
        - [Buettner et al., A test metric for assessing single-cell RNA-seq batch
          correction, 2019](https://doi.org/10.1038/s41592-018-0254-1)

    Example:
    >>> codes = np.random.default_rng(0).normal(size=(200, 2))
    >>> batches = np.arange(200) % 2
    >>> shifted = codes + 3.0 * batches[:, None]
    >>> before, after = (
    ...     principal_component_regression(each, batches) for each in (shifted, codes)
    ... )
    >>> before > 0.5, after < 0.05
    (True, True)
    """
    n_components = positive_or_none("n_components", n_components)
    codes, batches = _checked(codes, batches)
    _n_batches(batches)
    centered = codes - codes.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    variances = np.square(sizes)[:n_components]
    if variances.sum() == 0.0:
        raise InputError("The codes of all rows are equal, so batches explain nothing.")
    # Scale columns to length 1; centre those that vary.
    components = left[:, : len(variances)]
    if is_label(batches):
        numbers = np.unique(batches, return_inverse=True)[1].reshape(-1)
        counts = np.bincount(numbers)
        sums = np.stack([np.bincount(numbers, each) for each in components.T])
        explained = np.sum(np.square(sums) / counts, axis=1)
    else:
        regressor = batches - batches.mean()
        explained = np.square(regressor @ components) / np.square(regressor).sum()
    return float(np.clip(np.sum(variances * explained) / variances.sum(), 0.0, 1.0))


def _checked(codes: Array, labels: Array) -> tuple[Array, Array]:
    codes, labels = np.asarray(codes, "float64"), np.asarray(labels)
    if codes.ndim != 2 or labels.shape != codes.shape[:1]:
        raise InputError(
            "Codes must be of shape (rows, numbers), with one label for each row; "
            f"received codes of shape {codes.shape} and labels of shape {labels.shape}."
        )
    if not np.isfinite(codes).all():
        raise InputError("Codes contain NaN or infinity; remove these rows.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError("Labels contain NaN or infinity; remove these rows.")
    return codes, labels


def _n_batches(batches: Array) -> int:
    found = len(np.unique(np.asarray(batches)))
    if found < 2:
        raise InputError(f"Mixing needs two batches or more; received {found}.")
    return found


def _weights(distances: Array, perplexity: int) -> Array:
    """Return weights of neighbours with the given perplexity, if a bandwidth exists."""
    # The weights depend only on differences of distances.
    away = distances - distances.min(axis=1, keepdims=True)
    mean = away.mean(axis=1, keepdims=True)
    away = away / np.where(mean > 0.0, mean, 1.0)
    target = np.log(perplexity)
    low = np.full((len(away), 1), -_LIMIT)
    high = np.full((len(away), 1), _LIMIT)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        weights = _softmax(-away * np.exp(middle))
        logs = np.log(np.where(weights > 0.0, weights, 1.0))
        entropy = -np.sum(weights * logs, axis=1, keepdims=True)
        # Entropy decreases with the inverse of the bandwidth.
        low = np.where(entropy > target, middle, low)
        high = np.where(entropy > target, high, middle)
    return _softmax(-away * np.exp(0.5 * (low + high)))


def _softmax(exponents: Array) -> Array:
    weights = np.exp(exponents)  # the largest exponent is 0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
