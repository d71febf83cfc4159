"""The models that `compare` trains, each with its best settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import keras

from symae_keras import classical, models
from symae_keras.data.groups import GroupedData
from symae_keras.models._copies import copy_of
from symae_keras.training import normalization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What all models of a comparison have in common.

    Args:
        coherent_dim: Size of the coherent code.
        nuisance_dim: Size of the nuisance code. Models of single instances have one
            code of both sizes together.
        encoder: `"dense"`, `"conv1d"`, `"conv2d"`, or a layer on instances, of which
            every model takes a copy, with the weights that it has.
    """

    coherent_dim: int = 8
    nuisance_dim: int = 8
    encoder: str | keras.Layer = "dense"

    def copy_of_encoder(self) -> str | keras.Layer:
        """The encoder, to be used once."""
        if isinstance(self.encoder, str):
            return self.encoder
        return copy_of(self.encoder)


#: Makes an uncompiled Keras model, or a reference with `fit`, from a seed.
Build = Callable[[GroupedData, Sizes, int], Any]


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model of a comparison.

    Attributes:
        title: Its name in tables.
        family: What kind of model it is, told by colour in figures.
        build: Makes it.
    """

    title: str
    family: str
    build: Build


def _grouped(cls: type[keras.Model], **arguments: Any) -> Build:
    def build(groups: GroupedData, sizes: Sizes, seed: int) -> keras.Model:
        return cls(
            groups.instance_shape,
            sizes.coherent_dim,
            sizes.nuisance_dim,
            encoder=sizes.copy_of_encoder(),
            normalization=normalization(groups),
            seed=seed,
            **arguments,
        )

    return build


def _single(cls: type[keras.Model], **arguments: Any) -> Build:
    """A model of single instances, made a grouped one by the mean swap of its codes."""

    def build(groups: GroupedData, sizes: Sizes, seed: int) -> keras.Model:
        size = sizes.coherent_dim + sizes.nuisance_dim
        common: dict[str, Any] = {
            "normalization": normalization(groups),
            "seed": seed,
            **arguments,
        }
        if cls is not models.LinearAutoencoder:
            common["encoder"] = sizes.copy_of_encoder()
        if cls is models.VQVAE:
            # Codes of `size` numbers, quantised four at a time.
            common |= {"n_latents": max(1, size // 4), "embedding_dim": 4}
        else:
            common["code_dim"] = size
        return models.LatentMeanSwap(cls(groups.instance_shape, **common))

    return build


def _ada_gvae(groups: GroupedData, sizes: Sizes, seed: int) -> keras.Model:
    # It finds out by itself which numbers of one code are coherent.
    return models.AdaGVAE(
        groups.instance_shape,
        sizes.coherent_dim + sizes.nuisance_dim,
        encoder=sizes.copy_of_encoder(),
        kl_weight=1e-3,
        normalization=normalization(groups),
        seed=seed,
    )


def _pca(groups: GroupedData, sizes: Sizes, seed: int) -> Any:
    # Few groups have no more components than that.
    coherent_dim = min(sizes.coherent_dim, len(groups) - 1)
    return classical.GroupedPCA(coherent_dim, sizes.nuisance_dim)


# Weights hold for a loss relative to the variance of the data and averaged over
# pixels. They were chosen for the least redatuming error on the entangled exposures.
CONTENDERS: Final[dict[str, Contender]] = {
    "symae": Contender(
        "SymAE (conditional, Gaussian)", "SymAE", _grouped(models.SymAE)
    ),
    "symae_original": Contender(
        "SymAE (original, Gaussian)",
        "SymAE",
        _grouped(models.SymAE, conditional_nuisance=False),
    ),
    "symae_variational": Contender(
        "SymAE (conditional, variational)",
        "SymAE",
        _grouped(models.SymAE, nuisance_noise="variational", noise_strength=1e-3),
    ),
    "neural_statistician": Contender(
        "Neural statistician",
        "grouped VAE",
        _grouped(models.NeuralStatistician, kl_weight=1e-3),
    ),
    "mlvae": Contender("ML-VAE", "grouped VAE", _grouped(models.MLVAE, kl_weight=1e-3)),
    "gvae": Contender("GVAE", "grouped VAE", _grouped(models.GVAE, kl_weight=1e-3)),
    "ada_gvae": Contender("Ada-GVAE", "grouped VAE", _ada_gvae),
    "adversarial_gvae": Contender(
        "Adversarial GVAE",
        "grouped VAE",
        _grouped(models.AdversarialGVAE, kl_weight=1e-3),
    ),
    "contrastive": Contender(
        "Contrastive encoder", "contrastive", _grouped(models.ContrastiveEncoder)
    ),
    "autoencoder": Contender(
        "Autoencoder", "single instance", _single(models.Autoencoder)
    ),
    "vae": Contender("VAE", "single instance", _single(models.VAE, kl_weight=1e-3)),
    **{
        name: Contender(title, "single instance", _single(cls))
        for name, title, cls in (
            ("linear", "Linear autoencoder", models.LinearAutoencoder),
            ("denoising", "Denoising autoencoder", models.DenoisingAutoencoder),
            ("sparse", "Sparse autoencoder", models.SparseAutoencoder),
            ("contractive", "Contractive autoencoder", models.ContractiveAutoencoder),
            ("vqvae", "VQ-VAE", models.VQVAE),
            ("adversarial", "Adversarial autoencoder", models.AdversarialAutoencoder),
            ("wasserstein", "Wasserstein autoencoder", models.WassersteinAutoencoder),
        )
    },
    "pca": Contender("PCA of means and deviations", "classical", _pca),
    "mean_swap": Contender(
        "Linear mean swap", "classical", lambda *_: classical.MeanSwap()
    ),
}

#: What is compared unless the user says otherwise: all grouped models, two of single
#: instances, and the references.
DEFAULT: Final = (
    "symae_variational",
    "symae",
    "symae_original",
    "neural_statistician",
    "mlvae",
    "gvae",
    "autoencoder",
    "vae",
    "pca",
    "mean_swap",
)
