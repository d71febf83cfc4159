"""Variational symmetric autoencoder that accumulates coherent information."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from symae_keras._utils.arrays import Tensor
from symae_keras._utils.validation import not_negative, positive, positive_finite
from symae_keras.layers.noise import gaussian_divergence
from symae_keras.models.mlvae import MLVAE


@keras.saving.register_keras_serializable(package="symae_keras")
class SymVAE(MLVAE):
    """Variational symmetric autoencoder (SymVAE) with a search for the best nuisance.

    This is the variational extension of SymAE by its first author. Instances are
    independent given the coherent code, so information about it accumulates. The
    posterior `q(C | X)` is the product of the Gaussians of the instances. Informative
    instances have a high precision and thus a large weight. Networks, arguments and
    losses are those of `MLVAE`. Two methods use the trained model:

    - `instance_divergence` computes `KL(q(C | X) || q(C | x[t]))`, the divergence
      between the posterior of the group and that of one instance. Instances with a
      small divergence contain most of the coherent information.
    - `optimize_nuisance` searches, with gradient descent, for nuisance codes under
      which virtual instances show the coherent code best.

    The formulas follow the abstract of the paper and the code that its author
    published. That code can also divide the coherent code into classes and shift
    instances in time; this model does neither.

    Args:
        instance_shape: Shape of one instance, channels last.
        coherent_dim: Size of the group code. Defaults to 8.
        nuisance_dim: Size of the instance code. Defaults to 8.
        encoder: `"dense"` (default), `"conv1d"`, `"conv2d"`, or a `keras.Layer` or
            `keras.Model` from one instance to features of any shape.
        decoder: A layer from a vector of size `coherent_dim + nuisance_dim` to one
            instance. `None` (default) mirrors the encoder.
        kl_weight: Weight of both divergences. Defaults to 0.001.
        normalization: A `Standardization`, or a `keras.layers.Normalization` with a
            known mean and variance. Defaults to `None`.
        seed: Integer seed of the sampled codes, or `None`.

    Reference:
        - [Bharadwaj, On extracting coherent seismic wavefield using variational
          symmetric autoencoders, 2024](https://arxiv.org/abs/2411.15613)
        - [Bouchacourt, Tomioka & Nowozin, Multi-level variational autoencoder,
          2018](https://arxiv.org/abs/1705.08841): the same posterior

    Example:
    >>> x = np.random.default_rng(0).normal(size=(8, 4, 64)).astype("float32")
    >>> model = SymVAE((64,), coherent_dim=3, nuisance_dim=2, seed=0)
    >>> tuple(model.instance_divergence(x).shape)
    (8, 4)
    >>> nuisance = model.optimize_nuisance(x, x, steps=3)
    >>> tuple(model.decode(model.encode(x).coherent, nuisance).shape)
    (8, 4, 64)
    """

    def instance_divergence(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the divergence between the posteriors of a group and its instances.

        Args:
            x: `(batch, instances, *instance_shape)`, or `GroupedData`, see `encode`.
            mask: See `encode`. Values of absent instances have no meaning.

        Returns:
            `KL(q(C | X) || q(C | x[t]))` in nats, a float32 tensor
            `(batch, instances)`. It is 0 for a group of one instance.
        """
        x, mask = self._clean(*self._arrays(x, mask))
        each, _ = self._gaussians(x)
        group = self.pool(each, mask=mask)
        return _divergence_of_codes(group, each)

    def optimize_nuisance(
        self,
        coherent_from: Tensor,
        nuisance_from: Tensor,
        coherent_mask: Tensor | None = None,
        nuisance_mask: Tensor | None = None,
        steps: int = 100,
        learning_rate: float = 0.05,
        sparsity: float = 0.0,
    ) -> Tensor:
        """Find nuisance codes under which virtual instances show the state best.

        Starting at the nuisance codes of `nuisance_from`, Adam minimises over `N`

            sum KL(q(C | X) || q(C | D(C, N))) / its initial value
            + sparsity * (mean |v|) / its initial value,

        where `D(C, N)` is the virtual instance and `v` is the virtual instance,
        standardised to mean 0 and variance 1. The weights of the model do not change.

        Args:
            coherent_from: `(batch, instances_a, *instance_shape)`, the states.
            nuisance_from: `(batch, instances_b, *instance_shape)`, the initial
                nuisances. Instances with a small `instance_divergence` are good ones.
            coherent_mask: Mask of `coherent_from`, see `encode`.
            nuisance_mask: Mask of `nuisance_from`.
            steps: Steps of the optimiser. Defaults to 100.
            learning_rate: Learning rate of the optimiser. Defaults to 0.05.
            sparsity: Weight of the second term, which makes virtual instances sparse,
                as seismograms are. Defaults to 0.

        Returns:
            Nuisance codes, a tensor `(batch, instances_b, nuisance_dim)`, for `decode`
            together with the coherent codes of `coherent_from`.

        Raises:
            ValueError: An argument is invalid, or the numbers of groups differ.
        """
        steps = positive("steps", steps)
        learning_rate = positive_finite("learning_rate", learning_rate)
        sparsity = not_negative("sparsity", sparsity)
        x, mask = self._arrays(coherent_from, coherent_mask)
        start = self.encode(nuisance_from, nuisance_mask).nuisance
        if x.shape[0] != start.shape[0]:
            raise ValueError(
                "`coherent_from` and `nuisance_from` must hold the same number of "
                f"groups. Received: {x.shape[0]} and {start.shape[0]}"
            )
        search = _Search(self, self.group_posterior(x, mask), start, sparsity)
        search.compile(keras.optimizers.Adam(learning_rate))
        search.fit(np.zeros((steps, 1), "float32"), batch_size=1, verbose=0)
        return ops.convert_to_tensor(search.nuisance)


class _Search(keras.Model):
    """Model whose only weights are nuisance codes, so that `fit` optimises them."""

    def __init__(
        self,
        model: SymVAE,
        posterior: tuple[Tensor, Tensor],
        start: Tensor,
        sparsity: float,
    ) -> None:
        super().__init__(name="search", dtype="float32")
        # Hidden from Keras, which would also train the weights of the model.
        known = (model, tuple(map(ops.stop_gradient, posterior)), sparsity)
        object.__setattr__(self, "_known", lambda: known)
        self.nuisance = self.add_weight(
            name="nuisance",
            shape=tuple(start.shape),
            dtype="float32",
            initializer=keras.initializers.Constant(ops.convert_to_numpy(start)),
            autocast=False,
        )
        self.built = True
        first = [float(ops.convert_to_numpy(each)) for each in self.terms()]
        #: Scales of the terms; a term that starts at 0 cannot decrease.
        self.scales = tuple(value if value > 0.0 else 1.0 for value in first)

    def terms(self) -> tuple[Tensor, Tensor]:
        """Return divergence and mean absolute value of virtual instances, unscaled."""
        model, posterior, _ = self._known()
        nuisance = ops.cast(ops.convert_to_tensor(self.nuisance), model.compute_dtype)
        virtual = model.decode(posterior[0], nuisance)
        each, _ = model._gaussians(model._clean(virtual, None)[0])
        divergence = ops.sum(_divergence_of_codes(posterior, each))
        axes = tuple(range(2, len(virtual.shape)))
        virtual = ops.cast(virtual, "float32")
        centered = virtual - ops.mean(virtual, axis=axes, keepdims=True)
        deviation = ops.std(virtual, axis=axes, keepdims=True)
        scaled = centered / ops.maximum(deviation, 1e-12)
        return divergence, ops.mean(ops.abs(scaled))

    def call(self, inputs: Tensor) -> Tensor:
        (divergence, size), (first, second) = self.terms(), self.scales
        self.add_loss(divergence / first + self._known()[2] * size / second)
        return inputs


def _divergence_of_codes(
    group: tuple[Tensor, Tensor], each: tuple[Tensor, Tensor]
) -> Tensor:
    """Return the divergence of a group's posterior from those of instances, in nats."""
    mean, log_variance = (value[:, None, :] for value in group)
    return ops.sum(gaussian_divergence(mean, log_variance, each), axis=-1)
