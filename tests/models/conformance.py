"""Small models of every kind, and the data that all of them must fit well.

A new model adds its cases here, and `test_conformance.py` runs all checks on them.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from symae_keras import layers
from symae_keras.data import simulate_gathers
from symae_keras.models import MODELS, VAE, VQVAE
from symae_keras.models.base import AutoencoderBase
from symae_keras.models.groups import GroupedAutoencoder

INSTANCES = 3  # in each group


def dense(dtype: Any = None) -> keras.Layer:
    return layers.DenseEncoder(8, units=(16,), dtype=dtype)


def conv1d(dtype: Any = None) -> keras.Layer:
    return layers.Conv1DEncoder(8, filters=(4, 6), dtype=dtype)


def conv2d(dtype: Any = None) -> keras.Layer:
    return layers.Conv2DEncoder(8, filters=(4, 6), dtype=dtype)


def functional(dtype: Any = None) -> keras.Layer:
    inputs = keras.Input((12,))
    hidden = keras.layers.Dense(8, activation="gelu", dtype=dtype)(inputs)
    return keras.Model(inputs, keras.layers.Dense(6, dtype=dtype)(hidden))


def known(dtype: Any = None) -> keras.Layer:
    """Return a normalisation layer made from its arguments."""
    return keras.layers.Normalization(axis=None, mean=0.3, variance=2.0, dtype=dtype)


def standard(dtype: Any = None) -> keras.Layer:
    """Return a normalisation layer of this package, computed from data."""
    x = np.random.default_rng(0).normal(0.3, 1.5, (50, 1, 12))
    return layers.Standardization.of(x, dtype=dtype)


def adapted(dtype: Any = None) -> keras.Layer:
    """Return one that is only in the weights, with mean and variance per pixel."""
    layer = keras.layers.Normalization(dtype=dtype)
    layer.adapt(np.random.default_rng(0).normal(0.3, 1.5, (50, 12)))
    return layer


#: Arguments that make models small, if they have such an argument.
_SMALL = {
    "code_dim": 4,
    "coherent_dim": 3,
    "nuisance_dim": 2,
    "encoder": dense,
    "filters": (4, 6),
    "seed": 0,
}


def constructor_arguments(cls: type) -> dict[str, inspect.Parameter]:
    """Return the arguments of a constructor by name, without `self` and `kwargs`."""
    # For the class itself, Python before 3.11.3 could return those of `__new__`.
    found = inspect.signature(cls.__init__).parameters
    return {k: each for k, each in found.items() if k not in ("self", "kwargs")}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and its expected behaviour.

    Args:
        model: Its name in the registry.
        arguments: Constructor arguments that differ from `_SMALL`. Functions are called
            with a dtype policy, because each model needs separate layers. One function
            returns all arguments if they share a layer.
        shape: Shape of an instance.
        n_classes: Number of classes per pixel; `None` if the targets are the instances
            themselves.
        binary: Whether data are 0 and 1.
        mean: Mean of all other data.
        loss: Loss for `compile`; `None` means the likelihood of the model.
        learning_rate: Learning rate of stochastic gradient descent.
        error: Largest remaining share of the variance of ten instances, or groups,
            after the model is fitted to them. With labels, the largest share of wrong
            pixels, relative to always predicting the most common label.
        moved: Distance by which the weights are moved before saving; small if layers
            are so wide that the outputs would explode.
        gathers: Whether data are shot gathers.
        couples_rows: Whether the loss of a batch is not a mean over its rows.
        noisy: Whether training draws random numbers.
        noisy_evaluation: Whether `evaluate` draws random numbers, too.
        rounding: Tolerance between backends; larger if equations are solved.
        idle: Variables that the loss does not depend on, by parts of their paths.
        not_decoded: Variables that the reconstruction does not depend on.
    """

    model: str
    arguments: Mapping[str, Any] | Callable[[Any], dict[str, Any]] = dataclasses.field(
        default_factory=dict
    )
    shape: tuple[int, ...] = (12,)
    n_classes: int | None = None
    binary: bool = False
    mean: float = 0.3
    loss: str | None = "mse"
    learning_rate: float = 0.2
    error: float = 0.15
    moved: float = 0.1
    gathers: bool = False
    couples_rows: bool = False
    noisy: bool = False
    noisy_evaluation: bool = False
    rounding: float = 1e-5
    idle: tuple[str, ...] = ()
    not_decoded: tuple[str, ...] = ()

    @property
    def cls(self) -> type[AutoencoderBase]:
        return MODELS[self.model]

    @property
    def grouped(self) -> bool:
        return issubclass(self.cls, GroupedAutoencoder)

    @property
    def parameters(self) -> list[str]:
        """Return the names of the constructor arguments."""
        return list(constructor_arguments(self.cls))

    def build(self, dtype: str | None = None, **changed: Any) -> Any:
        """Make a new model."""
        policy = None if dtype is None else keras.DTypePolicy(dtype)
        given = {"instance_shape": self.shape, **_SMALL}
        given = {name: given[name] for name in self.parameters if name in given}
        if self.n_classes is not None:
            given["n_classes"] = self.n_classes
        arguments = self.arguments
        given |= arguments(policy) if callable(arguments) else arguments
        given |= changed
        given = {
            name: value(policy) if inspect.isfunction(value) else value
            for name, value in given.items()
        }
        return self.cls(**given, dtype=policy)

    def compile(self, model: Any, **arguments: Any) -> None:
        """Return gradient descent: Adam takes several times as long to compile."""
        loss = model.likelihood_loss(0.2) if self.loss is None else self.loss
        optimizer = keras.optimizers.SGD(self.learning_rate)
        model.compile(optimizer, loss, **arguments)

    def data(self, rows: int, seed: int = 0) -> np.ndarray:
        """Make instances, or groups of them.

        Two numbers determine what the instances of a group share, and two more what is
        specific to each instance. The codes of all models are large enough for them.
        """
        if self.gathers:
            receivers, samples = self.shape
            return simulate_gathers(
                rows, INSTANCES, seed, n_receivers=receivers, n_samples=samples
            ).x
        groups = (rows, INSTANCES) if self.grouped else (rows, 1)
        rng = np.random.default_rng(seed)
        own, shared = rng.normal(size=(*groups, 2)), rng.normal(size=(rows, 1, 2))
        numbers = np.concatenate([own, shared + 0.0 * own], axis=-1)
        x = self.mean + np.tensordot(numbers, _waves(self.shape), 1)
        if self.binary:
            x = x > 0.0
        return (x if self.grouped else x[:, 0]).astype("float32")

    def targets(self, x: np.ndarray) -> np.ndarray:
        """Return the targets: the instances, or a label for each pixel."""
        if self.n_classes is None:
            return x
        limits = np.linspace(-1.0, 1.6, self.n_classes + 1)[1:-1]
        return np.digitize(x[..., 0], limits)

    def output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the model's output for a shape of data."""
        return shape if self.n_classes is None else (*shape[:-1], self.n_classes)

    def misfit(self, output: np.ndarray, x: np.ndarray) -> float:
        """Return the remaining error; see `error`."""
        y = self.targets(x)
        if self.n_classes is None:
            return float(np.mean((output - y) ** 2) / np.var(y))
        commonest = np.bincount(y.ravel()).max() / y.size
        return float(np.mean(output.argmax(axis=-1) != y) / (1.0 - commonest))

    def even_data(self) -> np.ndarray:
        """Return eight rows, whose loss is the mean of the losses of both halves."""
        if not self.couples_rows:
            return self.data(8, seed=1)
        return np.concatenate([self.data(4, seed=1)] * 2)


def _waves(shape: tuple[int, ...]) -> np.ndarray:
    """Make four smooth instances, which suit convolutions as well as dense layers."""
    waves = np.ones((4, *shape))
    for axis, n in enumerate(shape):
        if n > 1:
            place = np.pi * (np.arange(n) + 0.5) / n
            wave = np.cos([(k + axis) % 4 * place for k in range(1, 5)])
            waves *= wave.reshape(
                4, *(n if i == axis else 1 for i in range(len(shape)))
            )
    return waves / np.sqrt(2.0 * np.mean(waves**2))


def _tied(dtype: Any = None) -> dict[str, Any]:
    shared = keras.layers.Dense(16, activation="sigmoid", dtype=dtype)
    decoder = layers.TiedDense(shared, (12,), dtype=dtype)
    return {"code_dim": None, "encoder": shared, "decoder": decoder}


def _ring(n: int) -> list[list[float]]:
    """Return the receivers of simulated gathers, in km."""
    angle = 2.0 * np.pi * np.arange(n) / n
    return (0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)).tolist()


_VAE = {"arguments": {"kl_weight": 1e-3}, "noisy": True}
_CODEBOOK: dict[str, Any] = {"couples_rows": True, "not_decoded": ("codebook",)}
_IMAGE = {"arguments": {"encoder": conv2d}, "shape": (9, 7, 1), "error": 0.5}
_LABELS: dict[str, Any] = {
    "shape": (9, 7, 1),
    "n_classes": 3,
    "loss": "sparse_categorical_crossentropy",
    "learning_rate": 0.05,
    "error": 0.5,
}

CASES: dict[str, Case] = {
    # === Single instances ===
    "linear": Case("linear"),
    "linear-free": Case("linear", {"tied": False, "normalization": adapted}),
    "autoencoder": Case("autoencoder"),
    "autoencoder-decay": Case(
        "autoencoder",
        {
            "encoder": conv1d,
            "weight_decay": keras.regularizers.L1L2(l1=1e-6, l2=1e-5),
            "normalization": known,
        },
        shape=(13,),
        learning_rate=0.1,
        error=0.2,
    ),
    "autoencoder-image": Case("autoencoder", **_IMAGE),
    "autoencoder-user": Case(
        "autoencoder",
        {
            "code_dim": None,
            "encoder": functional,
            "decoder": lambda dtype: keras.layers.Dense(12, dtype=dtype),
        },
    ),
    "sparse-l1": Case("sparse", {"code_dim": 16}),
    "sparse-kl": Case(
        "sparse",
        {"code_dim": 16, "sparsity": "kl", "sparsity_weight": 1e-4},
        couples_rows=True,
    ),
    "sparse-top_k": Case(
        "sparse", {"code_dim": 16, "sparsity": "top_k", "n_active": 5}
    ),
    "denoising": Case("denoising", noisy=True),
    "denoising-masking": Case(
        "denoising",
        {"corruption": "masking", "normalization": adapted},
        error=0.25,
        noisy=True,
    ),
    "denoising-salt_and_pepper": Case(
        "denoising", {"corruption": "salt_and_pepper"}, error=0.4, noisy=True
    ),
    "denoising-block": Case(
        "denoising", {"corruption": "block"}, shape=(8, 8, 1), noisy=True
    ),
    "contractive": Case("contractive", noisy=True, noisy_evaluation=True),
    "contractive-exact": Case("contractive", {"n_directions": None}),
    "contractive-tied": Case("contractive", _tied, noisy=True, noisy_evaluation=True),
    "vae": Case("vae", **_VAE),
    "vae-free_bits": Case(
        "vae",
        {"free_bits": 0.01},
        loss=None,
        learning_rate=1.5e-3,
        error=0.2,
        couples_rows=True,
        noisy=True,
    ),
    "vae-bernoulli": Case(
        "vae",
        {"likelihood": "bernoulli", "kl_weight": 0.1},
        binary=True,
        loss=None,
        learning_rate=0.04,
        error=0.2,
        noisy=True,
    ),
    "vqvae": Case(
        "vqvae", {"n_latents": 4, "embedding_dim": 2, "n_embeddings": 16}, **_CODEBOOK
    ),
    "vqvae-map": Case(
        "vqvae",
        {
            "n_latents": None,
            "embedding_dim": 4,
            "n_embeddings": 16,
            "encoder": lambda dtype: keras.Sequential(
                [
                    keras.layers.Dense(12, dtype=dtype),
                    keras.layers.Reshape((3, 4), dtype=dtype),
                ]
            ),
            "decoder": lambda dtype: keras.Sequential(
                [keras.layers.Flatten(dtype=dtype), keras.layers.Dense(12, dtype=dtype)]
            ),
        },
        **_CODEBOOK,
    ),
    "adversarial": Case(
        "adversarial",
        {"discriminator_units": (8,)},
        noisy=True,
        noisy_evaluation=True,
        not_decoded=("prior_adversary",),
    ),
    "wasserstein": Case(
        "wasserstein",
        {"mmd_weight": 0.1},
        couples_rows=True,
        noisy=True,
        noisy_evaluation=True,
    ),
    # === Pixels of single instances ===
    "unet": Case("unet", shape=(13,), noisy=True),
    "unet-inpainting": Case(
        "unet",
        {"head": "inpainting", "normalization": known},
        shape=(9, 7, 2),
        noisy=True,
    ),
    "unet-segmentation": Case(
        "unet", {"head": "segmentation", "upsampling": "nearest"}, **_LABELS
    ),
    "segnet": Case("segnet", **_LABELS),
    "segnet-spectra": Case("segnet", **{**_LABELS, "shape": (13, 1)}),
    # The code does not contain the brightness, so data must not be around 0.
    "stellar": Case("stellar", mean=3.0, learning_rate=0.4, error=0.2, moved=0.01),
    "stellar-disentangled": Case(
        "stellar",
        {"kl_weight": 1e-4, "normalization": known},
        shape=(13, 2),
        moved=0.01,
        noisy=True,
    ),
    "segresnet_vae": Case(
        "segresnet_vae", **_LABELS, noisy=True, not_decoded=("vae_branch",)
    ),
    "segresnet_vae-plain": Case(
        "segresnet_vae", {"vae_branch": False}, **{**_LABELS, "shape": (5, 4, 3, 1)}
    ),
    # === Groups ===
    "latent_mean_swap": Case(
        "latent_mean_swap",
        {
            "autoencoder": lambda dtype: VAE(
                (12,), 4, dense(dtype), kl_weight=1e-3, seed=0, dtype=dtype
            )
        },
        noisy=True,
    ),
    "latent_mean_swap-vqvae": Case(
        "latent_mean_swap",
        {
            "autoencoder": lambda dtype: VQVAE(
                (12,), 4, 2, 16, encoder=dense(dtype), dtype=dtype
            )
        },
        **_CODEBOOK,
    ),
    "symae": Case("symae", noisy=True),
    "symae-original": Case(
        "symae",
        {
            "conditional_nuisance": False,
            "encoder": conv1d,
            "nuisance_noise": "bernoulli",
            "noise_strength": 0.2,
            "pooling": "max",
        },
        shape=(13,),
        error=0.25,
        noisy=True,
    ),
    "symae-attention": Case(
        "symae",
        {
            "pooling": "attention",
            "nuisance_noise": "additive",
            "noise_strength": 0.1,
            "normalization": standard,
        },
        noisy=True,
        idle=("key/bias",),  # a softmax does not change if all scores shift equally
    ),
    "symae-variational": Case(
        "symae",
        {"nuisance_noise": "variational", "pooling": "sum", "instance_dropout": 0.3},
        learning_rate=0.1,
        error=0.25,
        noisy=True,
        not_decoded=("prior_",),
    ),
    "symae-user": Case(
        "symae",
        {
            "encoder": lambda dtype: keras.Sequential(
                [keras.layers.Dense(8, activation="gelu", dtype=dtype)]
            ),
            "pooling": lambda dtype: layers.AttentionPooling(2, 2, 3, dtype=dtype),
        },
        noisy=True,
        idle=("key/bias",),
    ),
    "symae-linear": Case(
        "symae",
        {
            "backbone": "linear",
            "instance_dropout": 0.3,
            "noise_strength": 0.1,
            "normalization": standard,
        },
        noisy=True,
    ),
    "mlvae": Case("mlvae", **_VAE),
    "mlvae-image": Case("mlvae", **_IMAGE, noisy=True),
    "gvae": Case("gvae", **_VAE),
    "symvae": Case("symvae", **_VAE),
    "ada_gvae": Case("ada_gvae", **_VAE),
    "adversarial_gvae": Case(
        "adversarial_gvae",
        {"kl_weight": 1e-3, "discriminator_units": (8,)},
        couples_rows=True,
        noisy=True,
        not_decoded=("adversary",),
    ),
    "contrastive": Case(
        "contrastive", couples_rows=True, noisy=True, not_decoded=("coherent_",)
    ),
    "tomographic": Case(
        "tomographic",
        {"receivers": _ring(8), "spacing": 0.2},
        shape=(8, 96),
        gathers=True,
        learning_rate=0.01,
        rounding=1e-4,
    ),
    "neural_statistician": Case(
        "neural_statistician",
        **_VAE,
        not_decoded=("prior_",),  # codes are standardised by the prior, and back again
    ),
}

#: One case of each model.
FIRST = tuple({case.model: name for name, case in reversed(CASES.items())}.values())
#: One case of single instances, of pixels and of groups, for expensive tests.
THREE = ("wasserstein", "unet-segmentation", "symae-attention")
#: Some cases of every base class and way of building, for tests of seconds per model.
TEN = (
    *(*THREE, "autoencoder-decay", "contractive", "vae", "vqvae"),
    *("segnet-spectra", "latent_mean_swap", "gvae", "symae-linear"),
)


# === Helpers of several tests ===


def silence_decoder(model: Any) -> None:
    """Make a decoder return zeros, in the units of the networks."""
    for weight in model.instance_decoder.weights:
        weight.assign(np.zeros(weight.shape))


def waves(rng: np.random.Generator, n: int = 500) -> np.ndarray:
    """Make waves of 20 pixels, each with its own phase and amplitude."""
    phase, amplitude = rng.uniform(-1.0, 1.0, size=(2, n, 1))
    wave = np.sin(2 * np.pi * (np.linspace(0, 1, 20) + phase / 2))
    return (wave * (1 + amplitude / 2)).astype("float32")


def fit(
    model: keras.Model,
    x: np.ndarray,
    steps: int = 800,
    batch_size: int = 100,
    rate: float = 1e-2,
) -> None:
    """Train a model to reproduce its inputs, with many steps per TensorFlow call."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.Adam(schedule)
    model.compile(optimizer, "mse", steps_per_execution=steps // 4)
    many = np.concatenate([x] * (steps * batch_size // len(x) // 2))
    model.fit(many, many, batch_size=batch_size, epochs=2, verbose=0)
