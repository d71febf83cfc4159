"""`symae_keras.adapt`: transfer of spectra from a new to a known instrument."""

from __future__ import annotations

import operator
from typing import Any, Final

import numpy as np

from symae_keras._utils.arrays import swaps_codes
from symae_keras.adaptation._baseline import parts
from symae_keras.adaptation._candidates import Affine, Pairs, Part, candidates
from symae_keras.adaptation._stacking import (
    OF_BASELINES,
    REFERENCE,
    Errors,
    Products,
    residuals_left_out,
    stack_left_out,
)
from symae_keras.adaptation.result import Adaptation
from symae_keras.classical._base import check_finite
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

#: Minimum number of pairs for a weighted mean of methods.
_LEAST_PAIRS: Final = 5
#: The name of the weighted mean of candidates.
STACK: Final = "Stack"


def adapt(
    model: Any, pairs: GroupedData, source: int = 1, target: int = 0
) -> Adaptation:
    """Learn to transfer spectra from a new instrument to a known instrument.

    The pairs are groups that both instruments have measured. The error of each
    candidate is measured by cross-validation over the pairs: leave-one-out for up to 12
    pairs, otherwise 10 folds. The candidates are the paired methods of
    `symae_keras.classical`; a ridge regression of the residuals of `SlopeBias`; and,
    with a model,

    - `ModelOptimalEstimation`: `OptimalEstimation` that is also fitted to spectra
      decoded by the model;
    - `VirtualSpectra`: codes of the source, corrected by ridge regression and decoded
      with the mean nuisance code of the target; `VirtualSpectraAndRidge` adds a ridge
      regression of their residuals.

    The result is a weighted mean of the candidates. The weights are not negative, add
    up to one, and minimise the error of the mean on the held-out pairs (stacked
    regressions, Breiman 1996, doi 10.1007/BF00117832). The baseline of spectra, the
    best quadratic in the pixel index, has separate weights. With few pairs, a penalty
    keeps the result close to the mean shift or, if there are at least 30 spectra of the
    target, to `OptimalEstimation`, which uses all of these spectra. With 1 to 4 pairs,
    the result is the mean shift. Without pairs, it is a shift by the difference of the
    means of both instruments, which assumes that both have measured similar samples.

    The weights of the model do not change. A score is the mean of the error and the
    baseline-free error, each relative to that of the mean shift. The baseline-free
    error is included because most uses of spectra depend on small features.

    Groups that only one instrument has measured are useful, too: `OptimalEstimation`
    uses all spectra of the target to estimate their distribution.

    Args:
        model: A trained model of groups, such as `SymAE`, whose instances have the same
            axis (see `symae_keras.data.resample`), or `None`.
        pairs: Groups in which the index of an instance is that of its instrument, with
            masks for instruments that did not measure a group.
        source: Index of the new instrument. Defaults to 1.
        target: Index of the known instrument. Defaults to 0.

    Returns:
        An `Adaptation`: `transfer(x)` transfers spectra from the source to the target.
        `weights` are the weights of the candidates. `scores` and `standard_errors` are
        those of all candidates and of their weighted mean.

    Raises:
        InputError: The instrument does not exist, there is no spectrum of the source or
            no information on the target, a good pixel is not finite, or the model has a
            wrong type or shape.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> target = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 32))
    >>> source = 0.8 * target + 1.0 + 0.01 * rng.normal(size=target.shape)
    >>> groups = GroupedData(np.stack([target, source], axis=1))
    >>> transfer = adapt(None, groups[:15])
    >>> virtual = transfer.transfer(groups.x[15:, 1])
    >>> virtual.shape, bool(np.abs(virtual - target[15:]).max() < 0.1)
    ((45, 32), True)
    """
    source, target = operator.index(source), operator.index(target)
    _check(model, pairs, source, target)
    found = _Spectra(pairs, source, target)
    shape = found.shape
    if len(found.pairs.source) < _LEAST_PAIRS:
        name, shift = _mean_shift(found, model)
        only = {name: 1.0}
        return _result(found, name, only, only, [Part("all", shift, shape)], {})
    fits = candidates(model, found.pairs, shape)
    residuals = residuals_left_out(fits, found.pairs, found.good)
    split = {name: parts(each, shape) for name, each in residuals.items()}
    rest = {name: each[1] for name, each in split.items()}
    n_targets = len(found.targets)
    products = Products.of(rest, n_targets)
    weights = products.weights()
    left_out = stack_left_out(rest, products)
    baselines = {k: each[0] for k, each in split.items() if k in OF_BASELINES}
    of_baselines = weights
    if any(each.any() for each in baselines.values()):
        products = Products.of(baselines, n_targets)
        of_baselines = products.weights()
        left_out = left_out + stack_left_out(baselines, products)
    residuals = {**residuals, STACK: left_out}
    maps = {name: fits[name](found.pairs) for name in {*weights, *of_baselines}}
    if weights == of_baselines:
        terms = [Part("all", maps[name], shape, weights[name]) for name in weights]
    else:
        terms = [Part("rest", maps[name], shape, weights[name]) for name in weights]
        terms += [
            Part("baseline", maps[name], shape, weight)
            for name, weight in of_baselines.items()
        ]
    return _result(found, STACK, weights, of_baselines, terms, residuals)


class _Spectra:
    """Flattened spectra of both instruments with filled bad pixels."""

    def __init__(self, groups: GroupedData, source: int, target: int) -> None:
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)
        check_finite(np.where(good, groups.x, 0.0)[:, [source, target]])
        present = groups.present
        self.shape = groups.instance_shape
        both = present[:, source] & present[:, target]
        x = {}
        seen = {}
        for place in (source, target):
            x[place] = groups.x[:, place].reshape(len(groups), -1).astype("float64")
            seen[place] = good[:, place].reshape(len(groups), -1)
        means = {}
        for place, other in ((source, target), (target, source)):
            counted, n = x[place], seen[place].sum(axis=0)
            total = np.where(seen[place], counted, 0.0).sum(axis=0)
            elsewhere = np.where(seen[other], x[other], 0.0).sum(axis=0)
            elsewhere = elsewhere / np.maximum(seen[other].sum(axis=0), 1)
            # A pixel that this instrument never observes is constant.
            means[place] = np.where(n > 0, total / np.maximum(n, 1), elsewhere)
        self.fill = means[source]
        self.observed = seen[target].any(axis=0)
        filled = {p: np.where(seen[p], x[p], means[p]) for p in (source, target)}
        alone = present[:, target] & ~present[:, source]
        self.pairs = Pairs(
            filled[source][both], filled[target][both], filled[target][alone]
        )
        self.good = seen[target][both]
        self.sources = filled[source][present[:, source]]
        self.targets = filled[target][present[:, target]]


def _check(model: Any, pairs: GroupedData, source: int, target: int) -> None:
    if min(source, target) < 0 or source == target:
        raise InputError(
            "source and target must be the indices of two different instruments, 0 or "
            f"above; received {source} and {target}."
        )
    for name, place in (("source", source), ("target", target)):
        if place >= pairs.n_instances:
            raise InputError(
                f"{name} must be one of the {pairs.n_instances} instruments (instances "
                f"of each group), counted from 0; received {place}."
            )
    if not pairs.present[:, source].any():
        raise InputError(
            f"No group was measured on the source instrument {source}; give at least "
            "one of its spectra."
        )
    if model is None:
        return
    if not swaps_codes(model):
        raise InputError(
            f"The model is a {type(model).__name__}, which does not encode groups; "
            "give a model of groups, such as SymAE, or None."
        )
    if tuple(model.instance_shape) != pairs.instance_shape:
        raise InputError(
            f"The model expects instances of shape {tuple(model.instance_shape)}, but "
            f"the pairs have {pairs.instance_shape}; resample them to its axis with "
            "symae_keras.data.resample."
        )


def _mean_shift(found: _Spectra, model: Any) -> tuple[str, Affine]:
    """Return the shift by the mean difference, with or without pairs."""
    pairs = found.pairs
    if len(pairs.source):
        name, shift = REFERENCE, (pairs.target - pairs.source).mean(axis=0)
    else:
        name = "MeanShift of unpaired spectra"
        targets = found.targets
        if len(targets):
            mean = targets.mean(axis=0)
        else:
            mean = _mean_of(model)
        shift = mean - found.sources.mean(axis=0)
    return name, Affine(np.ones(len(shift)), shift)


def _mean_of(model: Any) -> Array:
    """Return the mean spectrum of the training data of a model, `(pixels,)`."""
    from keras import ops

    if model is None or model.normalization is None:
        raise InputError(
            "There are no pairs and no spectra of the target instrument; add groups "
            "that it has measured, or use a model with a normalization."
        )
    mean = ops.convert_to_numpy(model.normalization.mean).astype("float64")
    return np.broadcast_to(mean, (1, *model.instance_shape)).reshape(-1)


def _result(
    found: _Spectra,
    method: str,
    weights: dict[str, float],
    of_baselines: dict[str, float],
    terms: list[Part],
    residuals: dict[str, Array],
) -> Adaptation:
    scores, spread, raw, free = {}, {}, {}, {}
    if residuals:
        measured = {n: Errors.of(each, found.shape) for n, each in residuals.items()}
        of_target = found.pairs.target - found.pairs.target.mean(axis=0)
        variance = Errors.of(np.where(found.good, of_target, 0.0), found.shape)
        for name, each in measured.items():
            own = each.scores(measured[REFERENCE])
            scores[name] = float(own.mean())
            spread[name] = float(own.std(ddof=1) / np.sqrt(len(own)))
            raw[name] = _ratio(each.raw, variance.raw)
            free[name] = _ratio(each.free, variance.free)
    return Adaptation(
        method=method,
        weights=weights,
        baseline_weights=of_baselines,
        scores=scores,
        standard_errors=spread,
        errors=raw,
        baseline_free_errors=free,
        n_pairs=len(found.pairs.source),
        instance_shape=found.shape,
        good_pixels=found.observed.reshape(found.shape),
        _fill=found.fill,
        _terms=terms,
    )


def _ratio(error: Array, variance: Array) -> float:
    total = float(variance.mean())
    return float(error.mean()) / total if total > 0.0 else float("nan")
