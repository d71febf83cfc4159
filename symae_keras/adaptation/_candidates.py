"""Candidate methods of `adapt`: maps of flattened spectra, fitted to pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from symae_keras import classical
from symae_keras.adaptation._baseline import parts
from symae_keras.adaptation._code_map import CodeMap, decoded_spectra
from symae_keras.classical._ridge import regress
from symae_keras.data.groups import Array, GroupedData

#: Number of decoded spectra that represent the instrument of a model.
_DECODED = 400
#: With more pairs than this, settings that are slow to choose are chosen only once.
_MANY_PAIRS = 60


class Map(Protocol):
    """Fitted map from spectra of the source to spectra of the target."""

    def transfer(self, x: Array) -> Array:
        """Return transferred spectra, `(spectra, pixels)`."""


@dataclasses.dataclass(frozen=True)
class Affine:
    """The map `x -> coef x + intercept`; a vector `coef` is a diagonal matrix."""

    coef: Array
    intercept: Array

    def transfer(self, x: Array) -> Array:
        """Return transferred spectra, `(spectra, pixels)`."""
        product = x * self.coef if self.coef.ndim == 1 else x @ self.coef.T
        return np.asarray(product + self.intercept)


@dataclasses.dataclass(frozen=True)
class Sum:
    """Sum of maps."""

    parts: tuple[Map, ...]

    def transfer(self, x: Array) -> Array:
        """Return transferred spectra, `(spectra, pixels)`."""
        return np.asarray(sum(part.transfer(x) for part in self.parts))


@dataclasses.dataclass(frozen=True)
class Part:
    """Weighted part of the spectra of a map: the baseline, the rest, or both.

    Args:
        kind: `"all"`, `"baseline"` or `"rest"`.
        map: The map.
        shape: Shape of one instance.
        weight: The weight in a sum of maps.
    """

    kind: str
    map: Map
    shape: tuple[int, ...]
    weight: float = 1.0

    def transfer(self, x: Array) -> Array:
        """Return transferred spectra, `(spectra, pixels)`."""
        return self.of(self.map.transfer(x))

    def of(self, spectra: Array) -> Array:
        """Return the weighted part of spectra `(spectra, pixels)`."""
        if self.kind == "all":
            return self.weight * spectra
        return self.weight * parts(spectra, self.shape)[self.kind == "rest"]

    def affine(self) -> Affine:
        """Return the part of an affine map as an affine map."""
        assert isinstance(self.map, Affine)
        coef, intercept = self.map.coef, self.map.intercept
        if self.kind != "all" and coef.ndim == 1:
            coef = np.diag(coef)
        return Affine(self.of(coef.T).T, self.of(intercept[None])[0])

    def expanded(self) -> list[Part]:
        """Return the same part of each map in a sum of maps."""
        if not isinstance(self.map, Sum):
            return [self]
        inner = [dataclasses.replace(self, map=each) for each in self.map.parts]
        return [each for part in inner for each in part.expanded()]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Flattened paired spectra, and unpaired spectra of the target.

    Args:
        source: `(pairs, pixels)`.
        target: `(pairs, pixels)`.
        others: Unpaired spectra of the target, `(spectra, pixels)`.
    """

    source: Array
    target: Array
    others: Array

    def take(self, index: Array) -> Pairs:
        """Return selected pairs and all unpaired spectra."""
        return Pairs(self.source[index], self.target[index], self.others)

    def groups(self) -> GroupedData:
        """Return groups of (target, source)."""
        both = np.stack([self.target, self.source], axis=1)
        if not len(self.others):
            return GroupedData(both)
        alone = np.stack([self.others, np.zeros_like(self.others)], axis=1)
        mask = np.ones((len(both) + len(alone), 2), bool)
        mask[len(both) :, 1] = False
        return GroupedData(np.concatenate([both, alone]), mask=mask)


Fit = Callable[[Pairs], Map]


def candidates(model: Any, pairs: Pairs, shape: tuple[int, ...]) -> dict[str, Fit]:
    """Return functions that fit each method, starting with the simplest.

    Args:
        model: A trained model of groups, or `None`.
        pairs: All pairs, for settings that are slow and chosen only once.
        shape: Shape of one instance.
    """
    found: dict[str, Fit] = {
        "MeanShift": _classical(classical.MeanShift),
        "SlopeBias": _classical(classical.SlopeBias),
        "ComBat": _classical(classical.ComBat),
        "OptimalEstimation": _classical(classical.OptimalEstimation),
        "ExternalParameterOrthogonalization": _settled(
            classical.ExternalParameterOrthogonalization, "n_components", pairs
        ),
        "GeneralizedLeastSquaresWeighting": _settled(
            classical.GeneralizedLeastSquaresWeighting, "alpha", pairs
        ),
        "SpectralSpaceTransformation": _settled(
            classical.SpectralSpaceTransformation, "n_components", pairs
        ),
        "DirectStandardization": _classical(classical.DirectStandardization),
        "SlopeBiasAndRidge": _with_ridge(_classical(classical.SlopeBias)),
    }
    if len(shape) == 1:
        found["PiecewiseDirectStandardization"] = _settled(
            classical.PiecewiseDirectStandardization, "window", pairs
        )
    if model is not None:
        found |= _of_model(model, pairs, shape)
    return found


def _classical(method: type[Any]) -> Fit:
    def fit(pairs: Pairs) -> Map:
        fitted = method(source=1, target=0).fit(pairs.groups())
        return Affine(fitted.coef_, fitted.intercept_)

    return fit


def _settled(method: type[Any], setting: str, pairs: Pairs) -> Fit:
    """Choose a setting once for many pairs, because this choice takes most of the time.

    Then the cross-validation error does not include the choice of this number. With
    many pairs, the difference is small.
    """
    if len(pairs.source) <= _MANY_PAIRS:
        return _classical(method)
    chosen: list[Any] = []

    def fit(some: Pairs) -> Map:
        if not chosen:
            every = method(source=1, target=0).fit(pairs.groups())
            chosen.append(getattr(every, f"{setting}_"))
        fitted = method(source=1, target=0, **{setting: chosen[0]}).fit(some.groups())
        return Affine(fitted.coef_, fitted.intercept_)

    return fit


def _with_ridge(base: Fit) -> Fit:
    """Add a ridge regression of the residuals of a method on the source spectra."""

    def fit(pairs: Pairs) -> Map:
        first = base(pairs)
        lacking = pairs.target - first.transfer(pairs.source)
        ridge = regress(pairs.source, lacking, None)
        rest = Affine(np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_))
        if isinstance(first, Affine):
            coef = np.diag(first.coef) if first.coef.ndim == 1 else first.coef
            return Affine(coef + rest.coef, first.intercept + rest.intercept)
        return Sum((first, rest))

    return fit


def _of_model(model: Any, pairs: Pairs, shape: tuple[int, ...]) -> dict[str, Fit]:
    """Return the methods that use a trained model."""

    def virtual(some: Pairs) -> Map:
        return CodeMap.fit(model, some.source, some.target, shape)

    def estimate(some: Pairs) -> Map:
        known = np.concatenate([some.target, some.others])
        decoded = decoded_spectra(model, known, shape, _DECODED)
        fitted = classical.OptimalEstimation(1, 0).fit(some.groups(), decoded)
        return Affine(fitted.coef_, fitted.intercept_)

    return {
        "ModelOptimalEstimation": estimate,
        "VirtualSpectra": virtual,
        "VirtualSpectraAndRidge": _with_ridge(virtual),
    }
