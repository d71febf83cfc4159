"""What codes tell of labels that no training has seen."""

from __future__ import annotations

from symae_keras.data.groups import Array, Parameters
from symae_keras.errors import InputError
from symae_keras.evaluation.leakage import probe


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
