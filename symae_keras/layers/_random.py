"""Seeds that differ between replicas, and the base of layers with training noise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from symae_keras._utils.types import Shape, Tensor
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

    Args:
        seed: Integer seed, or `None` for a random one.
        name: Name of the generator, or `None` for Keras's choice.

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
        replica = _replica()
        if replica is None:
            return seed
        offset = ops.cast(replica, seed.dtype) * ops.cast(_STRIDE, seed.dtype)
        return seed + ops.stack([offset, ops.zeros_like(offset)])


def _replica() -> Any:
    """Number of the running replica, `None` where there is but one."""
    if keras.backend.backend() != "tensorflow":
        return None
    # Not at the top: layers run on every backend.
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context.replica_id_in_sync_group


class TrainingNoise(keras.Layer):
    """Base of the layers that draw random numbers in training and else do nothing.

    A subclass says in `_alter` what becomes of the input in training; it draws from
    `seed_generator`.

    Args:
        seed: Integer seed of the draws, or `None`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def _alter(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        return self._alter(inputs) if training else inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
