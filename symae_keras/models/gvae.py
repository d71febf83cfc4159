"""The group-based variational autoencoder."""

from __future__ import annotations

from typing import ClassVar

import keras

from symae_keras.models.mlvae import MLVAE


@keras.saving.register_keras_serializable(package="symae_keras")
class GVAE(MLVAE):
    """Group-based variational autoencoder (GVAE).

    It has the arguments, losses and methods of `MLVAE`. Only the posterior of the group
    code differs: its mean is the average of the means of the instances, and its
    variance is the average of their variances. The variance therefore does not decrease
    with more instances.

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
        - [Hosoya, Group-based learning of disentangled representations with
          generalizability for novel contents, 2019](https://arxiv.org/abs/1809.02383)

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(32, 4, 64)).astype("float32")
    >>> model = GVAE(instance_shape=(64,), coherent_dim=3, nuisance_dim=2, seed=0)
    >>> codes = model.encode(x)
    >>> tuple(codes.coherent.shape), tuple(codes.nuisance.shape)
    ((32, 3), (32, 4, 2))
    """

    _pooling: ClassVar[str] = "average"
