"""The linear part of a symmetric autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from symae_keras._utils.arrays import Shape, Tensor
from symae_keras._utils.validation import boolean, positive, share, sizes
from symae_keras.layers._linear_start import coordinates, linear_answer
from symae_keras.layers.pooling import DeepSetsPooling


@keras.saving.register_keras_serializable(package="symae_keras")
class LinearBackbone(keras.Layer):
    """Linear encoders and a linear decoder of groups with a bilinear coupling.

    `z[t]` is an instance in soft-whitened coordinates (see below):

        nuisance guess    n[t] = z[t] R
        coherent code     C    = mean_t ((z[t] S) * (1 + gate(n[t])) + shift(n[t]))
        nuisance code     N[t] = n[t] + C F
        reconstruction    (C * (1 + N[t] G)) A + N[t] B + b

    `gate` and `shift` are affine. `gate`, `shift` and `G` start at zero, so the layer
    is linear at first. `adapt` computes the other weights from groups in closed
    form, similar to `keras.layers.Normalization.adapt`:

    - The coordinates are `z = scale * (x - mean) W`. `W` divides each principal
      component of the instances by `(s + 0.05 s_1)^w`, where `s` is its standard
      deviation and `s_1` is the largest one. `w = 0.5` is half-way to whitening. A loss
      on `z` gives more weight to small features of the instances. `W` is symmetric, so
      neighbouring pixels stay neighbours. `scale` keeps the variance.
    - `S`, `A` and `b` predict the state of a `symae_keras.classical.LinearMixedModel`
      of the first 64 principal components: `C A` is its posterior mean, from as many
      instances as training uses on average, along its principal axes.
    - `R` and `B` contain the principal axes of its nuisances, and `F` subtracts the
      state: `N[t] = (z[t] - C A) R`. Without `F`, `N[t]` is the posterior mean of the
      nuisance, given the instance alone.

    Before `adapt`, `z` is the instance itself and the kernels are random.

    Args:
        instance_shape: Shape of one instance.
        coherent_dim: Size of the coherent code.
        nuisance_dim: Size of the nuisance code.
        conditional_nuisance: Whether the layer has `F`. Defaults to True.

    Call arguments:
        inputs: Normalised instances `(batch, instances, *instance_shape)`.
        mask: Boolean tensor `(batch, instances)`, True = present, or `None`.

    Output shape:
        Same as the input.

    Reference:
        - [Prince & Elder, Probabilistic linear discriminant analysis for inferences
          about identity, 2007](https://doi.org/10.1109/ICCV.2007.4409052), for the
          linear model of groups
        - [Tenenbaum & Freeman, Separating style and content with bilinear models,
          2000](https://doi.org/10.1162/089976600300015349)

    Example:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> state, nuisance = rng.normal(size=(50, 1, 2)), rng.normal(size=(50, 4, 1))
    >>> x = state @ rng.normal(size=(2, 16)) + nuisance @ rng.normal(size=(1, 16))
    >>> layer = LinearBackbone((16,), coherent_dim=2, nuisance_dim=1)
    >>> layer.adapt(x)
    >>> error = ops.convert_to_numpy(layer(x)) - x
    >>> bool(np.mean(error**2) < 1e-3 * np.var(x))
    True
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        coherent_dim: int,
        nuisance_dim: int,
        conditional_nuisance: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.instance_shape = sizes("instance_shape", instance_shape, "(256,)")
        self.coherent_dim = positive("coherent_dim", coherent_dim)
        self.nuisance_dim = positive("nuisance_dim", nuisance_dim)
        self.conditional_nuisance = boolean(
            "conditional_nuisance", conditional_nuisance
        )
        self.supports_masking = True
        pixels, p, q = math.prod(self.instance_shape), coherent_dim, nuisance_dim

        def dense(name: str, units: int, zero: bool, bias: bool) -> keras.layers.Dense:
            start = "zeros" if zero else "glorot_uniform"
            return keras.layers.Dense(
                units,
                use_bias=bias,
                kernel_initializer=start,
                dtype=self.dtype_policy,
                name=name,
            )

        self.state_read_out = dense("state_read_out", p, zero=False, bias=False)
        self.nuisance_read_out = dense("nuisance_read_out", q, zero=False, bias=False)
        self.gate = dense("gate", p, zero=True, bias=True)
        self.shift = dense("shift", p, zero=True, bias=True)
        self.nuisance_of_state = None
        if self.conditional_nuisance:
            self.nuisance_of_state = dense("nuisance_of_state", q, True, False)
        self.gain = dense("gain", p, zero=True, bias=False)
        self.state_decoder = dense("state_decoder", pixels, zero=False, bias=False)
        self.nuisance_decoder = dense("nuisance_decoder", pixels, False, bias=True)
        self.pool = DeepSetsPooling("mean", dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        pixels = math.prod(self.instance_shape)
        p, q = self.coherent_dim, self.nuisance_dim
        for layer in (self.state_read_out, self.nuisance_read_out):
            layer.build((None, None, pixels))
        for layer in (self.gate, self.shift, self.gain, self.nuisance_decoder):
            layer.build((None, None, q))
        for layer in (self.nuisance_of_state, self.state_decoder):
            if layer is not None:
                layer.build((None, None, p))

        def constant(name: str, shape: Shape, start: str) -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=shape,
                dtype=self._float_dtype,
                initializer=start,
                trainable=False,
                autocast=False,
            )

        stretched = min(pixels, _STRETCHED)
        self.mean = constant("mean", (pixels,), "zeros")
        self.directions = constant("directions", (pixels, stretched), "zeros")
        self.stretch = constant("stretch", (stretched,), "ones")
        self.scale = constant("scale", (), "ones")
        self.adapted = constant("adapted", (), "zeros")

    @property
    def _float_dtype(self) -> str:
        return str(keras.backend.result_type(self.compute_dtype, "float32"))

    @property
    def is_adapted(self) -> bool:
        """True if `adapt` computed these weights or the weights that were loaded."""
        return self.built and bool(ops.convert_to_numpy(self.adapted))

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        z = self.coordinates(inputs)
        coherent = self.coherent(z, mask)
        return self.instances(self.decode(coherent, self.nuisance(z, coherent)))

    # === Coordinates ===

    def coordinates(self, x: Tensor) -> Tensor:
        """Return normalised instances in soft-whitened coordinates.

        Args:
            x: Tensor `(batch, instances, *instance_shape)`.

        Returns:
            Tensor of the same shape.
        """
        dtype = self._float_dtype
        x = self._flat(ops.cast(x, dtype)) - self.mean
        along = ops.matmul(x, self.directions) * (self.stretch - 1.0)
        # The tensor is on the left: JAX cannot multiply a variable by a symbolic one.
        z = (x + ops.matmul(along, ops.transpose(self.directions))) * self.scale
        return self._shaped(ops.cast(z, self.compute_dtype))

    def instances(self, z: Tensor) -> Tensor:
        """Return normalised instances; this is the inverse of `coordinates`.

        Args:
            z: Tensor `(batch, instances, *instance_shape)`.

        Returns:
            Tensor of the same shape.
        """
        dtype = self._float_dtype
        z = self._flat(ops.cast(z, dtype)) / self.scale
        along = ops.matmul(z, self.directions) * (1.0 / self.stretch - 1.0)
        x = z + ops.matmul(along, ops.transpose(self.directions)) + self.mean
        return self._shaped(ops.cast(x, self.compute_dtype))

    # === Codes ===

    def coherent(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the coherent code of each group, `(batch, coherent_dim)`.

        Args:
            z: Coordinates `(batch, instances, *instance_shape)`.
            mask: Boolean tensor `(batch, instances)`, True = present, or `None`.
        """
        z = self._flat(z)
        guess = self.nuisance_read_out(z)
        features = self.state_read_out(z) * (1.0 + self.gate(guess))
        return self.pool(features + self.shift(guess), mask=mask)

    def nuisance(self, z: Tensor, coherent: Tensor) -> Tensor:
        """Return the nuisance codes, `(batch, instances, nuisance_dim)`.

        Args:
            z: Coordinates `(batch, instances, *instance_shape)`.
            coherent: Coherent codes `(batch, coherent_dim)`.
        """
        guess = self.nuisance_read_out(self._flat(z))
        if self.nuisance_of_state is None:
            return guess
        return guess + self.nuisance_of_state(coherent)[:, None]

    def decode(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        """Return decoded coordinates `(batch, instances, *instance_shape)`.

        Args:
            coherent: Coherent codes `(batch, coherent_dim)`.
            nuisance: Nuisance codes `(batch, instances, nuisance_dim)`.
        """
        state = coherent[:, None] * (1.0 + self.gain(nuisance))
        return self._shaped(self.state_decoder(state) + self.nuisance_decoder(nuisance))

    def _flat(self, x: Tensor) -> Tensor:
        pixels = math.prod(self.instance_shape)
        return ops.reshape(x, (*ops.shape(x)[:2], pixels))

    def _shaped(self, x: Tensor) -> Tensor:
        return ops.reshape(x, (*ops.shape(x)[:2], *self.instance_shape))

    # === Closed form ===

    def adapt(
        self,
        x: npt.NDArray[Any],
        good: npt.NDArray[np.bool_] | None = None,
        whitening: float = 0.5,
        instance_dropout: float = 0.0,
    ) -> None:
        """Set the coordinates and the linear weights from groups.

        Args:
            x: Normalised instances `(groups, instances, *instance_shape)`.
            good: Boolean array that broadcasts to `x`; True marks a good pixel of a
                present instance. `None` (default) means all.
            whitening: Power `w` of the coordinates, from 0 (no whitening) to 1.
                Defaults to 0.5.
            instance_dropout: Share of the instances of a group that training removes
                from its coherent code. Defaults to 0.

        Raises:
            ValueError: `whitening` is not from 0 to 1.
            InputError: Fewer than two groups have two different instances.
        """
        whitening = share("whitening", whitening)
        if not self.built:
            self.build()
        x = np.asarray(x)
        good = np.broadcast_to(True if good is None else good, x.shape)
        flat = (*x.shape[:2], -1)
        x, good = x.reshape(flat), good.reshape(flat)
        found = coordinates(x, good, self.stretch.shape[0], whitening)
        for weight, value in (
            (self.mean, found.mean),
            (self.directions, found.directions),
            (self.stretch, found.stretch),
            (self.scale, found.scale),
        ):
            weight.assign(value)
        present = np.asarray(good.any(axis=2))
        start = linear_answer(
            found(x, good),
            present,
            found.directions[:, np.any(found.directions, axis=0)],
            ops.convert_to_numpy(self.state_read_out.kernel.value),
            ops.convert_to_numpy(self.nuisance_read_out.kernel.value),
            self.conditional_nuisance,
            instance_dropout,
        )
        self.state_read_out.kernel.assign(start.state_read_out)
        self.nuisance_read_out.kernel.assign(start.nuisance_read_out)
        if self.nuisance_of_state is not None:
            self.nuisance_of_state.kernel.assign(start.nuisance_of_state)
        self.state_decoder.kernel.assign(start.state_decoder)
        self.nuisance_decoder.kernel.assign(start.nuisance_decoder)
        self.nuisance_decoder.bias.assign(start.bias)
        # A previous training run may have changed them.
        for layer in (self.gate, self.shift, self.gain):
            for weight in layer.trainable_weights:
                weight.assign(np.zeros(weight.shape))
        self.adapted.assign(1.0)

    # === Keras protocol ===

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return previous_mask

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:2], *self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "instance_shape": self.instance_shape,
            "coherent_dim": self.coherent_dim,
            "nuisance_dim": self.nuisance_dim,
            "conditional_nuisance": self.conditional_nuisance,
        }


#: Components with their own factor; all others, of lower variance, share one factor.
_STRETCHED = 64
