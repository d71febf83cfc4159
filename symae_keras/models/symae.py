"""The symmetric autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from symae_keras._utils.arrays import Codes, Tensor
from symae_keras._utils.validation import boolean, invalid, not_negative, number
from symae_keras.layers._random import SeedGenerator
from symae_keras.layers._stack import call_chain
from symae_keras.layers.linear_backbone import LinearBackbone
from symae_keras.layers.noise import NuisanceDropout
from symae_keras.layers.pooling import AttentionPooling, DeepSetsPooling
from symae_keras.models.base import one_of
from symae_keras.models.groups import GroupedAutoencoder, join

_POOLINGS = ("mean", "sum", "max", "attention")
_NOISES = ("gaussian", "bernoulli", "additive", "variational")
#: Kinds of noise that suit a linear backbone. The others set the scale of the codes,
#: which the backbone also sets.
BACKBONE_NOISES = ("gaussian", "bernoulli")


@keras.saving.register_keras_serializable(package="symae_keras")
class SymAE(GroupedAutoencoder):
    """Symmetric autoencoder: one coherent code per group, a nuisance code per instance.

    For a group of instances `x[t]` that share a hidden state, with encoders `f`, `h`,
    heads `g`, `k` and a decoder `D`:

        coherent code     C    = g(pool_t f(x[t]))
        nuisance code     N[t] = k(h(x[t]), C)        conditional (default)
                          N[t] = k(h(x[t]))           original
        reconstruction    D(C, noise(N[t]))           noise in training only

    Pooling makes `C` independent of the order and the number of instances, so `C`
    cannot contain anything specific to one instance. The noise makes `N` an expensive
    channel, so it is cheaper to send shared information through `C`. Swapping codes
    between groups makes virtual instances: see `redatum`.

    The conditional nuisance encoder is important if a single instance does not
    distinguish its nuisance from its state (for example, a star's continuum slope and
    the slope of the instrument). In this case, the original form fails with every kind
    of noise (`benchmarks/exposures.py`).

    The reconstruction loss is the one given to `compile`; it excludes masked instances.

    Noise of kind `"variational"` makes both codes random and adds divergences to the
    loss: one of `C ~ q(C | X)` from N(0, 1), once per group, and one of a latent
    variable `z[t] ~ q(z | x[t], C)` from a learned prior `p(z | C)` (fixed to N(0, 1)
    in the original form). The nuisance code is then `z` standardised with its prior,
    `N[t] = (z[t] - mean(C)) / stddev(C)`, because the part of `z` that the prior
    predicts belongs to the state. Other models are compared in docs/comparison.md.

    For few groups, `backbone="linear"` adds linear encoders and a linear decoder to the
    networks; see `LinearBackbone`. `adapt_backbone` computes their weights in closed
    form from a linear mixed model. The last layers of the networks start at zero, so
    training starts at this model. The networks and the loss given to `compile` then use
    instances in the soft-whitened coordinates of the backbone, in which small features
    have more weight.

    Args:
        instance_shape: Shape of one instance, channels last: `(pixels,)`,
            `(pixels, channels)`, `(height, width, channels)`.
        coherent_dim: Size of the coherent code. Defaults to 8.
        nuisance_dim: Size of the nuisance code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape. The coherent
            branch uses it directly; the nuisance branch uses a copy of it. If the
            encoder already has weights, for example pretrained ones, the copy starts
            with the same weights, and layers that are frozen in the encoder are frozen
            in the copy. Otherwise, the copy has its own initial weights.
        decoder: A layer from a vector of size `coherent_dim + nuisance_dim` to one
            instance. `None` (default) mirrors the encoder, or uses a `DenseDecoder` if
            the encoder has no `mirror` method.
        pooling: `"mean"` (default), `"sum"`, `"max"`, `"attention"`, or a layer called
            as `pooling(features, mask=mask)`.
        nuisance_noise: `"gaussian"` (default), `"bernoulli"`, `"additive"` (the code is
            then bounded by tanh), `"variational"`, or a layer called as
            `noise(code, training=training)`.
        noise_strength: Strength of the noise, see `NuisanceDropout`; for variational
            noise, the weight of the divergences. `None` (default) means 0.5, or 0.001
            for variational noise, which suits losses relative to the variance of the
            data and averaged over pixels.
        conditional_nuisance: Whether the coherent code is an input of the nuisance
            encoder. Defaults to True; False is the original architecture.
        instance_dropout: Probability that an instance is hidden from the pooling of its
            group in a training step; at least one stays. It trains the model to infer
            the state from few instances, even from one. Defaults to 0.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. It is applied to the input and undone after the
            decoder, so that outputs are in data units. Defaults to `None`.
        seed: Integer seed of noise and instance dropout, or `None`.
        backbone: `"linear"` for few groups, or `None` (default). It requires Gaussian
            or Bernoulli noise, or a noise layer. A `decoder` that already has weights
            keeps them and does not start at zero.

    Call arguments:
        inputs: Tensor `(batch, instances, *instance_shape)`, or a dict with
            `"instances"` and `"mask"`: boolean `(batch, instances)`, True = present,
            or of the shape of the instances, True = good pixel.
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
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        backbone: str | None = None,
        **kwargs: Any,
    ) -> None:
        sizes = (instance_shape, coherent_dim, nuisance_dim)
        super().__init__(*sizes, encoder, decoder, normalization, seed, **kwargs)
        self.pooling = one_of("pooling", pooling, _POOLINGS)
        self.nuisance_noise = one_of("nuisance_noise", nuisance_noise, _NOISES)
        if noise_strength is not None:
            not_negative("noise_strength", noise_strength)
        self.noise_strength = noise_strength
        self.conditional_nuisance = boolean(
            "conditional_nuisance", conditional_nuisance
        )
        self.instance_dropout = number(
            "instance_dropout",
            instance_dropout,
            "0 <= instance_dropout < 1",
            lambda rate: 0.0 <= rate < 1.0,
        )

        self.backbone = backbone
        self.linear: LinearBackbone | None = None
        if backbone is not None:
            self.linear = self._make_backbone()
        self._make_networks()
        pool: Any = self.pooling
        if pool == "attention":
            pool = AttentionPooling(dtype=self.dtype_policy)
        elif isinstance(pool, str):
            pool = DeepSetsPooling(pool, dtype=self.dtype_policy)
        self.pool: keras.Layer = pool
        variational = self.nuisance_noise == "variational"
        bounded = "tanh" if self.nuisance_noise == "additive" else None
        numbers = 2 if variational else 1  # mean and log variance of each
        start = "glorot_uniform" if backbone is None else "zeros"
        self.coherent_head = self._head(
            numbers * self.coherent_dim, "coherent", kernel_initializer=start
        )
        self.nuisance_head = self._head(
            numbers * self.nuisance_dim, "nuisance", bounded, start
        )
        weight = 1e-3 if variational else 0.5
        if noise_strength is not None:
            weight = noise_strength
        self.noise = self._make_noise(weight)
        self.coherent_sampling = None
        self.prior_head = None
        if variational:
            self.coherent_sampling = self._sampling("coherent", weight)
            if self.conditional_nuisance:
                self.prior_head = self._head(2 * self.nuisance_dim, "prior")
        self.dropout_generator = SeedGenerator(seed)
        new_decoder = not self.instance_decoder.layer.built
        self.build((None, None, *self.instance_shape))
        if self.linear is not None and new_decoder:
            self._start_decoder_at_zero()

    def _make_backbone(self) -> LinearBackbone:
        if self.backbone != "linear":
            raise invalid("backbone", "'linear' or None", repr(self.backbone))
        named = isinstance(self.nuisance_noise, str)
        if named and self.nuisance_noise not in BACKBONE_NOISES:
            raise ValueError(
                "This noise sets the scale of the codes, so training cannot start at "
                "the codes of `backbone='linear'`. Received: "
                f"nuisance_noise={self.nuisance_noise!r}. "
                "Expected nuisance_noise='gaussian' or 'bernoulli', or a layer."
            )
        layer = LinearBackbone(
            self.instance_shape,
            self.coherent_dim,
            self.nuisance_dim,
            self.conditional_nuisance,
            dtype=self.dtype_policy,
            name="linear",
        )
        layer.build()  # a call does not build it, because it is not called as a whole
        return layer

    def _start_decoder_at_zero(self) -> None:
        parts = self.instance_decoder.layer._flatten_layers()
        with_kernel = [each for each in parts if hasattr(each, "kernel")]
        if not with_kernel:
            raise invalid(
                "decoder",
                "a layer whose last part has a kernel, because it starts at zero with "
                "backbone='linear'",
                repr(self.decoder),
            )
        for weight in with_kernel[-1].trainable_weights:
            weight.assign(np.zeros(weight.shape))

    def _make_noise(self, strength: float) -> keras.Layer:
        kind = self.nuisance_noise
        if not isinstance(kind, str):
            return kind
        if kind == "variational":
            return self._sampling("nuisance", strength)
        return NuisanceDropout(kind, strength, self.seed, dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        if self.prior_head is not None:
            # Built explicitly, because some methods for the codes do not call it.
            self._prior(
                keras.KerasTensor((None, self.coherent_dim), dtype=self.compute_dtype)
            )
        super().build(input_shape)

    # === Backbone ===

    def adapt_backbone(
        self,
        groups: Any,
        mask: npt.ArrayLike | None = None,
        whitening: float = 0.5,
    ) -> None:
        """Compute the linear backbone in closed form, similar to Keras's `adapt`.

        Call it before training; `symae_keras.training.train` calls it unless it was
        called before. It does not change the networks. The reconstruction of a new
        model is the linear solution afterwards.

        Args:
            groups: Training groups: `symae_keras.data.GroupedData` with its masks, or
                an array `(groups, instances, *instance_shape)` in data units.
            mask: Mask of an array, see `encode`. Defaults to `None`.
            whitening: From 0 to 1, see `LinearBackbone`. With 0, the loss weights all
                features by their variance. Defaults to 0.5.

        Raises:
            ValueError: The model has no backbone, or `whitening` is not from 0 to 1.
            InputError: Fewer than two groups have two instances that differ.

        Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> state, nuisance = rng.normal(size=(40, 1, 2)), rng.normal(size=(40, 3, 1))
        >>> x = state @ rng.normal(size=(2, 16)) + nuisance @ rng.normal(size=(1, 16))
        >>> model = SymAE((16,), coherent_dim=2, nuisance_dim=1, backbone="linear")
        >>> model.adapt_backbone(x)
        >>> error = ops.convert_to_numpy(model.reconstruct(x)) - x
        >>> bool(np.mean(error**2) < 1e-3 * np.var(x))
        True
        """
        if self.linear is None:
            raise ValueError(
                "This model has no backbone to adapt; make it with `backbone='linear'`."
            )
        x, mask = self._arrays(groups, mask)
        good = np.ones(x.shape[:2], bool)
        if mask is not None:
            good = np.asarray(ops.convert_to_numpy(mask), bool)
        good = good.reshape(*good.shape, *(1,) * (len(x.shape) - good.ndim))
        x = np.where(good, ops.convert_to_numpy(x), 0.0)
        normalized = super()._normalize(ops.convert_to_tensor(x, self._data_dtype))
        normalized = ops.convert_to_numpy(ops.cast(normalized, "float32"))
        self.linear.adapt(normalized, good, whitening, self.instance_dropout)

    def _normalize(self, x: Tensor) -> Tensor:
        x = super()._normalize(x)
        return x if self.linear is None else self.linear.coordinates(x)

    def _denormalize(self, x: Tensor) -> Tensor:
        return super()._denormalize(
            x if self.linear is None else self.linear.instances(x)
        )

    def _decode_normalized(self, coherent: Tensor, latent: Tensor) -> Tensor:
        decoded = super()._decode_normalized(coherent, latent)
        if self.linear is None:
            return decoded
        return decoded + self.linear.decode(coherent, latent)

    def _compared(
        self, inputs: Any, y: Tensor, y_pred: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return targets and outputs in backbone coordinates, in data units.

        In these coordinates, each pixel is a mixture of all pixels. Pixel weights are
        therefore applied before: differences are multiplied by the square roots of the
        weights, as in squared errors.
        """
        if self.linear is None:
            return y, y_pred, sample_weight
        y, y_pred = (ops.cast(each, self._data_dtype) for each in (y, y_pred))
        if sample_weight is not None and len(sample_weight.shape) == len(y.shape):
            root = ops.sqrt(ops.cast(sample_weight, self._data_dtype))
            y_pred, sample_weight = y + root * (y_pred - y), None
        scale: Any = 1.0
        if self.normalization is not None:
            scale = self._mean_and_scale()[1]
        unit = ops.sqrt(ops.mean(ops.square(scale)))
        y, y_pred = (
            unit * ops.cast(self._normalize(each), self._data_dtype)
            for each in (y, y_pred)
        )
        mask = self.compute_mask(inputs, None)
        if mask is not None:
            y_pred = self.carry_mask(y_pred, mask=mask)
        return y, y_pred, sample_weight

    # === Posteriors ===

    def group_posterior(
        self, x: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the coherent code, in the variational form.

        Args:
            x: See `encode`.
            mask: See `encode`.

        Returns:
            Two tensors `(batch, coherent_dim)`; `encode` returns the mean.

        Raises:
            ValueError: The noise of the model is not `"variational"`.
        """
        self._check_variational()
        mean, log_variance = ops.split(
            self._coherent(*self._clean(x, mask)), 2, axis=-1
        )
        return mean, log_variance

    def instance_posterior(
        self, x: Tensor, coherent: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the nuisance codes, given the coherent code.

        Args:
            x: See `encode`.
            coherent: `(batch, coherent_dim)`, such as samples from `group_posterior`.
            mask: See `encode`.

        Returns:
            Two tensors `(batch, instances, nuisance_dim)`.

        Raises:
            ValueError: The noise of the model is not `"variational"`.
        """
        self._check_variational()
        x, mask = self._clean(x, mask)
        coherent = ops.convert_to_tensor(coherent, dtype=self.compute_dtype)
        mean, log_variance = ops.split(self._nuisance(x, coherent), 2, axis=-1)
        prior = self._prior(coherent)
        if prior is None:
            return mean, log_variance
        log_variance = ops.cast(log_variance, self._data_dtype) - prior[1]
        return self._code_of(mean, coherent), log_variance

    def instance_prior(self, coherent: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return `None`: the prior of the nuisance codes is a standard normal.

        Nuisance codes are standardised with the prior of the latent variable.
        """
        return None

    def _check_variational(self) -> None:
        if self.coherent_sampling is None:
            raise ValueError(
                "Only variational models have posteriors. Received: a model with "
                f"nuisance_noise={self.nuisance_noise!r}; make it with "
                "`nuisance_noise='variational'`."
            )

    # === Codes ===

    def _codes(self, x: Tensor, mask: Tensor | None) -> Codes:
        coherent = self._coherent(x, mask)[:, : self.coherent_dim]
        latent = self._nuisance(x, coherent)[..., : self.nuisance_dim]
        return Codes(coherent, self._code_of(latent, coherent))

    def _training_codes(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Codes:
        pooled_mask = mask
        if training and self.instance_dropout > 0.0:
            pooled_mask = self._hide_instances(x, mask)
        coherent = self._coherent(x, pooled_mask)
        if self.coherent_sampling is None:
            nuisance = self._nuisance(x, coherent)
            return Codes(coherent, self.noise(nuisance, training=training))
        posterior = ops.split(coherent, 2, axis=-1)
        coherent = self._sampled_coherent(posterior, x, mask, training)
        latent = self.noise(
            ops.split(self._nuisance(x, coherent), 2, axis=-1),
            mask=mask,
            prior=self._prior(coherent),
            training=training,
        )
        return Codes(coherent, self._code_of(latent, coherent))

    def _coherent_code(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._coherent(*self._clean(x, mask))[:, : self.coherent_dim]

    def _coherent(self, x: Tensor, mask: Tensor | None) -> Tensor:
        pooled = self.pool(self._coherent_features(x), mask=mask)
        coherent = call_chain(self.coherent_head, pooled)
        if self.linear is None:
            return coherent
        return coherent + self.linear.coherent(x, mask)

    def _nuisance(self, x: Tensor, coherent: Tensor) -> Tensor:
        features = self._nuisance_features(x)
        if self.conditional_nuisance:
            features = join(coherent, features)
        nuisance = call_chain(self.nuisance_head, features)
        if self.linear is None:
            return nuisance
        return nuisance + self.linear.nuisance(x, coherent)

    def _prior(self, coherent: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return mean and log variance of `p(z | C)`, with an instance axis."""
        if self.prior_head is None:
            return None
        parameters = call_chain(self.prior_head, coherent)[:, None, :]
        # Values divided by exp(-10) may exceed the range of half precision.
        parameters = ops.cast(parameters, self._data_dtype)
        mean, log_variance = ops.split(parameters, 2, axis=-1)
        return mean, ops.clip(log_variance, -20.0, 20.0)

    def _code_of(self, latent: Tensor, coherent: Tensor) -> Tensor:
        """Return the nuisance code: the latent variable, standardised with its prior.

        The part of the latent variable that the prior predicts belongs to the state, so
        it must stay with the state when groups swap codes.
        """
        prior = self._prior(coherent)
        if prior is None:
            return latent
        distance = ops.cast(latent, self._data_dtype) - prior[0]
        return distance * ops.exp(-0.5 * prior[1])

    def _latent_of(self, nuisance: Tensor, coherent: Tensor) -> Tensor:
        """Compute the inverse of `_code_of`."""
        prior = self._prior(coherent)
        if prior is None:
            return nuisance
        return prior[0] + ops.exp(0.5 * prior[1]) * nuisance

    def _hide_instances(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Hide each instance with the given probability, but never a whole group."""
        draw = keras.random.uniform(
            ops.shape(x)[:2], dtype="float32", seed=self.dropout_generator
        )
        if mask is not None:
            draw = ops.where(ops.cast(mask, "bool"), draw, -1.0)
        luckiest = ops.max(draw, axis=1, keepdims=True)
        keep = ops.logical_or(draw >= self.instance_dropout, draw >= luckiest)
        return ops.logical_and(keep, draw >= 0.0)
