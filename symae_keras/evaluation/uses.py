"""Applications of codes: anomaly detection, denoising, estimation of parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from symae_keras._utils.arrays import INSTANCES_AT_ONCE, in_batches, to_numpy
from symae_keras.classical import MeanSwap
from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.errors import InputError
from symae_keras.evaluation.leakage import MIN_GROUPS, probe_labels


class AnomalyDetector:
    """Anomaly detector by reconstruction error, calibrated on normal instances.

    The score of an instance is its mean squared reconstruction error. Its p-value is
    the share of normal instances with at least the same error,

        p = (1 + #{normal score >= score}) / (1 + n_normal),

    so that flagging `p <= 0.01` raises a false alarm for at most 1 % of the normal
    instances on average, for any distribution of the errors. This holds only if the
    normal instances are new to the model and have the same distribution as the
    instances that are scored.

    Args:
        reconstruct: Function from instances to their reconstructions, such as
            `model.reconstruct`; for groups it is called as `reconstruct(x, mask)`.
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
            raise InputError("There are no normal instances for the calibration.")

    def score(self, x: Array | GroupedData) -> Array:
        """Compute the mean squared reconstruction error per instance, over good pixels.

        Args:
            x: `(rows, *instance_shape)`, or `GroupedData`.

        Returns:
            `(rows,)`, or `(groups, instances)` with NaN where an instance is absent.
        """
        if not isinstance(x, GroupedData):
            x = np.asarray(x)
            restored = in_batches(self._reconstruct, x, rows=INSTANCES_AT_ONCE)
            errors = np.square(restored - x, dtype="float64").reshape(len(x), -1)
            return np.asarray(errors.mean(axis=1, dtype="float64"))
        restored = in_batches(self._reconstruct, x.x, x.model_mask)
        errors = np.square(restored - x.x, dtype="float64")
        good = np.broadcast_to(x.good_pixels, x.x.shape)
        axes = tuple(range(2, x.x.ndim))
        total = np.where(good, errors, 0.0).sum(axis=axes, dtype="float64")
        count = good.sum(axis=axes)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def p_values(self, x: Array | GroupedData) -> Array:
        """Compute the p-values of instances.

        Args:
            x: See `score`.

        Returns:
            Array of the shape of the scores, between `1 / (1 + n_normal)` and 1.
        """
        return self.p_values_of(self.score(x))

    def p_values_of(self, scores: Array) -> Array:
        """Compute p-values from scores.

        Args:
            scores: The result of `score`.
        """
        n = len(self.normal_scores_)
        at_least = n - np.searchsorted(self.normal_scores_, scores, side="left")
        return np.where(np.isfinite(scores), (1.0 + at_least) / (1.0 + n), np.nan)


class Detection(NamedTuple):
    """Quality of scores that separate anomalies from normal instances.

    Attributes:
        roc_auc: Probability that an anomaly has a higher score than a normal instance:
            1 is perfect, 0.5 is chance.
        average_precision: Precision averaged over recall, the area under the
            precision-recall curve: 1 is perfect, the share of anomalies is chance.
    """

    roc_auc: float
    average_precision: float


def detection(scores: Array, anomalous: Array) -> Detection:
    """Evaluate scores with known anomalies.

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


def snr_gain(clean: Any, noisy: Any, denoised: Any) -> float:
    """Compute the gain of the signal-to-noise ratio, in decibels.

    The signal is the same before and after, so that the gain is the ratio of the two
    errors, `10 log10(sum (noisy - clean)^2 / sum (denoised - clean)^2)`. A gain of 0 is
    no improvement, and 20 is a tenth of the error. A negative value means that the
    error has increased. For images, it is also the gain of the peak signal-to-noise
    ratio.

    Args:
        clean: Noiseless instances, an array of any shape.
        noisy: Input of the filter, of the same shape.
        denoised: Output of the filter, of the same shape.

    Returns:
        Decibels.

    Example:
    >>> clean = np.zeros(4)
    >>> round(snr_gain(clean, clean + 1.0, clean + 0.1), 3)
    20.0
    """
    clean, noisy, denoised = (
        np.asarray(each, "float64") for each in (clean, noisy, denoised)
    )
    if not clean.shape == noisy.shape == denoised.shape:
        raise InputError(
            "clean, noisy and denoised must have the same shape; received "
            f"{clean.shape}, {noisy.shape} and {denoised.shape}."
        )
    before, after = (np.sum((each - clean) ** 2) for each in (noisy, denoised))
    if not before > 0.0:
        raise InputError("noisy equals clean, so there is no noise to remove.")
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(before / after))


@dataclasses.dataclass(frozen=True)
class Downstream:
    """Scores of one estimator per label, for three kinds of input, on held-out groups.

    Numbers are scored by R^2 (1 is exact, 0 no better than the mean; the components of
    a label are averaged), classes by accuracy.

    Attributes:
        real: From one instance as measured.
        means: From the mean of the instances of a group.
        virtual: From the virtual instance of a group, see `virtual_under`.
    """

    real: dict[str, float]
    means: dict[str, float]
    virtual: dict[str, float]


def virtual_under(model: Any, groups: GroupedData, reference: GroupedData) -> Array:
    """Return one virtual instance per group under the nuisances of a reference group.

    According to the model, two such virtual instances differ only in their states. They
    are averaged over the instances of the reference.

    Args:
        model: A model with `redatum`, such as `SymAE`.
        groups: The groups that provide the states.
        reference: A single group that provides the nuisances.

    Returns:
        float32 array `(groups, *instance_shape)`.

    Raises:
        InputError: The reference is not a single group, or has another instance shape.

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
            "reference must be a single group with instances of shape "
            f"{groups.instance_shape}, such as groups[:1]; received {len(reference)} "
            f"groups with instances of shape {reference.instance_shape}."
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

    The same estimator is trained three times on one part of the groups and evaluated on
    the other part. Its input is single instances as measured, each with the label of
    its group; group means; or virtual instances. All virtual instances have the same
    nuisances, so the estimator need not learn to ignore nuisances. The groups should
    also be new to the model.

    Group means are the obvious method without a model, as nuisances average out. A
    model is useful for this task if virtual instances have better scores than group
    means.

    Args:
        model: A model with `redatum`, such as `SymAE`.
        groups: Groups to estimate from; absent instances and bad pixels are ignored.
        labels: Labels to estimate, by name: one row per group, numbers `(groups,)` or
            `(groups, components)`, or classes. `None` (default) uses `groups.state`,
            which simulated groups have.
        reference: A single group that provides the nuisances. `None` (default) uses the
            first group of the training part.
        train: Share of the groups for the training of the estimator. Defaults to 0.7.
        seed: Seed of the split and of the estimator.
        linear: Whether the estimator is linear (ridge or logistic regression) or a
            multilayer perceptron, see `probe`. Defaults to True.

    Returns:
        A `Downstream`, whose fields are dicts by label.

    Raises:
        InputError: There is no label, a label does not fit the groups, or there are too
            few groups.

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
            "There are no labels to estimate: these groups have no true state. Give "
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
            f"Estimation needs at least {MIN_GROUPS} groups for training and "
            f"evaluation; received {len(groups)}."
        )
    parts = dataclasses.replace(groups, group_metadata=labels).split(train, seed)
    lender = parts[0][:1] if reference is None else reference
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
            [averaged.encode(part.x, part.model_mask).coherent for part in parts], every
        ),
        virtual=score([virtual_under(model, part, lender) for part in parts], every),
    )
