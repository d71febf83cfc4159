"""The container for grouped data that the whole package uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from symae_keras.data._arrays import Array as Array
from symae_keras.data._arrays import (
    bools,
    metadata,
    pixel_weights,
    plain,
    real_numbers,
    row_names,
)
from symae_keras.data._frames import fields_of_frame, frame_of
from symae_keras.data._spectrum_lists import fields_of_spectra
from symae_keras.data._xarrays import fields_of_xarray, xarray_of
from symae_keras.data.describe import Description, describe, summary
from symae_keras.data.split import KnownGroups
from symae_keras.errors import InputError

Parameters = Mapping[str, Array]
Render = Callable[[Parameters, Parameters], Array]

#: Fields whose values have one row per group, and those with one entry per instance.
_OF_GROUPS = ("state", "group_metadata")
_OF_INSTANCES = ("nuisance", "instance_metadata")
_OF_PIXELS = ("pixel_mask", "weights")
_GROUPS_AT_ONCE = 1024


# eq=False: a comparison of arrays field by field has no single truth value.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GroupedData(KnownGroups):
    """Instances in groups; the instances of a group share one hidden state.

    Arrays are not copied, and memory maps stay memory maps. Slices of groups are views;
    index arrays copy the selected groups. Masked NumPy arrays, pandas objects and
    tensors are converted. Missing values of `x` are False in `pixel_mask`, missing
    weights are 0, missing metadata are NaN or "", and missing ids raise an error.

    Args:
        x: Instances, shape `(groups, instances, *instance_shape)`, channels last.
            Integers are converted to float32 without scaling, or to float64 above
            2**24.
        mask: Shape `(groups, instances)`, True = present. `None` means that all
            instances are present.
        state: True parameters of each group, arrays `(groups, ...)`; simulators only.
        nuisance: True parameters of each instance, arrays `(groups, instances, ...)`;
            simulators only.
        ids: The name of each group, shape `(groups,)`. Groups with the same name have
            the same state.
        pixel_mask: Boolean, True = good pixel. Its shape is that of `x` or broadcasts
            to it, such as `(pixels,)` for gaps that all instances share. `None` means
            that all pixels of present instances are good.
        weights: Weight of each pixel in the loss, such as its inverse variance; finite
            and not negative. Its shape is that of `x` or broadcasts to it.
        group_metadata: Metadata of each group, arrays `(groups, ...)`.
        instance_metadata: Metadata of each instance, arrays `(groups, instances, ...)`.
        axis: Physical value of each pixel, shape `(pixels,)`.
        axis_label: Name and unit of the axis, such as "wavelength (nm)".
        render: Function of state and nuisance parameters (dicts of arrays with one
            common leading axis) that returns the exact noiseless instances.

    Raises:
        InputError: An array has the wrong rank, or its shape does not match the others.

    Example:
    >>> groups = GroupedData(np.zeros((3, 5, 64), "float32"))
    >>> groups.n_groups, groups.n_instances, groups.instance_shape
    (3, 5, (64,))
    >>> groups[:2].n_groups
    2
    """

    x: Array
    mask: Array | None = None
    state: Parameters = dataclasses.field(default_factory=dict)
    nuisance: Parameters = dataclasses.field(default_factory=dict)
    ids: Array | None = None
    pixel_mask: Array | None = None
    weights: Array | None = None
    group_metadata: Parameters = dataclasses.field(default_factory=dict)
    instance_metadata: Parameters = dataclasses.field(default_factory=dict)
    axis: Array | None = None
    axis_label: str = "pixel"
    render: Render | None = None

    def __post_init__(self) -> None:
        x, missing = real_numbers("x", self.x)
        if x.ndim < 3:
            raise InputError(
                "x must have the axes (groups, instances, *instance_shape), at least "
                f"three; received shape {x.shape}. For flat rows, use `group_by(x, "
                "ids)`."
            )
        self._set("x", x)
        if self.mask is not None:
            mask = bools("mask", self.mask, "present")
            if mask.shape != x.shape[:2]:
                raise InputError(
                    "mask must have the shape (groups, instances) of x, here "
                    f"{x.shape[:2]}; received {mask.shape}."
                )
            self._set("mask", mask)
        good = None if missing is None else ~missing
        if self.pixel_mask is not None:
            given = bools("pixel_mask", self.pixel_mask, "good")
            given = _over_instances("pixel_mask", given, x.shape)
            good = given if good is None else good & given
        self._set("pixel_mask", good)
        if self.weights is not None:
            weights = pixel_weights(self.weights)
            self._set("weights", _over_instances("weights", weights, x.shape))
        for names, leading in ((_OF_GROUPS, 1), (_OF_INSTANCES, 2)):
            for name in names:
                self._set(name, _known(name, getattr(self, name), x.shape[:leading]))
        if self.ids is not None:
            if len(self.ids) != len(x):
                raise InputError(
                    f"ids must name each of the {len(x)} groups; received "
                    f"{len(self.ids)}."
                )
            self._set("ids", row_names("ids", self.ids, "group", len(x)))
        if self.axis is not None:
            axis, unknown = plain("axis", self.axis)
            if axis.shape != x.shape[2:3]:
                raise InputError(
                    f"axis must have the shape (pixels,), here {x.shape[2:3]}; "
                    f"received {axis.shape}."
                )
            if unknown is not None:
                raise InputError(
                    f"axis[{unknown.argmax()}] is missing; every pixel needs a value."
                )
            self._set("axis", axis)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return summary(self)

    # === Sizes and masks ===

    @property
    def n_instances(self) -> int:
        """Instances per group, including padding."""
        return int(self.x.shape[1])

    @property
    def instance_shape(self) -> tuple[int, ...]:
        """Shape of one instance."""
        return tuple(int(n) for n in self.x.shape[2:])

    @property
    def present(self) -> Array:
        """The mask, or all True without a mask; shape `(groups, instances)`."""
        if self.mask is None:
            return np.ones(self.x.shape[:2], bool)
        return self.mask

    @property
    def counts(self) -> Array:
        """Present instances of each group, `(groups,)`."""
        counts: Array = self.present.sum(axis=1)
        return counts

    @property
    def good_pixels(self) -> Array:
        """Mask of good pixels of present instances; it broadcasts to `x`.

        Pixels of weight 0 are bad. The shape is that of `x` if there is a `pixel_mask`
        or `weights`, otherwise `(groups, instances, 1, ...)`.
        """
        axes = (1,) * len(self.instance_shape)
        good = self.present.reshape(self.present.shape + axes)
        if self.pixel_mask is not None:
            good = good & self.pixel_mask
        return good if self.weights is None else good & (self.weights > 0)

    @property
    def model_mask(self) -> Array | None:
        """The argument `mask` for models.

        It is `None` if nothing is masked. Its shape is `(groups, instances)` if
        instances are masked, and that of `x` if pixels are masked.
        """
        if self.pixel_mask is None and self.weights is None:
            return self.mask
        return self.good_pixels

    @property
    def masks(self) -> int:
        """0 if nothing is masked, 1 if instances are masked, 2 if pixels are masked."""
        if self.pixel_mask is None and self.weights is None:
            return 0 if self.mask is None else 1
        return 2

    @property
    def known(self) -> Parameters:
        """State and metadata of each group."""
        return {**self.state, **self.group_metadata}

    @property
    def mean_weight(self) -> float | None:
        """Mean weight of good pixels, or `None` without weights."""
        if self.weights is None:
            return None
        total, count = 0.0, 0.0
        for start in range(0, len(self), _GROUPS_AT_ONCE):
            part = self[start : start + _GROUPS_AT_ONCE]
            weights: Any = part.weights
            # The sum of inverse variances of faint spectra can overflow float32.
            total += float(np.where(part.good_pixels, weights, 0.0).sum(dtype=float))
            count += float(part.good_pixels.sum())
        return total / count if count else 1.0

    def gather(self, group: Array, place: Array) -> tuple[Array, Array, Array | None]:
        """Return selected instances of selected groups, for batches.

        Args:
            group: Indices `(batch,)`.
            place: Indices `(batch, instances)` of instances.

        Returns:
            `x (batch, instances, *instance_shape)` float32, a boolean array that
            broadcasts to it and is True for good pixels of present instances, and
            weights or `None`.
        """
        chosen = group[:, None], place
        x = self.x[chosen].astype("float32", copy=False)
        good = self.present[chosen].reshape(place.shape + (1,) * (x.ndim - 2))
        if self.pixel_mask is not None:
            good = good & self.pixel_mask[chosen]
        weights = None
        if self.weights is not None:
            weights = self.weights[chosen]
            good = good & (weights > 0)
        return x, good, weights

    def first_instances(self) -> tuple[Array, Array | None]:
        """Return one instance of each group, for models of single instances.

        Returns:
            `x (groups, *instance_shape)`, the first present instance of each group, and
            its mask of the same shape if pixels are masked, otherwise `None`.
        """
        first = np.arange(len(self)), self.present.argmax(axis=1)
        x = self.x[first]
        if self.masks < 2:
            return x, None
        return x, np.broadcast_to(self.good_pixels, self.x.shape)[first]

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def parts(self, n_bytes: int) -> Iterator[tuple[int, Self]]:
        """Iterate over parts of consecutive groups.

        Args:
            n_bytes: Approximate memory of `x` in each part.

        Yields:
            The number of the first group of a part, and the part.
        """
        step = max(1, n_bytes // max(1, self.x.nbytes // max(len(self), 1)))
        for first in range(0, len(self), step):
            yield first, self[first : first + step]

    def describe(self) -> Description:
        """Compute sizes, missing values, and variances between and within groups.

        Returns:
            A `Description`; print it.

        Example:
        >>> x = np.random.default_rng(0).normal(size=(30, 5, 64))
        >>> print(GroupedData(x).describe())
        30 groups of 5 instances of shape (64,), 150 instances in all, no state known
        missing: 0.0 % of pixels
        variance between groups 0, within groups 1 (of 1.0)
        warning: groups differ by no more than chance: is the grouping right?
        """
        return describe(self)

    # === Selection ===

    def __getitem__(self, index: Any) -> Self:
        """Select groups by slice, index array or boolean array."""
        if isinstance(index, (int, np.integer)):
            # A `for` loop over the groups stops at the IndexError past the end.
            number = range(len(self))[index]
            index = slice(number, number + 1)
        return self._select(index, (*_OF_GROUPS, *_OF_INSTANCES), ("x", "mask", "ids"))

    def take_instances(self, index: Any) -> Self:
        """Select instances at the same positions in every group.

        Args:
            index: Slice, index array or boolean array over the instances.

        Returns:
            The same groups with fewer (or reordered) instances.
        """
        return self._select((slice(None), index), _OF_INSTANCES, ("x", "mask"))

    def _select(
        self, index: Any, mappings: tuple[str, ...], arrays: tuple[str, ...]
    ) -> Self:
        chosen: dict[str, Any] = {}
        for name in (*arrays, *_OF_PIXELS):
            value = getattr(self, name)
            chosen[name] = None if value is None else np.asanyarray(value)[index]
        for name in mappings:
            chosen[name] = {k: v[index] for k, v in getattr(self, name).items()}
        return dataclasses.replace(self, **chosen)

    def map_instances(self, function: Callable[..., Any]) -> Self:
        """Apply a layer or function, such as a `MedianNormalization`, to all instances.

        Args:
            function: Called with `x`, and with `pixel_mask=` if pixels are masked. It
                returns an array or tensor of the same shape.

        Returns:
            The same groups with new values. Weights are removed, because they belong to
            the old values.
        """
        masked = self.good_pixels.shape == self.x.shape
        more = {"pixel_mask": self.good_pixels} if masked else {}
        x = np.asarray(function(self.x, **more))
        return dataclasses.replace(self, x=x, weights=None, render=None)

    # === Tables and labelled arrays ===

    @classmethod
    def from_pandas(
        cls,
        frame: Any,
        group: str = "group",
        pixels: Sequence[Any] | None = None,
        axis_label: str | None = None,
    ) -> Self:
        """Make groups from a pandas table with one row per instance.

        Columns whose names are numbers, or numbers as text, are pixels. These numbers
        are the axis, unless they are 0, 1, 2, .... NaN and NA are missing pixels. All
        other columns are metadata: of groups, if the value is the same in all rows of
        each group, and otherwise of instances.

        Args:
            frame: A `pandas.DataFrame`.
            group: The column or index level with the group of each row. Defaults to
                `"group"`.
            pixels: Names of the pixel columns, in order, if not all of them are
                numbers. Defaults to `None`.
            axis_label: Name and unit of the axis. Defaults to `None`, which takes the
                name of the columns, `frame.columns.name`, if they have one.

        Returns:
            Groups sorted by their ids. If their sizes differ, they are padded and have
            a `mask`.

        Raises:
            InputError: A column is missing, pixels are not numbers or not sorted along
                the axis, or a row has no group.

        Example:
        >>> import pandas as pd
        >>> table = {"group": ["b", "a", "b"], "air": [1, 2, 3], 500.0: 0.5, 501.0: 0.6}
        >>> groups = GroupedData.from_pandas(pd.DataFrame(table))
        >>> groups.x.shape, groups.axis, groups.instance_metadata["air"]
        ((2, 2, 2), array([500., 501.]), array([[2, 0],
               [1, 3]]))
        """
        return cls(**fields_of_frame(frame, group, pixels, axis_label))

    def to_pandas(self) -> Any:
        """Return a pandas table with one row per present instance.

        The columns are `"group"` (the id or number of the group), the metadata with one
        value per group or instance, and one column per pixel. The name of a pixel
        column is its axis value, or its number without an axis. Bad pixels are NaN.
        Weights and true parameters are left out; `to_xarray` includes them.

        Returns:
            A `pandas.DataFrame` that `from_pandas` can read.

        Raises:
            InputError: Instances are not of shape `(pixels,)`, or two columns would
                have the same name.

        Example:
        >>> GroupedData(np.ones((2, 1, 2)), ids=["a", "b"], axis=[5.0, 6.0]).to_pandas()
        pixel group  5.0  6.0
        0         a  1.0  1.0
        1         b  1.0  1.0
        """
        return frame_of(self)

    @classmethod
    def from_xarray(
        cls, data: Any, group: str = "group", instance: str = "instance"
    ) -> Self:
        """Make groups from labelled xarray arrays.

        The array has the dimensions `group` and `instance`, in any position, or one
        dimension of rows with a coordinate `group`, the group of each row. The first
        other dimension is the axis. Its coordinate gives the axis values, and the
        attributes `long_name` and `units` of the coordinate give the label. NaN is a
        missing pixel, and an instance that contains only NaN is absent. Other
        coordinates and variables along groups or instances are metadata.

        Args:
            data: A `xarray.DataArray` of the instances, or a `xarray.Dataset` whose
                variable `x` holds the instances. It may also have the variables
                `present`, `good_pixels` and `weights`, as `to_xarray` writes them.
            group: Name of the dimension, or of the coordinate. Defaults to `"group"`.
            instance: Name of the dimension. Defaults to `"instance"`.

        Returns:
            The groups.

        Raises:
            InputError: Dimensions or variables are missing, or values cannot be used.

        Example:
        >>> groups = GroupedData(np.ones((3, 2, 4)), axis=[5.0, 6.0, 7.0, 8.0],
        ...                      axis_label="wavelength (nm)")
        >>> GroupedData.from_xarray(groups.to_xarray()).axis_label
        'wavelength (nm)'
        """
        return cls(**fields_of_xarray(data, group, instance))

    def to_xarray(self) -> Any:
        """Return an xarray data set with named dimensions and the unit of the axis.

        The dimensions are `group`, `instance`, and the name of the axis, such as
        `wavelength`, or `pixel` without an axis. Images have `height`, `width` and
        `channel`. The variables are `x`, `present` (the mask), `good_pixels`,
        `weights`, and all metadata and true parameters by their names. Install xarray
        with `pip install "symae_keras[data]"`.

        Returns:
            A `xarray.Dataset` that `from_xarray` can read.

        Raises:
            InputError: xarray is not installed, or two variables would have the same
                name.
        """
        return xarray_of(self)

    @classmethod
    def from_specutils(cls, spectra: Iterable[Any], ids: Any) -> Self:
        """Make groups from specutils spectra, such as a `SpectrumList`.

        Flux and axis are converted to the units of the first spectrum. Masked and
        non-finite pixels are False in `pixel_mask`. Uncertainties become weights, the
        inverse variances. A spectrum can be any object whose `flux` and `spectral_axis`
        are astropy quantities; `mask` and `uncertainty` are optional. specutils itself
        is not needed.

        Args:
            spectra: One spectrum of shape `(pixels,)` per instance, all on the same
                axis.
            ids: The group of each spectrum, `(spectra,)`, numbers or text.

        Returns:
            Groups sorted by their ids, with `axis` and `axis_label`. If their sizes
            differ, they are padded and have a `mask`.

        Raises:
            InputError: Axes or units differ, only some spectra have an uncertainty, or
                `ids` does not name the group of every spectrum.

        Example:
        >>> from types import SimpleNamespace
        >>> from astropy import units as u
        >>> def spectrum(level):
        ...     flux, axis = level * np.ones(3) * u.Jy, [500.0, 501.0, 502.0] * u.nm
        ...     return SimpleNamespace(flux=flux, spectral_axis=axis)
        >>> spectra = [spectrum(1.0), spectrum(2.0), spectrum(3.0)]
        >>> groups = GroupedData.from_specutils(spectra, ["sun", "moon", "sun"])
        >>> groups.x.shape, groups.axis_label
        ((2, 2, 3), 'wavelength (nm)')
        """
        return cls(**fields_of_spectra(spectra, ids))

    # === Truth ===

    def virtual(self, state: Any, group: Any, instance: Any) -> Array:
        """Return the exact noiseless instance for a given state and nuisance.

        Args:
            state: Index of the group whose state is used.
            group: Index of the group whose nuisance is used.
            instance: Index of the instance in `group` whose nuisance is used. The three
                index arrays broadcast against each other.

        Returns:
            float32 array of the broadcast shape followed by `instance_shape`.

        Raises:
            InputError: The data are measured and not simulated, so there is no ground
                truth.
        """
        if self.render is None:
            raise InputError(
                "These groups have no exact virtual instances: only simulated data "
                "have them."
            )
        state, group, instance = np.broadcast_arrays(state, group, instance)
        rows = self.render(
            {k: v[state.ravel()] for k, v in self.state.items()},
            {k: v[group.ravel(), instance.ravel()] for k, v in self.nuisance.items()},
        )
        return rows.reshape(*state.shape, *self.instance_shape)


def _known(name: str, values: Parameters, leading: tuple[int, ...]) -> Parameters:
    """Convert parameters or metadata to arrays, and check their leading axes."""
    arrays = {}
    for key, value in values.items():
        arrays[key] = metadata(f"{name}[{key!r}]", value)
        if arrays[key].shape[: len(leading)] != leading:
            raise InputError(
                f"{name}[{key!r}] must start with the axes {leading}; received shape "
                f"{arrays[key].shape}."
            )
    same = all(arrays[key] is value for key, value in values.items())
    return values if same else arrays


def _over_instances(name: str, values: Array, shape: tuple[int, ...]) -> Array:
    """Return a view of the shape of `x`, without copies of repeated values."""
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise InputError(
            f"{name} must have the shape of x, here {shape}, or one that broadcasts "
            f"to it; received {values.shape}."
        ) from None


def check_counts(n_states: int, n_instances: int) -> None:
    """Raise an error for fewer than one state or one instance."""
    if n_states < 1 or n_instances < 1:
        raise InputError(
            "n_states and n_instances must be at least 1; "
            f"received {n_states} and {n_instances}."
        )


def in_chunks(
    render: Render, shape: tuple[int, ...], rows_at_once: int, *parameters: Parameters
) -> Array:
    """Render rows of state and nuisance parameters in chunks to limit memory."""
    rows = len(next(iter(parameters[0].values())))
    out = np.empty((rows, *shape), "float32")
    for start in range(0, rows, rows_at_once):
        part = slice(start, start + rows_at_once)
        out[part] = render(*({k: v[part] for k, v in p.items()} for p in parameters))
    return out
