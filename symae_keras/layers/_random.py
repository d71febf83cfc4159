"""Seeds that differ between replicas; base classes of layers that keep the shape."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import invalid, is_integer

#: Distance between the seeds of two replicas. It is large because the seeds of layers
#: in one model are close to each other.
_STRIDE = 1_000_000_007


@keras.saving.register_keras_serializable(package="symae_keras")
class SeedGenerator(keras.random.SeedGenerator):
    """A `keras.random.SeedGenerator` whose random numbers differ between replicas.

    Under `tf.distribute`, every replica holds the same state. With Keras's own
    generator, all replicas would draw the same noise for different rows. This class
    adds the index of the replica, times a large number, to the seed. On one device, on
    the first replica and on other backends, the random numbers, the state and the saved
    files are those of Keras.

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
        """Return the next seed of this replica."""
        seed = super().next(ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        # Imported here because layers run on every backend.
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        replica = ops.cast(context.replica_id_in_sync_group, seed.dtype)
        offset = replica * ops.cast(_STRIDE, seed.dtype)
        return seed + ops.stack([offset, ops.zeros_like(offset)])


class KeepsShape(keras.Layer):
    """Base class of layers whose output has the shape and the mask of the input."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def _leading(self, inputs: Tensor, n_axes: int) -> int:
        """Return the number of axes before those of an instance, or raise."""
        if len(inputs.shape) < n_axes:
            raise ValueError(
                f"`{type(self).__name__}` expects inputs of rank {n_axes} or more. "
                f"Received: inputs of shape {tuple(inputs.shape)}"
            )
        return len(inputs.shape) - n_axes

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class TrainingNoise(KeepsShape):
    """Base class of layers that draw random numbers and are active only in training.

    A subclass implements `_alter`, which returns the changed input and draws from
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
        """Draw from [0, 1) in float32, because coarse draws would miss small rates."""
        shape = ops.shape(inputs)
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        return self._alter(inputs) if training else inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
