"""The adaptive group-based variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from symae_keras._utils.arrays import Codes, Tensor
from symae_keras._utils.validation import integer, not_negative
from symae_keras.layers._stack import call_chain
from symae_keras.layers.noise import GaussianSampling
from symae_keras.layers.penalties import first
from symae_keras.layers.per_instance import PerInstance
from symae_keras.layers.pooling import GaussianPooling
from symae_keras.models.groups import GroupedAutoencoder, flat

_LOG_VARIANCE_LIMIT = 20.0
#: Weight of the old value in a moving average, per training step.
_MOMENTUM = 0.99


@keras.saving.register_keras_serializable(package="symae_keras")
class AdaGVAE(GroupedAutoencoder):
    """Adaptive group-based variational autoencoder (Ada-GVAE).

    One encoder maps every instance to a Gaussian `N(m[t], v[t])` over one code. The
    model chooses the elements of the code that the instances of a group share. For each
    element `k`, with `KL` between the Gaussians of two instances:

        d[k]   = mean over pairs s != t of KL(N(m[s], v[s])[k] || N(m[t], v[t])[k]),
        shared = d < (max_k d + min_k d) / 2.

    The Gaussians of shared elements are replaced by their average over the group: the
    mean of `m[t]`, and the mean of the variances `v[t]` (not of the log variances or
    the standard deviations). For a group of `T` instances, the loss

        1/T sum_t [ -log p(x[t] | z[t]) + kl_weight * KL(q(z[t]) || N(0, 1)) ]

    counts the divergence of a shared element for every instance, as in the paper. The
    paper uses pairs, each in one order. The mean over all ordered pairs extends this to
    groups of any size and does not depend on the order of the instances.

    During training, the shared elements are chosen separately for each group. Encoding
    groups of one instance and swapping codes between groups require one choice for all
    groups. It is computed from a moving average of `d` over the training steps (see
    `shared`) and used outside of training. The coherent code is the average of the
    shared elements. The nuisance code contains the other elements of each instance.
    Both codes have `code_dim` elements, with 0 at the elements of the other code.

    Args:
        instance_shape: Shape of one instance, channels last.
        code_dim: Size of the code, shared and other elements together, at least 2.
            Defaults to 16.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape.
        decoder: A layer from a vector of size `code_dim` to one instance. `None`
            (default) mirrors the encoder.
        kl_weight: Weight of the divergence; `symae_keras.callbacks.KLSchedule` can
            anneal it. Defaults to 0.001; chosen for losses that are relative to the
            variance of the data and averaged over pixels.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed of the sampled codes, or `None`.

    Call arguments:
        inputs: Tensor `(batch, instances, *instance_shape)`, or a dict with
            `"instances"` and `"mask"` (boolean `(batch, instances)`, True = present).
        training: Whether to sample the code and to choose the shared elements per
            group. Otherwise, the means are decoded, with one choice for all groups.

    Output shape:
        `(batch, instances, *instance_shape)`.

    Reference:
        - [Locatello et al., Weakly-supervised disentanglement without compromises,
          2020](https://arxiv.org/abs/2002.02886)
        - [Hosoya, Group-based learning of disentangled representations with
          generalizability for novel contents, 2019](https://arxiv.org/abs/1809.02383):
          the average of Gaussians

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64)).astype("float32")
    >>> model = AdaGVAE(instance_shape=(64,), code_dim=5, seed=0)
    >>> model.compile(optimizer="adam", loss="mse")
    >>> sorted(model.fit(x, x, verbose=0).history)
    ['kl_loss', 'loss', 'reconstruction_loss']
    >>> model.shared.shape, bool(0 < model.shared.sum() < 5)
    ((5,), True)
    >>> tuple(model.redatum(coherent_from=x[:5], nuisance_from=x[5:10]).shape)
    (5, 4, 64)
    """

    def __init__(
        self,
        instance_shape: Sequence[int],
        code_dim: int = 16,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        kl_weight: float = 1e-3,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        code_dim = integer("code_dim", code_dim, least=2)
        sizes = (instance_shape, code_dim, code_dim)
        super().__init__(*sizes, encoder, decoder, normalization, seed, **kwargs)
        self.code_dim = code_dim
        self.kl_weight = not_negative("kl_weight", kl_weight)
        self._make_networks()
        self.head = self._head(2 * code_dim, "instance")
        self.pool = GaussianPooling("average", dtype=self.dtype_policy)
        self.sharing = _Sharing(code_dim, dtype=self.dtype_policy, name="sharing")
        self.sampling = GaussianSampling(kl_weight, seed, dtype=self.dtype_policy)
        self.build((None, None, *self.instance_shape))

    def _make_networks(self) -> None:
        first = self._make_encoder(2 * self.code_dim)
        second = self._make_decoder(first)
        dtype = self.dtype_policy
        self.instance_encoder = PerInstance(first, dtype=dtype, name="instance_encoder")
        self.instance_decoder = PerInstance(
            second, dtype=dtype, name="instance_decoder"
        )

    @property
    def shared(self) -> npt.NDArray[np.bool_]:
        """Shared elements of the code, a boolean array `(code_dim,)`.

        Before the first training step, no element is shared.
        """
        found = ops.convert_to_numpy(self.sharing.of_all_groups())
        return np.asarray(found, bool)

    # === Codes ===

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the code of each instance."""
        features = flat(self.instance_encoder(x))
        mean, log_variance = ops.split(call_chain(self.head, features), 2, axis=-1)
        return ops.cast(mean, "float32"), ops.cast(log_variance, "float32")

    def _codes(self, x: Tensor, mask: Tensor | None) -> Codes:
        mean, log_variance = self._posterior(x)
        pooled, _ = self.pool((mean, log_variance), mask=mask)
        shared = self.sharing.of_all_groups()
        coherent = ops.where(shared, pooled, ops.zeros_like(pooled))
        nuisance = ops.where(shared, ops.zeros_like(mean), mean)
        dtype = self.compute_dtype
        return Codes(ops.cast(coherent, dtype), ops.cast(nuisance, dtype))

    def _training_code(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Tensor:
        """Draw each instance's code, with shared elements from averaged Gaussians."""
        posterior = self._posterior(x)
        shared = self.sharing(posterior, mask=mask, training=training)[:, None, :]
        pooled = self.pool(posterior, mask=mask)
        averaged = [
            ops.where(shared, of_group[:, None, :], own)
            for of_group, own in zip(pooled, posterior, strict=True)
        ]
        return self.sampling(tuple(averaged), mask=mask, training=training)

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        x, mask = self._unpack(inputs)
        x, mask = self._clean(x, mask)
        code = self._training_code(x, mask, training)
        decoded = self._denormalize(self.instance_decoder(code))
        if mask is None:
            return decoded
        return self.carry_mask(decoded, mask=self.compute_mask(inputs, None))

    # === Use ===

    def decode(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        """Decode shared elements of one code together with other elements of another.

        Args:
            coherent: `(batch, code_dim)`; elements that are not shared are ignored.
            nuisance: `(batch, instances, code_dim)`; shared elements are ignored.

        Returns:
            Instances in data units, `(batch, instances, *instance_shape)`.
        """
        return super().decode(coherent, nuisance)

    def _decoded(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        coherent = ops.convert_to_tensor(coherent, dtype=self.compute_dtype)
        nuisance = ops.convert_to_tensor(nuisance, dtype=self.compute_dtype)
        shared = self.sharing.of_all_groups()
        code = ops.where(shared, coherent[:, None, :], nuisance)
        return self._denormalize(self.instance_decoder(code))

    def group_posterior(
        self, x: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the coherent code given the group.

        Args:
            x: See `encode`.
            mask: See `encode`.

        Returns:
            Two float32 tensors `(batch, code_dim)`, 0 at elements that are not shared.
            Their posterior equals their prior N(0, 1), and they are not decoded.
        """
        x, mask = self._clean(x, mask)
        shared = self.sharing.of_all_groups()
        mean, log_variance = self.pool(self._posterior(x), mask=mask)
        return ops.where(shared, mean, 0.0), ops.where(shared, log_variance, 0.0)

    def instance_posterior(
        self, x: Tensor, coherent: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the nuisance codes; see `MLVAE`.

        Args:
            x: See `encode`.
            coherent: Not used: the nuisance codes do not depend on it.
            mask: See `encode`.

        Returns:
            Two float32 tensors `(batch, instances, code_dim)`, 0 at shared elements.
        """
        x, mask = self._clean(x, mask)
        shared = self.sharing.of_all_groups()
        mean, log_variance = self._posterior(x)
        return ops.where(shared, 0.0, mean), ops.where(shared, 0.0, log_variance)

    def instance_prior(self, coherent: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return `None`: the prior of the nuisance codes is a standard normal."""
        return None


class _Sharing(keras.Layer):
    """Choice of the code elements whose Gaussians differ least within groups.

    Call arguments:
        inputs: Means and log variances, float32 tensors `(batch, instances, code)`.
        mask: Boolean `(batch, instances)`, True = present, or `None`.
        training: Whether to choose per group, and to update the moving average.

    Output shape:
        `(batch, code)` in training, else `(1, code)`, boolean.
    """

    def __init__(self, code_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # everything is computed in float32
        # Averaged over replicas when it is read. Synchronising replicas in the middle
        # of a forward pass would mix up the losses that Keras logs.
        self.divergence = keras.Variable(
            "zeros",
            shape=(code_dim,),
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="mean",
            synchronization="on_read",
            name="divergence",
        )
        self.built = True

    def call(
        self,
        inputs: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        if not training:
            return self.of_all_groups()[None]
        mean, log_variance = map(ops.stop_gradient, inputs)
        divergence, pairs = _between_pairs(mean, log_variance, first(mask))
        groups = ops.cast(pairs > 0.0, "float32")
        count = ops.sum(groups)
        average = ops.sum(divergence * groups, axis=0) / ops.maximum(count, 1.0)
        before = ops.convert_to_tensor(self.divergence)
        moved = _MOMENTUM * before + (1.0 - _MOMENTUM) * average
        # Without a pair in the batch, nothing changes. The average starts at 0, so it
        # is too small at first, but by the same factor for all elements.
        self.divergence.assign(ops.where(count > 0.0, moved, before))
        return _below_the_middle(divergence)

    def of_all_groups(self) -> Tensor:
        """Choose from the moving average, boolean `(code,)`."""
        return _below_the_middle(ops.convert_to_tensor(self.divergence))

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None


def _below_the_middle(divergence: Tensor) -> Tensor:
    """Compare elements with the middle between the smallest and the largest."""
    least = ops.min(divergence, axis=-1, keepdims=True)
    most = ops.max(divergence, axis=-1, keepdims=True)
    return divergence < 0.5 * (least + most)


def _between_pairs(
    mean: Tensor, log_variance: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return mean divergences over ordered pairs `(batch, code)`, and pair counts.

    The counts have the shape `(batch, 1)`. With `a = sum v`, `b = sum 1 / v` and the
    deviations `r` from the group mean, logarithms cancel and the sum over all pairs can
    be computed without forming pairs:

        sum_st KL = (a b + b sum r^2 + n sum (r^2 / v) - n^2) / 2.
    """
    log_variance = ops.clip(log_variance, -_LOG_VARIANCE_LIMIT, _LOG_VARIANCE_LIMIT)
    present = ops.ones_like(mean[..., :1])
    if mask is not None:
        present = ops.expand_dims(ops.cast(mask, "float32"), -1)
    count = ops.sum(present, axis=1)
    center = ops.sum(present * mean, axis=1) / ops.maximum(count, 1.0)
    squares = present * ops.square(mean - center[:, None, :])
    variances = ops.sum(present * ops.exp(log_variance), axis=1)
    precision = present * ops.exp(-log_variance)
    precisions = ops.sum(precision, axis=1)
    total = variances * precisions + precisions * ops.sum(squares, axis=1)
    total = total + count * ops.sum(precision * squares, axis=1) - ops.square(count)
    pairs = count * (count - 1.0)
    # Rounding can make the divergence of equal Gaussians negative.
    total = ops.maximum(total, 0.0)
    return 0.5 * total / ops.maximum(pairs, 1.0), pairs
