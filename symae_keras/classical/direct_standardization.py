"""Direct standardization of whole spectra, and piecewise by windows."""

from __future__ import annotations

import math
import operator
from typing import Any, Final, Self

import numpy as np

from symae_keras._utils.validation import is_integer
from symae_keras.classical._base import Reference, check_finite
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

#: Penalties that leave-one-out chooses from.
RIDGES: Final = np.logspace(-6, 4, 31)


class Standardization(Reference):
    """Base of the maps `x -> coef_ x + intercept_` between two instruments.

    A subclass finds the map in `_regress`.
    """

    coef_: Array
    intercept_: Array
    ridge_: Any
    n_instruments_: int

    def __init__(self, source: int, target: int, ridge: float | None = None) -> None:
        self.source, self.target = operator.index(source), operator.index(target)
        if min(self.source, self.target) < 0 or self.source == self.target:
            raise InputError(
                "source and target must be the indices of two different instruments, "
                f"0 or above; received {source} and {target}."
            )
        if ridge is not None and not 0.0 < ridge < math.inf:
            raise InputError(
                "ridge must be a positive number, or None to choose it by "
                f"leave-one-out; received {ridge}."
            )
        self.ridge = ridge

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array, Any]:
        """`coef_`, `intercept_` and `ridge_` from `(pairs, *instance_shape)` each."""
        raise NotImplementedError

    def _ridge(self) -> Any:
        from sklearn.linear_model import Ridge, RidgeCV

        return RidgeCV(RIDGES) if self.ridge is None else Ridge(self.ridge)

    def fit(self, groups: GroupedData) -> Self:
        """Learn the map from the groups that both instruments have measured.

        Args:
            groups: Training groups; instances are instruments by index.

        Returns:
            The object itself.

        Raises:
            InputError: There is no such instrument, fewer than two groups were measured
                on both, a spectrum of theirs is not finite, or instances that are cut
                into windows have more axes than one.
        """
        for name in ("source", "target"):
            index = getattr(self, name)
            if index >= groups.n_instances:
                raise InputError(
                    f"{name} must be one of the {groups.n_instances} instruments "
                    f"(instances of each group), counted from 0; received {index}."
                )
        present = groups.present
        both = present[:, self.source] & present[:, self.target]
        if both.sum() < 2:
            raise InputError(
                "Standardisation needs at least two groups that were measured on both "
                f"instruments, {self.source} and {self.target}; received {both.sum()}."
            )
        places = [self.source, self.target]
        good = groups[both].take_instances(places).good_pixels
        if not good.all():
            raise InputError(
                "Standardisation takes whole spectra, but pixels are masked; cut the "
                "axis to the pixels that all spectra have, or fill them."
            )
        pairs = groups.x[both][:, places].astype("float64")
        check_finite(pairs)
        fitted = self._regress(pairs[:, 0], pairs[:, 1])
        self.coef_, self.intercept_, self.ridge_ = fitted
        self.instance_shape_ = groups.instance_shape
        self.n_instruments_ = groups.n_instances
        return self

    def transfer(self, x: Array) -> Array:
        """Show spectra of the source instrument as the target would.

        Args:
            x: `(spectra, *instance_shape)`, measured on the source instrument.

        Returns:
            float64 array of the shape of `x`.
        """
        self._check_fitted()
        x = np.asarray(x, "float64")
        if x.ndim == 0 or x.shape[1:] != self.instance_shape_:
            raise InputError(
                f"Expected an array (spectra, *{self.instance_shape_}) from instrument "
                f"{self.source}; received shape {x.shape}."
            )
        flat = x.reshape(len(x), -1) @ self.coef_.T + self.intercept_
        return np.asarray(flat.reshape(x.shape))

    def redatum(
        self, coherent_from: Array, coherent_mask: Array | None = None
    ) -> Array:
        """The states of groups as the target instrument would show them.

        Only the source instrument's spectrum of each group is used. There is no
        `nuisance_from`: the nuisance is the target instrument, which `fit` has learnt.

        Args:
            coherent_from: `(batch, instruments, *instance_shape)`, the states to show,
                with the instruments in the places that they had in `fit`.
            coherent_mask: Boolean `(batch, instruments)`. Defaults to `None`.

        Returns:
            Array `(batch, 1, *instance_shape)`.

        Raises:
            InputError: A group was not measured on the source instrument.
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
                f"{absent[0]}; leave them out."
            )
        return self.transfer(groups.x[:, self.source])[:, None]


class DirectStandardization(Standardization):
    """Ridge regression of whole spectra of one instrument on those of another.

    Instances are instruments here: their place in a group, axis 1, has a meaning. From
    the groups that were measured on both, `s` on the source and `t` on the target,

        coef_, intercept_ = argmin sum |t - coef s - intercept|^2 + ridge |coef|^2

    It uses every pixel for every other one, so it needs more pairs than
    `PiecewiseDirectStandardization`, and sees more.

    Args:
        source: Index of the instrument that spectra come from.
        target: Index of the instrument to show them on.
        ridge: Penalty, in the squared units of the data. `None` (default) chooses one
            of 31 from 1e-6 to 1e4, three a decade, by leave-one-out over the pairs:
            bring data to a scale of about 1.

    Attributes:
        instance_shape_: Shape of one instance.
        n_instruments_: Instances of a training group.
        coef_: The map, `(pixels, pixels)`.
        intercept_: What it adds, `(pixels,)`.
        ridge_: The penalty used.

    Reference:
        - [Wang, Veltkamp & Kowalski, Multivariate instrument standardization,
          1991](https://doi.org/10.1021/ac00023a016)

    Example:
    >>> import numpy as np
    >>> from symae_keras.data import GroupedData
    >>> first = np.random.default_rng(0).normal(size=(50, 8))
    >>> groups = GroupedData(np.stack([first, 2.0 * first[:, ::-1] + 1.0], axis=1))
    >>> model = DirectStandardization(source=0, target=1).fit(groups[:40])
    >>> virtual = model.redatum(groups.x[40:])
    >>> virtual.shape
    (10, 1, 8)
    >>> bool(np.allclose(virtual[:, 0], groups.x[40:, 1], atol=1e-5))
    True
    """

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array, Any]:
        rows = len(source), -1
        model = self._ridge().fit(source.reshape(rows), target.reshape(rows))
        return model.coef_, model.intercept_, getattr(model, "alpha_", self.ridge)


class PiecewiseDirectStandardization(Standardization):
    """Ridge regression of each pixel on a window of another instrument's pixels.

    Instances are instruments here: their place in a group, axis 1, has a meaning. The
    pixel `p` of the target instrument is regressed on the pixels `p - window // 2` to
    `p + window // 2` of the source instrument; at the edges the window is cut. It
    corrects shifts, widths and gains that vary along the spectrum, from few pairs.

    Args:
        source: Index of the instrument that spectra come from.
        target: Index of the instrument to show them on.
        window: Number of pixels in a window, odd. Defaults to 11.
        ridge: Penalty of every regression, in the squared units of the data. `None`
            (default) chooses for each pixel one of 31 from 1e-6 to 1e4, three a decade,
            by leave-one-out over the pairs: bring data to a scale of about 1.

    Attributes:
        instance_shape_: Shape of one instance, `(pixels,)`.
        n_instruments_: Instances of a training group.
        coef_: The map, `(pixels, pixels)`, zero outside the windows.
        intercept_: What it adds, `(pixels,)`.
        ridge_: The penalty used for each pixel, `(pixels,)`.

    Reference:
        - [Wang, Veltkamp & Kowalski, Multivariate instrument standardization,
          1991](https://doi.org/10.1021/ac00023a016)

    Example:
    >>> from symae_keras.data import GroupedData
    >>> first = np.random.default_rng(0).normal(size=(50, 32))
    >>> groups = GroupedData(np.stack([first, np.roll(first, 1, axis=1)], axis=1))
    >>> model = PiecewiseDirectStandardization(0, 1, window=3).fit(groups[:40])
    >>> virtual = model.redatum(groups.x[40:])
    >>> virtual.shape
    (10, 1, 32)
    >>> bool(np.allclose(virtual[:, 0, 1:], groups.x[40:, 1, 1:], atol=1e-5))
    True
    """

    def __init__(
        self, source: int, target: int, window: int = 11, ridge: float | None = None
    ) -> None:
        super().__init__(source, target, ridge)
        if not is_integer(window, 1) or window % 2 == 0:
            raise InputError(
                f"window must be an odd number of pixels, 1 or more; got {window}."
            )
        self.window = int(window)

    def _regress(self, source: Array, target: Array) -> tuple[Array, Array, Any]:
        if source.ndim != 2:
            raise InputError(
                "Windows need instances of the shape (pixels,); received "
                f"{source.shape[1:]}. DirectStandardization takes any shape."
            )
        pixels, half = source.shape[1], self.window // 2
        coef, intercept = np.zeros((pixels, pixels)), np.empty(pixels)
        ridge = np.empty(pixels)
        for pixel in range(pixels):
            seen = slice(max(pixel - half, 0), pixel + half + 1)
            model = self._ridge().fit(source[:, seen], target[:, pixel])
            coef[pixel, seen], intercept[pixel] = model.coef_, model.intercept_
            ridge[pixel] = getattr(model, "alpha_", self.ridge)
        return coef, intercept, ridge
