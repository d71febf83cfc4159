"""Anomalies: instances that a model of normal ones cannot reconstruct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.evaluation.batching import INSTANCES_AT_ONCE, in_batches


class AnomalyDetector:
    """Scores instances by reconstruction error, calibrated on normal ones.

    The score of an instance is its mean squared reconstruction error. Its p-value is
    the share of normal instances that are at least as badly reconstructed,

        p = (1 + #{normal score >= score}) / (1 + n_normal),

    so that flagging `p <= 0.01` raises a false alarm for at most one normal instance in
    a hundred on average, whatever the distribution of the errors. This holds only if
    the normal instances are new to the model and drawn as those that are judged.

    Args:
        reconstruct: From instances to their reconstructions, such as
            `model.reconstruct`; with groups it is called as `reconstruct(x, mask)`.
        normal: Normal instances that the model was not trained on,
            `(rows, *instance_shape)` or `GroupedData`.

    Attributes:
        normal_scores_: Sorted scores of the normal instances.

    Reference:
        - [Laxhammar & Falkman, Conformal prediction for distribution-independent
          anomaly detection in streaming vessel data,
          2010](https://doi.org/10.1145/1833280.1833287)

    Example:
    >>> rng = np.random.default_rng(0)
    >>> normal = rng.normal(size=(999, 64))
    >>> detector = AnomalyDetector(np.zeros_like, normal)
    >>> strange = 2.0 * rng.normal(size=(3, 64))
    >>> detector.p_values(strange).tolist()
    [0.001, 0.001, 0.001]
    """

    def __init__(
        self, reconstruct: Callable[..., Any], normal: Array | GroupedData
    ) -> None:
        self._reconstruct = reconstruct
        scores = self.score(normal)
        self.normal_scores_: Array = np.sort(scores[np.isfinite(scores)])
        if not len(self.normal_scores_):
            raise InputError("There is no normal instance to calibrate on.")

    def score(self, x: Array | GroupedData) -> Array:
        """Mean squared reconstruction error of each instance, over good pixels.

        Args:
            x: `(rows, *instance_shape)`, or `GroupedData`.

        Returns:
            `(rows,)`, or `(groups, instances)` with NaN where an instance is absent.
        """
        if not isinstance(x, GroupedData):
            x = np.asarray(x)
            restored = in_batches(self._reconstruct, x, rows=INSTANCES_AT_ONCE)
            errors = ((restored - x) ** 2).reshape(len(x), -1)
            return np.asarray(errors.mean(axis=1, dtype="float64"))
        errors = (in_batches(self._reconstruct, x.x, x.model_mask) - x.x) ** 2
        good = np.broadcast_to(x.good_pixels, x.x.shape)
        axes = tuple(range(2, x.x.ndim))
        total = np.where(good, errors, 0.0).sum(axis=axes, dtype="float64")
        count = good.sum(axis=axes)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def p_values(self, x: Array | GroupedData) -> Array:
        """How rare a score is among normal instances.

        Args:
            x: See `score`.

        Returns:
            Array of the shape of the scores, between `1 / (1 + n_normal)` and 1.
        """
        return self.p_values_of(self.score(x))

    def p_values_of(self, scores: Array) -> Array:
        """The same, of scores that are known already.

        Args:
            scores: What `score` returned.
        """
        n = len(self.normal_scores_)
        at_least = n - np.searchsorted(self.normal_scores_, scores, side="left")
        return np.where(np.isfinite(scores), (1.0 + at_least) / (1.0 + n), np.nan)


class Detection(NamedTuple):
    """How well scores tell anomalies from normal instances.

    Attributes:
        roc_auc: Probability that an anomaly has a higher score than a normal instance:
            1 is perfect, 0.5 chance.
        average_precision: Precision averaged over recall, the area under the curve of
            one over the other: 1 is perfect, the share of anomalies chance.
    """

    roc_auc: float
    average_precision: float


def detection(scores: Array, anomalous: Array) -> Detection:
    """Judge scores by known anomalies.

    Args:
        scores: `(rows,)`, higher is stranger.
        anomalous: `(rows,)` bools.

    Returns:
        A `Detection`, computed by scikit-learn.

    Example:
    >>> detection(np.array([0.1, 0.2, 0.9]), np.array([False, False, True]))
    Detection(roc_auc=1.0, average_precision=1.0)
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    return Detection(
        float(roc_auc_score(anomalous, scores)),
        float(average_precision_score(anomalous, scores)),
    )
