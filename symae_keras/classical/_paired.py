"""Maps between two instruments, fitted on pairs of instances."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Final, Self

import numpy as np

from symae_keras._utils.validation import is_integer
from symae_keras.classical._base import Reference, check_finite
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

#: Maximum number of folds; up to this number of pairs, each fold is one pair.
_MOST_FOLDS: Final = 50
#: Maximum number of components; further singular vectors are noise.
_MOST_COMPONENTS: Final = 60


class PairedReference(Reference):
    """Base class of affine maps `x -> coef_ x + intercept_` between two instruments.

    A subclass computes the map in `_regress`.
    """

    coef_: Array
    intercept_: Array
    n_instruments_: int

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = operator.index(source), operator.index(target)
        if min(self.source, self.target) < 0 or self.source == self.target:
            raise InputError(
                "source and target must be the indices of two different instruments, "
                f"0 or above; received {source} and {target}."
            )

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array]:
        """Return `coef_` and `intercept_` from flattened instances, `(pairs, pixels)`.

        A `coef_` of the shape `(pixels,)` is the diagonal of a matrix.
        """
        raise NotImplementedError

    def fit(self, groups: GroupedData) -> Self:
        """Fit the map to the groups that both instruments have measured.

        Args:
            groups: Training groups; the index of an instance is that of its instrument.

        Returns:
            The object itself.

        Raises:
            InputError: The instrument does not exist, fewer than two groups were
                measured on both instruments, a spectrum of these groups is not finite,
                or the method does not support their shape or number.
        """
        self._check_instruments(groups)
        present = groups.present
        both = present[:, self.source] & present[:, self.target]
        if both.sum() < 2:
            raise InputError(
                f"{type(self).__name__} needs at least two groups that were measured "
                f"on both instruments, {self.source} and {self.target}; received "
                f"{both.sum()}."
            )
        places = [self.source, self.target]
        check_whole(self, groups[both].take_instances(places))
        pairs = groups.x[both][:, places].astype("float64")
        check_finite(pairs)
        self._check_shape(groups.instance_shape)
        flat = pairs.reshape(len(pairs), 2, -1)
        self.coef_, self.intercept_ = self._regress(flat[:, 0], flat[:, 1])
        self.instance_shape_ = groups.instance_shape
        self.n_instruments_ = groups.n_instances
        return self

    def _check_instruments(self, groups: GroupedData) -> None:
        for name in ("source", "target"):
            index = getattr(self, name)
            if index >= groups.n_instances:
                raise InputError(
                    f"{name} must be one of the {groups.n_instances} instruments "
                    f"(instances of each group), counted from 0; received {index}."
                )

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse instances of a shape that the method does not support."""

    def transfer(self, x: Array) -> Array:
        """Transfer spectra from the source to the target instrument.

        Args:
            x: `(spectra, *instance_shape)`, measured on the source instrument.

        Returns:
            float64 array of the shape of `x`.
        """
        flat = self._flat(x)
        product = flat * self.coef_ if self.coef_.ndim == 1 else flat @ self.coef_.T
        return np.asarray((product + self.intercept_).reshape(np.shape(x)))

    def _flat(self, x: Array) -> Array:
        """Check the shape of spectra and return them as float64 `(spectra, pixels)`."""
        self._check_fitted()
        x = np.asarray(x, "float64")
        if x.ndim == 0 or x.shape[1:] != self.instance_shape_:
            raise InputError(
                f"Expected an array (spectra, *{self.instance_shape_}) from instrument "
                f"{self.source}; received shape {x.shape}."
            )
        return x.reshape(len(x), self.intercept_.size)

    def redatum(
        self, coherent_from: Array, coherent_mask: Array | None = None
    ) -> Array:
        """Compute virtual spectra of groups on the target instrument.

        Only the spectrum of each group on the source instrument is used. There is no
        `nuisance_from`: the nuisance is the target instrument, which `fit` has learned.

        Args:
            coherent_from: `(batch, instruments, *instance_shape)`, the groups, with
                instruments in the same order as in `fit`.
            coherent_mask: Boolean `(batch, instruments)`. Defaults to `None`.

        Returns:
            Array `(batch, 1, *instance_shape)`.

        Raises:
            InputError: A group was not measured on the source instrument, or a pixel
                of its spectrum is masked.
        """
        groups = self._gather(coherent_from, coherent_mask)
        if groups.n_instances != self.n_instruments_:
            raise InputError(
                f"Expected the {self.n_instruments_} instruments of the training "
                f"groups on axis 1; received an array of shape {groups.x.shape}."
            )
        absent = np.flatnonzero(~groups.present[:, self.source])
        if len(absent):
            raise InputError(
                f"{len(absent)} of {len(groups)} groups were not measured on the "
                f"source instrument {self.source}, the first of them group "
                f"{absent[0]}; remove them."
            )
        check_whole(self, groups.take_instances([self.source]))
        return self.transfer(groups.x[:, self.source])[:, None]


def check_whole(model: Reference, groups: GroupedData) -> None:
    """Refuse masked pixels of present instances."""
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    if not good[groups.present].all():
        raise InputError(
            f"{type(model).__name__} needs complete spectra, but pixels are masked; "
            "restrict the axis to the pixels that all spectra have, or fill the masked "
            "pixels."
        )


def folds(n_pairs: int) -> Iterator[tuple[Array, Array]]:
    """Leave out each pair in turn, or one of 50 folds if there are more pairs.

    Yields:
        Indices of the pairs that are kept, and of the pairs that are left out.
    """
    pairs = np.arange(n_pairs)
    n_folds = min(n_pairs, _MOST_FOLDS)
    for fold in range(n_folds):
        out = pairs % n_folds == fold
        yield pairs[~out], pairs[out]


def components_or_none(n_components: int | None) -> int | None:
    """Check a number of components, or `None` for an automatic choice."""
    if n_components is None:
        return None
    if not is_integer(n_components, 1):
        raise InputError(
            "n_components must be a positive integer, or None to choose it by "
            f"leave-one-out; received {n_components}."
        )
    return int(n_components)


def most_components(n_components: int | None, rank: int) -> int:
    """Return the number of components to use, or the largest number to try."""
    if n_components is None:
        return max(1, min(rank, _MOST_COMPONENTS))
    if n_components > rank:
        raise InputError(
            f"n_components is {n_components}, but the pairs have at most {rank}; "
            "reduce it or add more pairs."
        )
    return n_components
