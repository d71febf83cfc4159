"""Methods that `adapt` chooses from: maps of flattened spectra, fitted on pairs."""

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

#: Decoded spectra that stand for what a model knows of its instrument.
_DECODED = 400
#: Of more pairs than this, settings that are slow to choose are chosen once.
_MANY_PAIRS = 60


class Map(Protocol):
    """A fitted map from spectra of the source to spectra of the target."""

    def transfer(self, x: Array) -> Array:
        """Return `(spectra, pixels)`."""


@dataclasses.dataclass(frozen=True)
class Affine:
    """The map `x -> coef x + intercept`; a vector stands for a diagonal matrix."""

    coef: Array
    intercept: Array

    def transfer(self, x: Array) -> Array:
        """Return `(spectra, pixels)`."""
        product = x * self.coef if self.coef.ndim == 1 else x @ self.coef.T
        return np.asarray(product + self.intercept)


@dataclasses.dataclass(frozen=True)
class Sum:
    """The sum of maps."""

    parts: tuple[Map, ...]

    def transfer(self, x: Array) -> Array:
        """Return `(spectra, pixels)`."""
        return np.asarray(sum(part.transfer(x) for part in self.parts))


@dataclasses.dataclass(frozen=True)
class Part:
    """The baselines of a map's spectra, or the rest of them, times a weight.

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
        """Return `(spectra, pixels)`."""
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
        """Return the parts of the maps that a sum of maps is made of."""
        if not isinstance(self.map, Sum):
            return [self]
        inner = [dataclasses.replace(self, map=each) for each in self.map.parts]
        return [each for part in inner for each in part.expanded()]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Flattened spectra of both instruments, and others of the target.

    Args:
        source: `(pairs, pixels)`.
        target: `(pairs, pixels)`.
        others: Spectra of the target without a partner, `(spectra, pixels)`.
    """

    source: Array
    target: Array
    others: Array

    def take(self, index: Array) -> Pairs:
        """Return some of the pairs, and all others."""
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
    """Return functions that fit each method, the simplest first.

    Args:
        model: A trained model of groups, or `None`.
        pairs: All pairs; settings that are slow to choose are chosen once on them.
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
    """Choose a setting of many pairs once, because the choice takes most of the time.

    Then the error left out does not contain the choice of that one number, which
    matters little with many pairs.
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
    """Add a ridge regression of what a method lacks on the source spectra."""

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
