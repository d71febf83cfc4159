"""Autoencoders on groups of instances; compositions of `symae_keras.layers`."""

# Keras first: its import runs the registration hook of the package.
import keras  # noqa: F401  isort: skip

from typing import Final

from symae_keras._utils.arrays import Codes
from symae_keras.models.ada_gvae import AdaGVAE
from symae_keras.models.adversarial_autoencoder import AdversarialAutoencoder
from symae_keras.models.adversarial_gvae import AdversarialGVAE
from symae_keras.models.autoencoder import Autoencoder
from symae_keras.models.base import AutoencoderBase
from symae_keras.models.contractive_autoencoder import ContractiveAutoencoder
from symae_keras.models.contrastive_encoder import ContrastiveEncoder
from symae_keras.models.denoising_autoencoder import DenoisingAutoencoder
from symae_keras.models.gvae import GVAE
from symae_keras.models.latent_mean_swap import LatentMeanSwap
from symae_keras.models.linear_autoencoder import LinearAutoencoder
from symae_keras.models.mlvae import MLVAE
from symae_keras.models.neural_statistician import NeuralStatistician
from symae_keras.models.segnet import SegNet
from symae_keras.models.segresnet_vae import SegResNetVAE
from symae_keras.models.sparse_autoencoder import SparseAutoencoder
from symae_keras.models.stellar_autoencoder import StellarAutoencoder
from symae_keras.models.symae import SymAE
from symae_keras.models.symvae import SymVAE
from symae_keras.models.tomographic_symae import TomographicSymAE
from symae_keras.models.unet import UNet
from symae_keras.models.vae import VAE
from symae_keras.models.vqvae import VQVAE
from symae_keras.models.wasserstein_autoencoder import WassersteinAutoencoder

__all__ = [
    "AdaGVAE",
    "AdversarialAutoencoder",
    "AdversarialGVAE",
    "Autoencoder",
    "Codes",
    "ContractiveAutoencoder",
    "ContrastiveEncoder",
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
    "SymVAE",
    "TomographicSymAE",
    "UNet",
    "VAE",
    "VQVAE",
    "WassersteinAutoencoder",
]

#: All models by short name: first those of single instances, then those of groups. A
#: new model needs one line here.
MODELS: Final[dict[str, type[AutoencoderBase]]] = {
    "linear": LinearAutoencoder,
    "autoencoder": Autoencoder,
    "sparse": SparseAutoencoder,
    "denoising": DenoisingAutoencoder,
    "contractive": ContractiveAutoencoder,
    "vae": VAE,
    "vqvae": VQVAE,
    "adversarial": AdversarialAutoencoder,
    "wasserstein": WassersteinAutoencoder,
    "stellar": StellarAutoencoder,
    "latent_mean_swap": LatentMeanSwap,
    "unet": UNet,
    "segnet": SegNet,
    "segresnet_vae": SegResNetVAE,
    "symae": SymAE,
    "mlvae": MLVAE,
    "symvae": SymVAE,
    "gvae": GVAE,
    "ada_gvae": AdaGVAE,
    "adversarial_gvae": AdversarialGVAE,
    "neural_statistician": NeuralStatistician,
    "contrastive": ContrastiveEncoder,
    "tomographic": TomographicSymAE,
}


def __dir__() -> list[str]:
    return sorted(__all__)
