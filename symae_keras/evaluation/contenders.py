"""The models that `compare` trains, each with its best settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import keras

from symae_keras import classical, models
from symae_keras.data.groups import GroupedData
from symae_keras.models._copies import copy_of
from symae_keras.training import normalization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Settings that all models of a comparison share.

    Args:
        coherent_dim: Size of the coherent code.
        nuisance_dim: Size of the nuisance code. Models of single instances have one
            code whose size is the sum of both.
        encoder: `"dense"`, `"conv1d"`, `"conv2d"`, or a layer for instances. Every
            model uses a copy of the layer, including its weights.
    """

    coherent_dim: int = 8
    nuisance_dim: int = 8
    encoder: str | keras.Layer = "dense"

    def copy_of_encoder(self) -> str | keras.Layer:
        """Return a copy of the encoder; each copy is used in one model."""
        if isinstance(self.encoder, str):
            return self.encoder
        return copy_of(self.encoder)


#: Function of a seed that returns an uncompiled Keras model, or a reference with `fit`.
Build = Callable[[GroupedData, Sizes, int], Any]


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model of a comparison.

    Attributes:
        title: Its name in tables.
        family: Its group of models, shown by colour in figures.
        build: Function that builds it.
        settings: The arguments that differ from the defaults of its class.
        estimable: Whether `estimate_redatuming_error` can judge it. It cannot judge a
            model that is trained to hide the state in its nuisance codes: the estimate
            can be far too low.
    """

    title: str
    family: str
    build: Build
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    estimable: bool = True

    @property
    def settings_text(self) -> str:
        """The settings as one line of text.

        Example:
        >>> CONTENDERS["mlvae"].settings_text, CONTENDERS["symae"].settings_text
        ('kl_weight=0.001', 'defaults')
        """
        named = [f"{name}={value}" for name, value in self.settings.items()]
        return ", ".join(named) or "defaults"


def _grouped(
    title: str, family: str, cls: type[keras.Model], **arguments: Any
) -> Contender:
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

    estimable = cls is not models.AdversarialGVAE
    return Contender(title, family, build, arguments, estimable)


def _single(title: str, cls: type[keras.Model], **arguments: Any) -> Contender:
    """Return a model of single instances that redatums by the mean swap of codes."""

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
            # Codes of `size` numbers, quantised in blocks of four.
            common |= {"n_latents": max(1, size // 4), "embedding_dim": 4}
        else:
            common["code_dim"] = size
        return models.LatentMeanSwap(cls(groups.instance_shape, **common))

    return Contender(title, "single instance", build, arguments)


def _ada_gvae(title: str, family: str, **arguments: Any) -> Contender:
    def build(groups: GroupedData, sizes: Sizes, seed: int) -> keras.Model:
        # The model chooses the coherent components of one code itself.
        return models.AdaGVAE(
            groups.instance_shape,
            sizes.coherent_dim + sizes.nuisance_dim,
            encoder=sizes.copy_of_encoder(),
            normalization=normalization(groups),
            seed=seed,
            **arguments,
        )

    return Contender(title, family, build, arguments)


def _classical(title: str, cls: Callable[[], Any]) -> Contender:
    """Return a reference without a code size, or one that chooses it itself."""
    return Contender(title, "classical", lambda *_: cls())


def _pca(groups: GroupedData, sizes: Sizes, seed: int) -> Any:
    # A few groups cannot have more components than this.
    coherent_dim = min(sizes.coherent_dim, len(groups) - 1)
    return classical.GroupedPCA(coherent_dim, sizes.nuisance_dim)


# Weights refer to a loss that is divided by the variance of the data and averaged
# over pixels. They minimise the redatuming error on the entangled exposures.
CONTENDERS: Final[dict[str, Contender]] = {
    "symae": _grouped("SymAE (conditional, Gaussian)", "SymAE", models.SymAE),
    "symae_original": _grouped(
        "SymAE (original, Gaussian)",
        "SymAE",
        models.SymAE,
        conditional_nuisance=False,
    ),
    "symae_variational": _grouped(
        "SymAE (conditional, variational)",
        "SymAE",
        models.SymAE,
        nuisance_noise="variational",
        noise_strength=1e-3,
    ),
    "symae_linear": _grouped(
        "SymAE (linear backbone, Gaussian)",
        "SymAE",
        models.SymAE,
        backbone="linear",
    ),
    **{
        name: _grouped(title, "grouped VAE", cls, kl_weight=1e-3)
        for name, title, cls in (
            ("neural_statistician", "Neural statistician", models.NeuralStatistician),
            ("mlvae", "ML-VAE", models.MLVAE),
            ("gvae", "GVAE", models.GVAE),
            ("adversarial_gvae", "Adversarial GVAE", models.AdversarialGVAE),
        )
    },
    "ada_gvae": _ada_gvae("Ada-GVAE", "grouped VAE", kl_weight=1e-3),
    "contrastive": _grouped(
        "Contrastive encoder", "contrastive", models.ContrastiveEncoder
    ),
    "autoencoder": _single("Autoencoder", models.Autoencoder),
    "vae": _single("VAE", models.VAE, kl_weight=1e-3),
    **{
        name: _single(title, cls)
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
    "linear_mixed_model": _classical("Linear mixed model", classical.LinearMixedModel),
    "emsc": _classical(
        "Extended scatter correction", classical.ExtendedScatterCorrection
    ),
    "msc": _classical("Multiplicative scatter correction", classical.MSC),
    "snv": _classical("Standard normal variate", classical.SNV),
    "phase_weighted_stack": _classical(
        "Phase-weighted stack", classical.PhaseWeightedStack
    ),
    "pca": Contender("PCA of means and deviations", "classical", _pca),
    "mean_swap": _classical("Linear mean swap", classical.MeanSwap),
}

#: Default models of a comparison: all grouped models, two models of single instances,
#: and the references.
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
