"""Uses of codes: anomaly detection, denoising, estimation of parameters."""

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


def snr_gain(clean: Any, noisy: Any, denoised: Any) -> float:
    """Gain of the signal-to-noise ratio, in decibels.

    The signal is the same before and after, so that it is the ratio of the two errors,
    `10 log10(sum (noisy - clean)^2 / sum (denoised - clean)^2)`: 0 is no gain, 20 a
    tenth of the error, and less than 0 means harm. It also is the gain of the peak
    signal-to-noise ratio of images.

    Args:
        clean: Noiseless instances, an array of any shape.
        noisy: What was given to the filter, of the same shape.
        denoised: What it made of it, of the same shape.

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
            "clean, noisy and denoised must have one shape; received "
            f"{clean.shape}, {noisy.shape} and {denoised.shape}."
        )
    before, after = (np.sum((each - clean) ** 2) for each in (noisy, denoised))
    if not before > 0.0:
        raise InputError("noisy equals clean, so there is no noise to take off.")
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(before / after))


@dataclasses.dataclass(frozen=True)
class Downstream:
    """Scores of one estimator by label, from three kinds of input, on held-out groups.

    Numbers are scored by R^2 (1 is exact, 0 no better than the mean; the components of
    a label are averaged), classes by accuracy.

    Attributes:
        real: From one instance as it was measured.
        means: From the mean of the instances of a group.
        virtual: From the virtual instance of a group, see `virtual_under`.
    """

    real: dict[str, float]
    means: dict[str, float]
    virtual: dict[str, float]


def virtual_under(model: Any, groups: GroupedData, reference: GroupedData) -> Array:
    """Every group as it would look under the nuisances of one reference group.

    Whatever differs between two such virtual instances is a difference of states, as
    far as the model can tell. They are averaged over the instances of the reference.

    Args:
        model: Anything with `redatum`, such as `SymAE`.
        groups: The groups whose states are shown.
        reference: One group, whose instances lend their nuisances.

    Returns:
        float32 array `(groups, *instance_shape)`.

    Raises:
        InputError: The reference is not one group, or of instances of another shape.

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
            "reference must be one group of instances of the shape "
            f"{groups.instance_shape}, such as groups[:1]; received {len(reference)} "
            f"groups of instances of the shape {reference.instance_shape}."
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

    The same estimator is trained three times on one part of the groups and judged on
    the other: on single instances as they were measured, each with the label of its
    group; on group means; and on virtual instances, all under the same nuisances, so
    that the estimator has none to learn. The groups should be new to the model too.

    Group means are what one would do without a model: they average nuisances down. A
    virtual instance is worth its model where it beats them.

    Args:
        model: Anything with `redatum`, such as `SymAE`.
        groups: Groups to estimate from; absent instances and bad pixels do not count.
        labels: What to estimate, by name: one row a group, numbers `(groups,)` or
            `(groups, components)`, or classes. `None` (default) takes `groups.state`,
            which simulated groups have.
        reference: One group whose nuisances are lent. `None` (default) takes the first
            of the training part.
        train: Share of the groups that the estimator is trained on. Defaults to 0.7.
        seed: Seed of the split and of the estimator.
        linear: Whether the estimator is linear, ridge or logistic regression; else it
            is a multilayer perceptron, see `probe`. Defaults to True.

    Returns:
        A `Downstream`, whose fields are dicts by label.

    Raises:
        InputError: There is no label, a label does not fit the groups, or there are too
            few groups to tell a score from chance.

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
            "There is nothing to estimate: these groups carry no true state. Give "
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
            f"Estimation needs {MIN_GROUPS} groups or more, to train on and to judge "
            f"by; received {len(groups)}."
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
