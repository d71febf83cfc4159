"""Loss terms that layers add."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.moved import renamed
from symae_keras._utils.validation import invalid, not_negative, positive_or_none
from symae_keras.layers._random import KeepsShape, SeedGenerator


class LossTerm(keras.Layer):
    """Base class of layers that add a loss: divergences, penalties, adversaries.

    `add_loss` alone adds a loss without a name. A subclass calls `add_term` in its
    `call`. Models of this package log the value under `term_name`, in addition to the
    reconstruction loss, so that the terms in the history add up to the loss.

    Layers can also log measured values that are not part of the loss. The layer only
    passes the values on, and the model averages them in its `compute_loss`, because on
    JAX a metric cannot be updated in `call`.

    Args:
        term_name: Name in the history; it ends in `_loss`.
        measured: Names in the history of values that are only measured. Defaults to
            `()`.
    """

    def __init__(
        self, term_name: str, measured: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.term_name = term_name
        self.logged_names = (term_name, *measured)
        # A tuple, because Keras wraps dictionaries and tracks each one that it wraps.
        self._logged: tuple[Tensor, ...] = ()

    def add_term(self, value: Tensor, *measured: Tensor) -> None:
        """Add a scalar, already weighted, to the loss of the model.

        Args:
            value: The loss.
            measured: Scalars, in the order of their names.
        """
        # Keras sums all losses in this dtype, which its losses also have.
        self.add_loss(ops.cast(value, keras.config.floatx()))
        self._logged = (value, *measured)

    def take_logged(self) -> dict[str, Tensor]:
        """Return the values of the last call by name, once; empty without a new call.

        The values are returned only once because they may be tracers, which must not
        outlive their training step.
        """
        values, self._logged = self._logged, ()
        return dict(zip(self.logged_names, values, strict=True)) if values else {}

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Tensor | None:
        """Return the mask that the (first) input carries.

        A mask that was passed only to the call is not propagated, since it only marks
        the instances that count in the loss.
        """
        return getattr(keras.tree.flatten(inputs)[0], "_keras_mask", None)


class Penalty(LossTerm, KeepsShape):
    """Base class of weighted losses of inputs that are returned unchanged."""

    def __init__(self, term_name: str, weight: float, **kwargs: Any) -> None:
        super().__init__(term_name, **kwargs)
        self.weight = not_negative("weight", weight)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.weight}


def first(masks: Any) -> Tensor | None:
    """Return the mask of the first input, if Keras passes a list of masks."""
    return masks[0] if isinstance(masks, (list, tuple)) else masks


def over_axes(mask: Tensor, values: Tensor) -> Tensor:
    """Return the mask with axes of length 1 for the axes of the values it lacks."""
    mask = ops.cast(mask, "bool")
    rest = (1,) * (len(values.shape) - len(mask.shape))
    return ops.reshape(mask, (*ops.shape(mask), *rest))


def blank_absent(values: Tensor, mask: Tensor | None) -> Tensor:
    """Set absent instances to 0; a weight of 0 would not remove NaN."""
    if mask is None:
        return values
    return ops.where(over_axes(mask, values), values, 0.0)


def mean_of_present(values: Tensor, mask: Tensor | None, axis: Any = None) -> Tensor:
    """Compute the mean over present instances, or 0 if there are none.

    Values must be finite, in float32; `axis` must include all axes of the mask.
    """
    if mask is None:
        return ops.mean(values, axis=axis)
    weights = ops.cast(over_axes(mask, values), "float32")
    # The share of present instances is exactly 1 if all are present, and it is at least
    # one divided by their number.
    share = ops.maximum(ops.mean(weights), 1e-12)
    return ops.mean(values * weights, axis=axis) / share


# The distance between 1 and the next larger number is 2^-n.
_PRECISION_BITS = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}


@keras.saving.register_keras_serializable(package="symae_keras")
@renamed("__init__", n_directions="num_directions")
@renamed("__call__", instance_mask="mask")
class JacobianPenalty(Penalty):
    """Squared Frobenius norm of a function's Jacobian, added to the loss.

    For a function `f`, usually an encoder, the loss is `weight` times the mean over the
    batch of `|df/dx|^2`, the sum of the squares of all entries of the Jacobian.
    Directions `v` with random signs have `E[v v^T] = 1`, so that

        E |(f(x + h v) - f(x - h v)) / (2 h)|^2  =  |df/dx|^2 + O(h^2).

    Each direction takes two more calls of `f`. The step `h` is the cube root of the
    precision of the compute dtype. For inputs of about unit scale, this balances the
    error `O(h^2)` with rounding errors. Scale other inputs first.

    Args:
        weight: Weight of the loss, not negative. Defaults to 1e-3.
        num_directions: Number of random directions per instance. `None` uses all unit
            vectors: the result is not random, but takes the memory of two copies of an
            instance for each of its elements. Defaults to 1.
        seed: Integer seed of the directions, or `None`.

    Call arguments:
        inputs: Tensor `(batch, ...)`.
        function: Callable from a tensor like the inputs, with a batch of any length, to
            a tensor `(batch, ...)`. It must return the same value for an instance in
            every call. If it contains layers such as dropout, call them with
            `training=False`, and after all other calls.
        mask: Boolean tensor `(batch,)`, True = present, or `None`. Absent
            instances are excluded from the loss.

    Output shape:
        Same as the input, which is returned unchanged.

    Reference:
        - [Rifai et al., Contractive auto-encoders,
          2011](https://icml.cc/2011/papers/455_icmlpaper.pdf)
        - [Hutchinson, 1990](https://doi.org/10.1080/03610919008812866), for the
          estimate of a trace from random signs

    Example:
    >>> from keras import ops
    >>> layer = JacobianPenalty(weight=1.0, num_directions=None)
    >>> x = layer(ops.ones((4, 3)), function=lambda x: 2.0 * x)
    >>> round(float(layer.losses[0]), 2)  # three entries of 2 squared
    12.0
    """

    def __init__(
        self,
        weight: float = 1e-3,
        num_directions: int | None = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__("contractive_loss", weight, **kwargs)
        self.num_directions = positive_or_none("num_directions", num_directions)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)

    def call(
        self,
        inputs: Tensor,
        function: Callable[[Tensor], Tensor],
        mask: Tensor | None = None,
    ) -> Tensor:
        step = math.cbrt(2.0 ** -_PRECISION_BITS[self.compute_dtype])
        shift = step * self._directions(inputs)
        middle = blank_absent(inputs, mask)
        points = ops.concatenate([middle + shift, middle - shift])
        values = function(ops.reshape(points, (-1, *inputs.shape[1:])))
        # (side, direction, instance, element)
        split = (2, shift.shape[0], -1, math.prod(values.shape[1:]))
        values = ops.reshape(ops.cast(values, "float32"), split)
        slopes = (values[0] - values[1]) / (2.0 * step)
        norms = ops.sum(ops.square(slopes), axis=-1)
        of_each = None if mask is None else ops.expand_dims(mask, 0)
        squares = mean_of_present(norms, of_each, axis=-1)
        total = ops.sum if self.num_directions is None else ops.mean
        self.add_term(self.weight * total(squares))
        return inputs

    def _directions(self, inputs: Tensor) -> Tensor:
        """Return directions `(n, batch or 1, ...)`."""
        shape = tuple(inputs.shape[1:])
        if self.num_directions is None:
            size = math.prod(shape)
            unit = ops.eye(size, dtype=inputs.dtype)
            return ops.reshape(unit, (size, 1, *shape))
        coins = keras.random.randint(
            (self.num_directions, *ops.shape(inputs)), 0, 2, seed=self.seed_generator
        )
        return 2 * ops.cast(coins, inputs.dtype) - 1

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_directions": self.num_directions,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="symae_keras")
class ReconstructionPenalty(Penalty):
    """Mean squared error of a reconstruction, added to the loss.

    It is for models whose output is something else, such as a segmentation, and which
    also reconstruct their input. The mean is over all values and is computed in
    float32. The error of masked values counts as zero.

    Args:
        weight: Weight of the loss, not negative. Defaults to 0.1.

    Call arguments:
        inputs: Pair of the ground truth and its reconstruction, of the same shape.
        pixel_mask: Boolean tensor of that shape, True = good, or `None`.

    Output shape:
        Same as the reconstruction, which is returned unchanged.

    Example:
    >>> from keras import ops
    >>> layer = ReconstructionPenalty(weight=1.0)
    >>> reconstruction = layer((ops.ones((4, 3)), 3.0 * ops.ones((4, 3))))
    >>> float(layer.losses[0])
    4.0
    """

    def __init__(self, weight: float = 0.1, **kwargs: Any) -> None:
        super().__init__("reconstruction_loss", weight, **kwargs)
        self.autocast = False  # the loss is computed in float32

    def call(
        self, inputs: tuple[Tensor, Tensor], pixel_mask: Tensor | None = None
    ) -> Tensor:
        truth, reconstruction = (ops.cast(each, "float32") for each in inputs)
        error = ops.square(reconstruction - truth)
        if pixel_mask is not None:
            error = ops.where(ops.cast(pixel_mask, "bool"), error, 0.0)
        self.add_term(self.weight * ops.mean(error))
        return inputs[1]

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        return tuple(input_shape[1])


@keras.saving.register_keras_serializable(package="symae_keras")
class WeightPenalty(LossTerm, KeepsShape):
    """Regulariser of some weights, added to the loss.

    Unlike the argument `kernel_regularizer` of Keras's layers, it also works for
    networks that were built without one. The model logs it as `weight_decay_loss`.

    Args:
        regularizer: A `keras.regularizers.Regularizer`, such as
            `keras.regularizers.L1L2(l1=1e-6, l2=1e-5)`.

    Call arguments:
        inputs: List of weights, tensors of any shape.

    Output shape:
        That of the weights, which are returned unchanged.

    Example:
    >>> import keras
    >>> layer = WeightPenalty(keras.regularizers.L2(0.5))
    >>> weights = layer([keras.ops.ones((2, 3))])
    >>> float(layer.losses[0])
    3.0
    """

    def __init__(
        self, regularizer: keras.regularizers.Regularizer, **kwargs: Any
    ) -> None:
        super().__init__("weight_decay_loss", **kwargs)
        self.regularizer = keras.regularizers.get(regularizer)
        if self.regularizer is None:
            raise invalid("regularizer", "a keras.regularizers.Regularizer", None)
        self.built = True

    def call(self, inputs: list[Tensor]) -> list[Tensor]:
        weights = [keras.ops.cast(each, "float32") for each in inputs]
        self.add_term(sum(self.regularizer(each) for each in weights))
        return inputs

    def get_config(self) -> dict[str, Any]:
        regularizer = keras.saving.serialize_keras_object(self.regularizer)
        return {**super().get_config(), "regularizer": regularizer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightPenalty:
        config = dict(config)
        config["regularizer"] = keras.saving.deserialize_keras_object(
            config["regularizer"]
        )
        return cls(**config)
