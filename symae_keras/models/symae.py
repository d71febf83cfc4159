"""The symmetric autoencoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from symae_keras.layers.attention_pooling import AttentionPooling
from symae_keras.layers.conv1d_encoder import Conv1DEncoder
from symae_keras.layers.conv2d_encoder import Conv2DEncoder
from symae_keras.layers.deep_sets_pooling import DeepSetsPooling
from symae_keras.layers.dense_decoder import DenseDecoder
from symae_keras.layers.dense_encoder import DenseEncoder
from symae_keras.layers.gaussian_sampling import GaussianSampling
from symae_keras.layers.nuisance_dropout import NuisanceDropout
from symae_keras.layers.per_instance import PerInstance
from symae_keras.typing import Shape, Tensor

_ENCODERS = {"dense": DenseEncoder, "conv1d": Conv1DEncoder, "conv2d": Conv2DEncoder}
_POOLINGS = ("mean", "sum", "max", "attention")
_NOISES = ("gaussian", "bernoulli", "additive", "variational")
# Size of the features that the named encoders hand to pooling and heads.
_FEATURES = 128


class Codes(NamedTuple):
    """The two codes of a batch of groups."""

    coherent: Tensor
    """`(batch, coherent_dim)`: what the instances of a group share."""
    nuisance: Tensor
    """`(batch, instances, nuisance_dim)`: what is particular to each instance."""


@keras.saving.register_keras_serializable(package="symae_keras")
class SymAE(keras.Model):
    """Symmetric autoencoder: one coherent code a group, one nuisance code an instance.

    For a group of instances `x[t]` that share a hidden state, with encoders `f`, `h`,
    heads `g`, `k` and a decoder `D`:

        coherent code     C    = g(pool_t f(x[t]))
        nuisance code     N[t] = k(h(x[t]), C)        conditional (default)
                          N[t] = k(h(x[t]))           original
        reconstruction    D(C, noise(N[t]))           noise in training only

    Pooling makes `C` independent of the order and number of instances, so that nothing
    particular to one instance can enter it. The noise makes `N` an expensive channel,
    so that what the instances share is cheaper to send through `C`. Swapping codes
    between groups gives virtual instances: see `redatum`.

    The conditional nuisance encoder matters when one instance alone does not tell its
    nuisance from its state (a star's own continuum slope from the instrument's): the
    original then fails whatever the noise (`benchmarks/exposures.py`).

    The reconstruction loss is the one given to `compile`; masked instances do not
    count in it. Noise of kind `"variational"` adds its divergence with `add_loss`.

    Args:
        instance_shape: Shape of one instance, channels last: `(pixels,)`,
            `(pixels, channels)`, `(height, width, channels)`.
        coherent_dim: Size of the coherent code. Defaults to 8.
        nuisance_dim: Size of the nuisance code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape. The coherent
            branch uses it as it is; the nuisance branch uses a fresh copy of it.
        decoder: A layer from a vector of size `coherent_dim + nuisance_dim` to one
            instance. `None` (default) mirrors the encoder, and stands for a
            `DenseDecoder` where the encoder has no `mirror` method.
        pooling: `"mean"` (default), `"sum"`, `"max"`, `"attention"`, or a layer called
            as `pooling(features, mask=mask)`.
        nuisance_noise: `"gaussian"` (default), `"bernoulli"`, `"additive"` (the code is
            then bounded by tanh), `"variational"`, or a layer called as
            `noise(code, training=training)`.
        noise_strength: Strength of the noise, see `NuisanceDropout`; for variational
            noise the weight of the divergence. `None` (default) stands for 0.5, and
            0.001 for variational noise.
        conditional_nuisance: Whether the nuisance encoder sees the coherent code.
            Defaults to True; False is the original architecture.
        instance_dropout: Probability that an instance is hidden from the pooling of its
            group in a training step; one always stays. It teaches the model to read
            the state from few instances, down to one. Defaults to 0.
        normalization: A `keras.layers.Normalization` that knows its mean and variance.
            It is applied to the input and undone after the decoder, so that outputs
            are in data units. Defaults to `None`.
        seed: Integer seed of noise and instance dropout, or `None`.

    Call arguments:
        inputs: Tensor `(batch, instances, *instance_shape)`, or a dict with
            `"instances"` and `"mask"` (boolean `(batch, instances)`, True = present).
        training: Whether to hide instances and add noise.

    Output shape:
        `(batch, instances, *instance_shape)`.

    Reference:
        - [Bharadwaj, Li & Demanet, Redatuming physical systems using symmetric
          autoencoders, 2021](https://arxiv.org/abs/2108.02537)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64)).astype("float32")
    >>> model = SymAE(instance_shape=(64,), coherent_dim=3, nuisance_dim=2)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> history = model.fit(x, x, verbose=0)
    >>> codes = model.encode(x)
    >>> tuple(codes.coherent.shape), tuple(codes.nuisance.shape)
    ((32, 3), (32, 4, 2))
    >>> virtual = model.redatum(coherent_from=x[:5], nuisance_from=x[5:10])
    >>> tuple(virtual.shape)
    (5, 4, 64)
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        coherent_dim: int = 8,
        nuisance_dim: int = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        pooling: str | keras.Layer = "mean",
        nuisance_noise: str | keras.Layer = "gaussian",
        noise_strength: float | None = None,
        conditional_nuisance: bool = True,
        instance_dropout: float = 0.0,
        normalization: keras.layers.Normalization | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.instance_shape = tuple(int(n) for n in instance_shape)
        self.coherent_dim = _positive("coherent_dim", coherent_dim)
        self.nuisance_dim = _positive("nuisance_dim", nuisance_dim)
        self.encoder = _choice("encoder", encoder, tuple(_ENCODERS))
        self.decoder = decoder
        self.pooling = _choice("pooling", pooling, _POOLINGS)
        self.nuisance_noise = _choice("nuisance_noise", nuisance_noise, _NOISES)
        self.noise_strength = noise_strength
        self.conditional_nuisance = bool(conditional_nuisance)
        if not 0.0 <= instance_dropout < 1.0:
            raise ValueError(
                "Invalid value received for argument `instance_dropout`. Expected "
                f"0 <= instance_dropout < 1. Received: {instance_dropout}"
            )
        self.instance_dropout = float(instance_dropout)
        self.normalization = normalization
        self.seed = seed

        # === Layers ===
        first = self._make_encoder()
        second = type(first).from_config(first.get_config())
        policy = self.dtype_policy
        self.coherent_encoder = PerInstance(
            first, dtype=policy, name="coherent_encoder"
        )
        self.pool = self._make_pooling()
        self.coherent_head = self._head(self.coherent_dim, "coherent")
        self.nuisance_encoder = PerInstance(
            second, dtype=policy, name="nuisance_encoder"
        )
        variational = self.nuisance_noise == "variational"
        bounded = "tanh" if self.nuisance_noise == "additive" else None
        outputs = self.nuisance_dim * (2 if variational else 1)
        self.nuisance_head = self._head(outputs, "nuisance", activation=bounded)
        self.noise = self._make_noise()
        self.instance_decoder = PerInstance(
            self._make_decoder(first), dtype=policy, name="instance_decoder"
        )
        self.carry_mask = _CarryMask(dtype=policy)
        self.dropout_generator = keras.random.SeedGenerator(seed)
        self.build((None, None, *self.instance_shape))

    # === Construction ===

    def _make_encoder(self) -> keras.Layer:
        if isinstance(self.encoder, str):
            return _ENCODERS[self.encoder](
                output_dim=_FEATURES, dtype=self.dtype_policy
            )
        return self.encoder

    def _make_decoder(self, encoder: keras.Layer) -> keras.Layer:
        if self.decoder is not None:
            return self.decoder
        if hasattr(encoder, "mirror"):
            return encoder.mirror(self.instance_shape)
        return DenseDecoder(self.instance_shape, dtype=self.dtype_policy)

    def _make_pooling(self) -> keras.Layer:
        if not isinstance(self.pooling, str):
            return self.pooling
        if self.pooling == "attention":
            return AttentionPooling(dtype=self.dtype_policy)
        return DeepSetsPooling(self.pooling, dtype=self.dtype_policy)

    def _make_noise(self) -> keras.Layer:
        kind = self.nuisance_noise
        if not isinstance(kind, str):
            return kind
        strength = self.noise_strength
        if strength is None:
            strength = 1e-3 if kind == "variational" else 0.5
        if kind == "variational":
            return GaussianSampling(strength, self.seed, dtype=self.dtype_policy)
        return NuisanceDropout(kind, strength, self.seed, dtype=self.dtype_policy)

    def _head(
        self, units: int, name: str, activation: str | None = None
    ) -> list[keras.Layer]:
        dtype = self.dtype_policy
        return [
            keras.layers.Dense(
                _FEATURES, activation="gelu", dtype=dtype, name=f"{name}_hidden"
            ),
            keras.layers.Dense(
                units, activation=activation, dtype=dtype, name=f"{name}_code"
            ),
        ]

    def build(self, input_shape: Any = None) -> None:
        """Build every branch from the shape of one instance.

        Symbolic calls build whatever encoder the user brought as Keras would.
        """
        instances = keras.KerasTensor(
            (None, None, *self.instance_shape), dtype=self.compute_dtype
        )
        if self.normalization is not None and not self.normalization.built:
            self.normalization.build(instances.shape)
        coherent = self._coherent(instances, None)
        parameters = self._nuisance_parameters(instances, coherent)
        nuisance = self._nuisance_means(parameters)
        decoded = self.decode(coherent, nuisance)
        if tuple(decoded.shape[2:]) != self.instance_shape:
            raise ValueError(
                "`decoder` must give instances of the shape `instance_shape="
                f"{self.instance_shape}`. Received: {tuple(decoded.shape[2:])}"
            )

    # === Forward pass ===

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """Reconstruct every instance."""
        x, mask = self._unpack(inputs)
        x = self._clean(x, mask)
        pooled_mask = mask
        if training and self.instance_dropout > 0.0:
            pooled_mask = self._hide_instances(x, mask)
        coherent = self._coherent(x, pooled_mask)
        parameters = self._nuisance_parameters(x, coherent)
        if self.nuisance_noise == "variational":
            pair = ops.split(parameters, 2, axis=-1)
            nuisance = self.noise(pair, instance_mask=mask, training=training)
        else:
            nuisance = self.noise(parameters, training=training)
        decoded = self.decode(coherent, nuisance)
        if mask is None:
            return decoded
        return self.carry_mask(decoded, mask=self.compute_mask(inputs, None))

    @staticmethod
    def _unpack(inputs: Any) -> tuple[Tensor, Tensor | None]:
        if not isinstance(inputs, Mapping):
            return inputs, None
        if "instances" not in inputs or set(inputs) - {"instances", "mask"}:
            raise ValueError(
                "A dict of inputs must have the key 'instances' and may have 'mask'. "
                f"Received: keys {sorted(inputs)}"
            )
        return inputs["instances"], inputs.get("mask")

    def _clean(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Check the shape, blank masked instances and normalise."""
        x = ops.convert_to_tensor(x, dtype=self.compute_dtype)
        if len(x.shape) < 3 or tuple(x.shape[2:]) != self.instance_shape:
            raise ValueError(
                f"This model takes instances of shape {self.instance_shape}, in arrays "
                "(groups, instances, *instance_shape). "
                f"Received: an array of shape {tuple(x.shape)}"
            )
        if mask is not None:
            mask = ops.convert_to_tensor(mask)
            if not _may_equal(mask.shape, x.shape[:2]):
                raise ValueError(
                    "`mask` must have the shape (groups, instances), here "
                    f"{tuple(x.shape[:2])}. Received: mask of shape {tuple(mask.shape)}"
                )
            # Padding may hold anything, NaN included, which no weight of 0 would stop.
            mask = self._over_pixels(ops.cast(mask, "bool"), len(self.instance_shape))
            x = ops.where(mask, x, 0.0)
        if self.normalization is not None:
            x = self.normalization(x)
        return x

    @staticmethod
    def _over_pixels(mask: Tensor, axes: int) -> Tensor:
        return ops.reshape(mask, (*ops.shape(mask), *(1,) * axes))

    def _hide_instances(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Hide each instance with the given probability, but never all of a group."""
        draw = keras.random.uniform(ops.shape(x)[:2], seed=self.dropout_generator)
        if mask is not None:
            draw = ops.where(ops.cast(mask, "bool"), draw, -1.0)
        luckiest = ops.max(draw, axis=1, keepdims=True)
        keep = ops.logical_or(draw >= self.instance_dropout, draw >= luckiest)
        return ops.logical_and(keep, draw >= 0.0)

    def _coherent(self, x: Tensor, mask: Tensor | None) -> Tensor:
        features = _flat(self.coherent_encoder(x))
        pooled = self.pool(features, mask=mask)
        for layer in self.coherent_head:
            pooled = layer(pooled)
        return pooled

    def _nuisance_parameters(self, x: Tensor, coherent: Tensor) -> Tensor:
        features = _flat(self.nuisance_encoder(x))
        if self.conditional_nuisance:
            features = _join(coherent, features)
        for layer in self.nuisance_head:
            features = layer(features)
        return features

    def _nuisance_means(self, parameters: Tensor) -> Tensor:
        return parameters[..., : self.nuisance_dim]

    # === Use ===

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Codes:
        """Encode groups, without noise.

        Args:
            x: `(batch, instances, *instance_shape)`; any number of instances.
            mask: Boolean `(batch, instances)`, True = present. Defaults to `None`.

        Returns:
            `Codes(coherent, nuisance)`, tensors `(batch, coherent_dim)` and
            `(batch, instances, nuisance_dim)`.
        """
        x = self._clean(x, mask)
        if mask is not None:
            mask = ops.convert_to_tensor(mask, dtype="bool")
        coherent = self._coherent(x, mask)
        parameters = self._nuisance_parameters(x, coherent)
        return Codes(coherent, self._nuisance_means(parameters))

    def decode(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        """Decode one coherent code a group with the nuisance code of each instance.

        Args:
            coherent: `(batch, coherent_dim)`.
            nuisance: `(batch, instances, nuisance_dim)`.

        Returns:
            Instances in data units, `(batch, instances, *instance_shape)`.
        """
        coherent = ops.convert_to_tensor(coherent, dtype=self.compute_dtype)
        nuisance = ops.convert_to_tensor(nuisance, dtype=self.compute_dtype)
        decoded = self.instance_decoder(_join(coherent, nuisance))
        if self.normalization is not None:
            scale = ops.sqrt(ops.maximum(self.normalization.variance, 1e-14))
            decoded = decoded * ops.cast(scale, decoded.dtype)
            decoded = decoded + ops.cast(self.normalization.mean, decoded.dtype)
        return decoded

    def reconstruct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode and decode without noise.

        Args:
            x: `(batch, instances, *instance_shape)`.
            mask: Boolean `(batch, instances)`, True = present. Defaults to `None`.

        Returns:
            Tensor of the shape of `x`.
        """
        return self.decode(*self.encode(x, mask))

    def redatum(
        self,
        coherent_from: Tensor,
        nuisance_from: Tensor,
        coherent_mask: Tensor | None = None,
        nuisance_mask: Tensor | None = None,
    ) -> Tensor:
        """Virtual instances: the states of some groups under the nuisances of others.

        Args:
            coherent_from: `(batch, instances_a, *instance_shape)`, the states to show.
            nuisance_from: `(batch, instances_b, *instance_shape)`, the nuisances to
                show them under, group by group.
            coherent_mask: Boolean `(batch, instances_a)`. Defaults to `None`.
            nuisance_mask: Boolean `(batch, instances_b)`. Defaults to `None`.

        Returns:
            Tensor `(batch, instances_b, *instance_shape)`.
        """
        coherent_from = ops.convert_to_tensor(coherent_from, dtype=self.compute_dtype)
        nuisance_from = ops.convert_to_tensor(nuisance_from, dtype=self.compute_dtype)
        if not _may_equal(coherent_from.shape[:1], nuisance_from.shape[:1]):
            raise ValueError(
                "`coherent_from` and `nuisance_from` must hold the same number of "
                "groups: virtual instances are made group by group. "
                f"Received: {coherent_from.shape[0]} and {nuisance_from.shape[0]}"
            )
        coherent = self.encode(coherent_from, coherent_mask).coherent
        nuisance = self.encode(nuisance_from, nuisance_mask).nuisance
        return self.decode(coherent, nuisance)

    # === Keras protocol ===

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Tensor | None:
        """Mask of the reconstruction, by which losses leave out absent instances.

        Losses reduce the last axis, so the mask has as many axes as their values.
        """
        mask = self._unpack(inputs)[1]
        if mask is None:
            return None
        axes = len(self.instance_shape) - 1
        return self._over_pixels(ops.cast(mask, "bool"), axes)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Shape of the instances given."""
        if isinstance(input_shape, Mapping):
            input_shape = input_shape["instances"]
        return (*input_shape[:2], *self.instance_shape)

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the model; layers are serialised."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "instance_shape": self.instance_shape,
            "coherent_dim": self.coherent_dim,
            "nuisance_dim": self.nuisance_dim,
            "encoder": serialize(self.encoder),
            "decoder": serialize(self.decoder),
            "pooling": serialize(self.pooling),
            "nuisance_noise": serialize(self.nuisance_noise),
            "noise_strength": self.noise_strength,
            "conditional_nuisance": self.conditional_nuisance,
            "instance_dropout": self.instance_dropout,
            "normalization": serialize(self.normalization),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> SymAE:
        """Rebuild the model from `get_config`."""
        config = dict(config)
        for name in (
            "encoder",
            "decoder",
            "pooling",
            "nuisance_noise",
            "normalization",
        ):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        return cls(**config)


class _CarryMask(keras.Layer):
    """Attaches a mask to a tensor, as Keras attaches the masks of a layer's output.

    On JAX, `fit` calls `call` of the outermost model alone, so that its `compute_mask`
    is never asked, and losses would count padding.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor, mask: Tensor) -> Tensor:
        return inputs


def _positive(name: str, value: int) -> int:
    if int(value) != value or value < 1:
        raise ValueError(
            f"Invalid value received for argument `{name}`. "
            f"Expected a positive integer. Received: {name}={value}"
        )
    return int(value)


def _choice(
    name: str, value: str | keras.Layer, names: tuple[str, ...]
) -> str | keras.Layer:
    if value in names if isinstance(value, str) else isinstance(value, keras.Layer):
        return value
    raise ValueError(
        f"Invalid value received for argument `{name}`. "
        f"Expected one of {names} or a keras.Layer. Received: {name}={value!r}"
    )


def _may_equal(one: Shape, other: Shape) -> bool:
    """Whether two shapes are equal as far as they are known."""
    return len(one) == len(other) and all(
        a == b for a, b in zip(one, other, strict=True) if None not in (a, b)
    )


def _flat(features: Tensor) -> Tensor:
    """Features of any shape as one vector an instance."""
    size = math.prod(features.shape[2:])
    return ops.reshape(features, (*ops.shape(features)[:2], size))


def _join(coherent: Tensor, per_instance: Tensor) -> Tensor:
    """One vector an instance: the group's code, then the instance's own values."""
    batch, instances = ops.shape(per_instance)[:2]
    coherent = coherent[:, None, :]
    repeated = ops.broadcast_to(coherent, (batch, instances, coherent.shape[-1]))
    return ops.concatenate([repeated, per_instance], axis=-1)
