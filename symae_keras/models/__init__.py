"""Autoencoders on groups of instances; compositions of `symae_keras.layers`."""

# Keras first: its import runs the registration hook of the package.
import keras  # noqa: F401  isort: skip

from symae_keras._utils.types import Codes
from symae_keras.models.adversarial_autoencoder import AdversarialAutoencoder
from symae_keras.models.autoencoder import Autoencoder
from symae_keras.models.contractive_autoencoder import ContractiveAutoencoder
from symae_keras.models.denoising_autoencoder import DenoisingAutoencoder
from symae_keras.models.gvae import GVAE
from symae_keras.models.latent_mean_swap import LatentMeanSwap
from symae_keras.models.linear_autoencoder import LinearAutoencoder
from symae_keras.models.mlvae import MLVAE
from symae_keras.models.neural_statistician import NeuralStatistician
from symae_keras.models.registry import MODELS
from symae_keras.models.segnet import SegNet
from symae_keras.models.segresnet_vae import SegResNetVAE
from symae_keras.models.sparse_autoencoder import SparseAutoencoder
from symae_keras.models.stellar_autoencoder import StellarAutoencoder
from symae_keras.models.symae import SymAE
from symae_keras.models.unet import UNet
from symae_keras.models.vae import VAE
from symae_keras.models.vqvae import VQVAE
from symae_keras.models.wasserstein_autoencoder import WassersteinAutoencoder

__all__ = [
    "AdversarialAutoencoder",
    "Autoencoder",
    "Codes",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "GVAE",
    "LatentMeanSwap",
    "LinearAutoencoder",
    "MODELS",
    "MLVAE",
    "NeuralStatistician",
    "SegNet",
    "SegResNetVAE",
    "SparseAutoencoder",
    "StellarAutoencoder",
    "SymAE",
    "UNet",
    "VAE",
    "VQVAE",
    "WassersteinAutoencoder",
]


def __dir__() -> list[str]:
    return sorted(__all__)
