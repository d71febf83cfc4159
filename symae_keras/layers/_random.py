"""Seeds that differ between replicas, and bases of layers that keep the shape."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import invalid, is_integer

#: Between the seeds of two replicas; large, since layers of one model have seeds
#: that differ by little.
_STRIDE = 1_000_000_007


@keras.saving.register_keras_serializable(package="symae_keras")
class SeedGenerator(keras.random.SeedGenerator):
    """A `keras.random.SeedGenerator` whose numbers differ from replica to replica.

    Under `tf.distribute` every replica holds the same state, so that with Keras's own
    generator all of them draw the same noise for rows that are not the same. Here the
    number of the replica, times a large one, is added to the seed. On one device, on
    the first replica, and on other backends the numbers are those of Keras; state and
    saved files are, too.

    Example:
    >>> ours, theirs = SeedGenerator(3), keras.random.SeedGenerator(3)
    >>> draw = keras.random.normal((2,), seed=ours)
    >>> bool(ops.all(draw == keras.random.normal((2,), seed=theirs)))
    True
    """

    def __init__(
        self, seed: int | None = None, name: str | None = None, **kwargs: Any
    ) -> None:
        if not (seed is None or is_integer(seed, 0)):
            raise invalid("seed", "an integer >= 0 or None", repr(seed))
        super().__init__(None if seed is None else int(seed), name, **kwargs)

    def next(self, ordered: bool = True) -> Any:
        """The next seed, of this replica."""
        seed = super().next(ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        # Not at the top: layers run on every backend.
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        replica = ops.cast(context.replica_id_in_sync_group, seed.dtype)
        offset = replica * ops.cast(_STRIDE, seed.dtype)
        return seed + ops.stack([offset, ops.zeros_like(offset)])


class KeepsShape(keras.Layer):
    """Base of the layers whose output has the shape and the mask of the input."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def _leading(self, inputs: Tensor, n_axes: int) -> int:
        """Number of axes before those of an instance, of which there must be enough."""
        if len(inputs.shape) < n_axes:
            raise ValueError(
                f"`{type(self).__name__}` expects inputs of rank {n_axes} or more. "
                f"Received: inputs of shape {tuple(inputs.shape)}"
            )
        return len(inputs.shape) - n_axes

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class TrainingNoise(KeepsShape):
    """Base of the layers that draw random numbers in training and else do nothing.

    A subclass says in `_alter` what becomes of the input in training; it draws from
    `seed_generator`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.built = True

    def _alter(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def _uniform(self, inputs: Tensor) -> Tensor:
        """Numbers from 0 to 1 in float32: a coarse draw would miss small rates."""
        shape = ops.shape(inputs)
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        return self._alter(inputs) if training else inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
