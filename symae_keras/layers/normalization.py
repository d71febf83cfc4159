"""Normalisation of instances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import invalid, is_integer, positive
from symae_keras.layers._random import KeepsShape

# With scales in this range, no quotient overflows or underflows in float32.
_SMALLEST, _LARGEST = 1e-30, 1e30
_ROWS_AT_ONCE = 2048

_Array = npt.NDArray[Any]


@keras.saving.register_keras_serializable(package="symae_keras")
class Standardization(KeepsShape):
    """Subtraction of a mean and division by a scale: `(x - mean) / scale`.

    `Standardization.of` computes both from data, and `inverse` converts back to the
    units of the data. Mean and scale are non-trainable weights and are saved with the
    weights of a model. The config contains only their shapes. A layer made by
    `from_config` or `keras.models.clone_model` therefore has no constants until weights
    are loaded or set: its outputs are NaN, and `mean` and `scale` raise an error.
    Configs of version 0.1 contain the values and need no weights.

    Everything is computed in float32 or higher. Inputs are not cast to half precision
    first, so fluxes of 1e-17 need no other unit.

    Args:
        mean: Number, or array that broadcasts to an instance; `None` (default) means 0.
        scale: Number from 1e-30 to 1e30, or array of such numbers that broadcasts to an
            instance; `None` (default) means 1.

    Call arguments:
        inputs: Tensor `(..., *instance_shape)`.
        pixel_mask: Boolean tensor that broadcasts to that shape, True = good, or `None`
            if all pixels are good. Bad pixels become 0, as if their value were the
            mean.

    Output shape:
        Same as the input.

    Example:
    >>> spectra = 1e-17 * np.array([[[1.0, 5.0], [3.0, 5.0]]])
    >>> layer = Standardization.of(spectra)
    >>> [round(1e17 * float(value), 3) for value in layer.mean], layer.scale.shape
    ([2.0, 5.0], ())
    >>> round(float(ops.max(layer(spectra))), 4)  # (3 - 2) / sqrt((1 + 0) / 2)
    1.4142
    """

    def __init__(
        self,
        mean: npt.ArrayLike | None = None,
        scale: npt.ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._given_mean = _constant("mean", 0.0 if mean is None else mean, -_LARGEST)
        self._given_scale = _constant(
            "scale", 1.0 if scale is None else scale, _SMALLEST
        )
        # Fluxes of 1e-17 would become zeros in half precision.
        self.autocast = False

    @property
    def mean(self) -> _Array:
        """Mean that is subtracted, in float64; raises if no value has been set."""
        return self._exact("mean")

    @property
    def scale(self) -> _Array:
        """Scale that divides, in float64; raises if no value has been set."""
        return self._exact("scale")

    def _exact(self, name: str) -> _Array:
        value = self._value(name)
        if np.isnan(value).any():
            raise ValueError(
                f"The {name} of the layer `{self.name}` is not known, because it was "
                "made from a config. Load the weights of the layer, or make it with "
                "`Standardization.of(x)`."
            )
        return value

    def _value(self, name: str) -> _Array:
        """Return the given values in float64, or weights that were loaded later."""
        given = np.asarray(getattr(self, f"_given_{name}"))
        if not self.built:
            return given
        weight = ops.convert_to_numpy(getattr(self, f"_{name}"))
        rounded = np.array_equal(weight, given.astype(weight.dtype))
        return given if rounded else np.asarray(weight, "float64")

    def build(self, input_shape: Any = None) -> None:
        self._mean = self._add_constant("mean", self._given_mean)
        self._scale = self._add_constant("scale", self._given_scale)

    def _add_constant(self, name: str, value: _Array) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=value.shape,
            dtype=self._float_dtype,
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
        )

    def load_own_variables(self, store: Any) -> None:
        """Load the weights; files of version 0.1 store them only in the config."""
        if store.keys() or np.isnan(self._given_mean).any():
            super().load_own_variables(store)

    @classmethod
    def of(
        cls,
        x: npt.ArrayLike,
        mask: npt.ArrayLike | None = None,
        pixel_mask: npt.ArrayLike | None = None,
        instance_axes: int = 1,
        per_pixel: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Compute the standardisation that gives good data entries unit scale.

        For spectra `(pixels,)`, the mean is computed per pixel. For instances with more
        axes, the last axis is the channels, and the mean is computed per channel over
        all pixels. The scale is one common number: the square root of the variance of
        each pixel, averaged over pixels. Dividing each pixel by its own scale would
        amplify pixels that contain only noise. Pixels that are never good get the
        average mean of the others. If no pixel varies by more than rounding errors, the
        scale is 1.

        Sums are in float64 and over one part of the data at a time, so that
        memory-mapped arrays stay on disk.

        Args:
            x: Instances `(groups, instances, *instance_shape)`, with any number of axes
                before the instance.
            mask: Mask of present instances, shape `(groups, instances)`, or `None`.
            pixel_mask: Mask of good pixels; broadcasts to `x`. `None` means all.
            instance_axes: Number of trailing axes of an instance.
            per_pixel: Whether each pixel gets a separate scale.
            **kwargs: Arguments of the layer, such as `name` and `dtype`.

        Returns:
            A layer.

        Raises:
            ValueError: The masks do not fit `x`, no entry is good, or a good entry is
                not finite.
        """
        count, own_mean, variances = pixel_moments(x, mask, pixel_mask, instance_axes)
        seen = count > 0
        own_size = np.abs(own_mean)
        if not per_pixel:
            variances = variances[seen].mean()
            own_size = own_size[seen].max()
        scale = np.sqrt(variances)
        # A spread below the rounding error of float32 counts as zero.
        constant = scale <= np.finfo("float32").eps * own_size
        if instance_axes == 1:
            mean = np.where(seen, own_mean, own_mean[seen].mean())
        else:
            axes = tuple(range(instance_axes - 1))
            total = (count * own_mean).sum(axis=axes)
            mean = total / np.maximum(count.sum(axis=axes), 1)
        return cls(mean, np.where(constant, 1.0, scale), **kwargs)

    def call(self, inputs: Tensor, pixel_mask: Tensor | None = None) -> Tensor:
        x = ops.cast(inputs, self._float_dtype)
        mean, scale = self.mean_and_scale()
        x = (x - mean) / scale
        if pixel_mask is not None:
            x = ops.where(ops.cast(pixel_mask, "bool"), x, ops.zeros_like(x))
        return ops.cast(x, self.compute_dtype)

    def inverse(self, inputs: Tensor) -> Tensor:
        """Convert back to the units of the data: `x * scale + mean`.

        Args:
            inputs: Tensor, as the layer returns it.

        Returns:
            Tensor of the same shape, in float32 at least.
        """
        mean, scale = self.mean_and_scale()
        return ops.cast(inputs, self._float_dtype) * scale + mean

    def mean_and_scale(self, dtype: str | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and scale, by default in the dtype of the weights."""
        if not self.built:
            self.build()
        dtype = dtype or self._float_dtype
        return ops.cast(self._mean, dtype), ops.cast(self._scale, dtype)

    @property
    def _float_dtype(self) -> str:
        return str(keras.backend.result_type(self.compute_dtype, "float32"))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mean_shape": list(self._given_mean.shape),
            "scale_shape": list(self._given_scale.shape),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Rebuild the layer; it has constants only if the config contains them."""
        config = dict(config)
        shapes = {name: config.pop(f"{name}_shape", None) for name in ("mean", "scale")}
        layer: Self = super().from_config(config)
        for name, shape in shapes.items():
            if shape is not None:
                setattr(layer, f"_given_{name}", np.full(shape, np.nan))
        return layer

    def take_constants(self, other: Standardization) -> None:
        """Copy the mean and scale of another layer before this one is built."""
        self._given_mean, self._given_scale = map(other._value, ("mean", "scale"))


def _constant(name: str, value: npt.ArrayLike, least: float) -> _Array:
    """Return numbers that are safe to subtract or divide by, or raise an error."""
    expected = f"finite numbers from {least} to {_LARGEST}"
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal lengths
        raise invalid(name, expected, repr(value)) from None
    # NaN fails every comparison.
    if array.dtype.kind not in "iuf" or not np.all(
        (array >= least) & (array <= _LARGEST)
    ):
        raise invalid(name, expected, value)
    return array.astype("float64")


class Moments(NamedTuple):
    """Moments of each pixel; arrays of the shape of an instance."""

    n_good: _Array
    """Number of good entries."""
    mean: _Array
    """Mean of the good entries, or 0 if there are none."""
    variances: _Array
    """Variance of the good entries around the mean."""

    @property
    def variance(self) -> float:
        """Return the variance, averaged over pixels that have good entries."""
        return float(self.variances[self.n_good > 0].mean())


def pixel_moments(
    x: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    pixel_mask: npt.ArrayLike | None = None,
    instance_axes: int = 1,
) -> Moments:
    """Compute mean and variance of good entries per pixel; see `Standardization.of`."""
    x = np.asanyarray(x)
    if not is_integer(instance_axes, 1) or instance_axes >= x.ndim:
        expected = f"1 or more, and fewer than the {x.ndim} axes of x"
        raise invalid("instance_axes", expected, repr(instance_axes))
    shape = x.shape[-instance_axes:]
    good = _joint_mask(x.shape, instance_axes, mask, pixel_mask)
    count = np.zeros(shape)
    total = np.zeros(shape)
    for values, kept in _parts(x, good, instance_axes):
        count += kept.sum(axis=0)
        total += np.where(kept, values, 0.0).sum(axis=0)
    if not count.any():
        found = f"an array of shape {x.shape} that is empty or masked completely"
        raise invalid("x", "at least one good entry", found)
    if not np.isfinite(total).all():
        expected = "finite numbers wherever the masks say present and good"
        raise invalid("x", expected, "an array with NaN or infinity")
    mean = total / np.maximum(count, 1)
    squares = np.zeros(shape)
    for values, kept in _parts(x, good, instance_axes):
        squares += (np.where(kept, values - mean, 0.0) ** 2).sum(axis=0)
    return Moments(count, mean, squares / np.maximum(count, 1))


def _joint_mask(
    shape: tuple[int, ...],
    instance_axes: int,
    mask: npt.ArrayLike | None,
    pixel_mask: npt.ArrayLike | None,
) -> tuple[_Array, _Array]:
    """Return both masks as views of the shape of the data; this takes no memory."""
    leading = shape[:-instance_axes]
    present = np.asarray(True if mask is None else mask, bool)
    if mask is not None and present.shape != leading:
        expected = f"the shape {leading} of x without its instance axes"
        raise invalid("mask", expected, f"an array of shape {present.shape}")
    if mask is not None:
        present = present.reshape(*leading, *(1,) * instance_axes)
    good = np.asanyarray(True if pixel_mask is None else pixel_mask)
    try:
        good = np.broadcast_to(good, shape)
    except ValueError:
        expected = f"a shape that broadcasts to {shape}"
        found = f"an array of shape {good.shape}"
        raise invalid("pixel_mask", expected, found) from None
    return np.broadcast_to(present, shape), good


def _parts(
    x: _Array, masks: tuple[_Array, _Array], instance_axes: int
) -> Iterator[tuple[_Array, _Array]]:
    """Yield parts of the instances as float64 rows, with masks of counted entries."""
    instance_shape = x.shape[-instance_axes:]
    rows_each = int(np.prod(x.shape[1:-instance_axes]))
    step = max(1, _ROWS_AT_ONCE // max(rows_each, 1))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        kept = masks[0][part] & masks[1][part].astype(bool)
        values = np.asarray(x[part], "float64")
        rows = (-1, *instance_shape)
        yield values.reshape(rows), kept.reshape(rows)


# Bad pixels are set to this value, so that sorting puts them last.
_LAST = 1e38


@keras.saving.register_keras_serializable(package="symae_keras")
class MedianNormalization(KeepsShape):
    """Division of each instance by the median of its pixels.

    The division removes the brightness of a spectrum, and a few deep lines or cosmic
    rays do not change the median. The median is computed over good pixels. For an even
    number of them it is the mean of the two middle values, as in NumPy. An instance is
    not divided if it has no good pixels or a zero median (below 1e-30). Everything is
    computed in float32 or higher; inputs are not cast to half precision first.

    Args:
        pixel_axes: Number of trailing pixel axes: 1 for `(pixels,)`, 2 for
            `(pixels, channels)` or grey images. Defaults to 1.

    Call arguments:
        inputs: Tensor `(..., *instance_shape)` with at least `pixel_axes` axes.
        pixel_mask: Boolean tensor that broadcasts to that shape, True = good, or `None`
            if all pixels are good. Bad pixels become 0.

    Output shape:
        Same as the input.

    Example:
    >>> from keras import ops
    >>> layer = MedianNormalization()
    >>> x = ops.array([[2.0, 4.0, 9.0]])
    >>> ops.convert_to_numpy(layer(x)).tolist()
    [[0.5, 1.0, 2.25]]
    >>> good = ops.array([[True, True, False]])
    >>> ops.convert_to_numpy(layer.scale(x, pixel_mask=good)).tolist()
    [[3.0]]
    """

    def __init__(self, pixel_axes: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pixel_axes = positive("pixel_axes", pixel_axes)
        # Fluxes of 1e-17 would become zeros in half precision.
        self.autocast = False
        self.built = True

    def call(self, inputs: Tensor, pixel_mask: Tensor | None = None) -> Tensor:
        x, good = self._prepare(inputs, pixel_mask)
        return ops.cast(x / self._median(x, good), self.compute_dtype)

    def scale(self, inputs: Tensor, pixel_mask: Tensor | None = None) -> Tensor:
        """Return the divisors that `call` uses.

        Args:
            inputs: As in a call.
            pixel_mask: As in a call.

        Returns:
            Medians, with pixel axes of length 1; 1 if an instance is not divided.
        """
        if isinstance(inputs, keras.KerasTensor):
            leading = tuple(inputs.shape)[: len(inputs.shape) - self.pixel_axes]
            return keras.KerasTensor((*leading, *(1,) * self.pixel_axes), self._dtype)
        return self._median(*self._prepare(inputs, pixel_mask))

    @property
    def _dtype(self) -> str:
        return str(keras.backend.result_type(self.compute_dtype, "float32"))

    def _prepare(
        self, inputs: Tensor, pixel_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return inputs in float32 or higher with bad pixels 0, and the full mask."""
        x = ops.cast(ops.convert_to_tensor(inputs), self._dtype)
        good = ops.ones_like(x, dtype="bool")
        if pixel_mask is None:
            return x, good
        good = ops.logical_and(good, ops.cast(pixel_mask, "bool"))
        return ops.where(good, x, ops.zeros_like(x)), good

    def _median(self, x: Tensor, good: Tensor) -> Tensor:
        leading = tuple(ops.shape(x))[: self._leading(x, self.pixel_axes)]
        lifted = ops.where(good, x, ops.full_like(x, _LAST))
        lifted = ops.sort(ops.reshape(lifted, (*leading, -1)), axis=-1)
        n_good = ops.reshape(ops.cast(good, "int32"), (*leading, -1))
        n_good = ops.sum(n_good, axis=-1, keepdims=True)
        # The two middle positions; for an odd number, both are the same.
        place = ops.arange(ops.shape(lifted)[-1], dtype="int32")
        zeros = ops.zeros_like(lifted)
        lower = ops.where(place == (n_good - 1) // 2, lifted, zeros)
        upper = ops.where(place == n_good // 2, lifted, zeros)
        median = 0.5 * ops.sum(lower + upper, axis=-1, keepdims=True)
        usable = ops.logical_and(n_good > 0, ops.abs(median) >= _SMALLEST)
        # Choose before dividing, so that no gradient is infinite.
        median = ops.where(usable, median, ops.ones_like(median))
        return ops.reshape(median, (*leading, *(1,) * self.pixel_axes))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pixel_axes": self.pixel_axes}
