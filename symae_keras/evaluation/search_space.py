"""Settings of SymAE in the search space of `tune`, and recipes for them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, Self

from symae_keras.data.groups import GroupedData
from symae_keras.layers import Conv2DEncoder, DenseEncoder
from symae_keras.models import SymAE
from symae_keras.training.fit import FEW_GROUPS, Training, normalization

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

#: Smallest and largest code size.
_COHERENT: Final = 2, 32
_NUISANCE: Final = 1, 16
#: Smallest and largest strength of each kind of noise.
_STRENGTHS: Final = {"gaussian": (0.1, 1.0), "variational": (1e-4, 1e-2)}
_WIDTHS: Final = (0.25, 0.5, 1.0)
#: Number of features between encoder and heads, as in models with named encoders.
_FEATURES: Final = 128
_DENSE_UNITS: Final = (512, 256)
_CONV_FILTERS: Final = (32, 64)
#: Changes of `Training` for Muon, which needs few updates in large batches.
_MUON: Final[dict[str, Any]] = {
    "batch_size": 64,
    "optimizer": "muon",
    "learning_rate": 1e-2,
}
#: Number of passes over the groups, and least number of updates, with Muon.
_MUON_UPDATES: Final[dict[str, Any]] = {"epochs": 40, "min_updates": 640}
#: Final noise with Muon, as a fraction of the initial noise.
_MUON_NOISE: Final = 0.4

_RECIPE: Final = '''"""SymAE with the settings that symae tune chose.

Command: symae train recipe.py --data FILE
"""

from __future__ import annotations

import keras

from symae_keras.data import GroupedData
from symae_keras.layers import {encoder}
from symae_keras.models import SymAE
from symae_keras.training import Recipe, normalization


def model(groups: GroupedData, seed: int) -> keras.Model:
    """Return a model with these settings."""
    return SymAE(
        groups.instance_shape,
        coherent_dim={coherent_dim},
        nuisance_dim={nuisance_dim},
        encoder={encoder}({features}, {layers}={sizes}),
        nuisance_noise="{nuisance_noise}",
        noise_strength={noise_strength!r},
        conditional_nuisance={conditional_nuisance},
        normalization=normalization(groups),
        seed=seed,
        backbone={backbone!r},
    )


RECIPE = Recipe(
    model=model,
{training})
'''


@dataclasses.dataclass(frozen=True, kw_only=True)
class SymAESettings:
    """Settings of a `SymAE`, as `tune` chooses them.

    The defaults are those of `SymAE`. Codes and initial noise of the preset
    `symae_exposures` are the same.

    Args:
        coherent_dim: Size of the coherent code. Defaults to 8.
        nuisance_dim: Size of the nuisance code. Defaults to 8.
        nuisance_noise: `"gaussian"` (default) or `"variational"`.
        noise_strength: Strength of the noise, see `SymAE`. Defaults to 0.5.
        width: Factor of the sizes of hidden layers: 512 and 256 units, or 32 and 64
            filters for images. Defaults to 1.0.
        conditional_nuisance: Whether the nuisance encoder receives the coherent code.
            Defaults to True.
        backbone: `"linear"` or `None` (default), see `SymAE`; it needs Gaussian noise.
        optimizer: `"adam"` (default) with constant noise, or `"muon"` with Gaussian
            noise that falls to 40 % during the training.

    Example:
    >>> settings = SymAESettings(coherent_dim=4, nuisance_noise="variational",
    ...     noise_strength=0.001)
    >>> str(settings)
    '4 + 8 numbers, variational 0.001, width 1'
    """

    coherent_dim: int = 8
    nuisance_dim: int = 8
    nuisance_noise: str = "gaussian"
    noise_strength: float = 0.5
    width: float = 1.0
    conditional_nuisance: bool = True
    backbone: str | None = None
    optimizer: str = "adam"

    @property
    def kind(self) -> str:
        """Noise, backbone and optimizer, which determine how fast a model learns."""
        return f"{self.nuisance_noise}{self._additions}"

    @property
    def _additions(self) -> str:
        backbone = "" if self.backbone is None else f", {self.backbone} backbone"
        return f"{backbone}, Muon" if self.optimizer == "muon" else backbone

    def __str__(self) -> str:
        form = "" if self.conditional_nuisance else ", original form"
        return (
            f"{self.coherent_dim} + {self.nuisance_dim} numbers, {self.nuisance_noise} "
            f"{self.noise_strength:.2g}, width {self.width:g}{form}"
            f"{self._additions}"
        )

    # === Models ===

    def build(self, groups: GroupedData, seed: int = 0) -> SymAE:
        """Build an uncompiled model with these settings.

        Args:
            groups: Training groups, which define the shape of instances and the
                normalization. The encoder is convolutional for images
                `(height, width, channels)`, and dense for all other shapes.
            seed: Seed of noise and instance dropout. Defaults to 0.

        Returns:
            A `SymAE`.
        """
        encoder: Any = DenseEncoder
        if _images(groups):
            encoder = Conv2DEncoder
        layers, sizes = self._hidden(_images(groups))
        return SymAE(
            groups.instance_shape,
            self.coherent_dim,
            self.nuisance_dim,
            encoder=encoder(_FEATURES, **{layers: sizes}),
            nuisance_noise=self.nuisance_noise,
            noise_strength=self.noise_strength,
            conditional_nuisance=self.conditional_nuisance,
            normalization=normalization(groups),
            seed=seed,
            backbone=self.backbone,
        )

    def training(self, training: Training) -> Training:
        """Return training settings for these models.

        Args:
            training: Settings for Adam. Its number of epochs also holds for Muon.

        Returns:
            The same settings, or those for Muon with falling noise.
        """
        if self.optimizer == "adam":
            return training
        free = training.epochs is None and training.min_updates is None
        updates = _MUON_UPDATES if free else {}
        final = float(f"{_MUON_NOISE * self.noise_strength:.2g}")
        return dataclasses.replace(training, **updates, **_MUON, final_noise=final)

    def recipe(self, groups: GroupedData) -> str:
        """Return the text of a recipe file for the models of `build`.

        Args:
            groups: Groups with instances of the shape that the recipe will be used for.

        Returns:
            Python code, for `symae train recipe.py`.
        """
        images = _images(groups)
        layers, sizes = self._hidden(images)
        usual = vars(Training())
        training = [
            f"    {name}={value!r},\n"
            for name, value in vars(self.training(Training())).items()
            if value != usual[name]
        ]
        return _RECIPE.format(
            **dataclasses.asdict(self),
            encoder="Conv2DEncoder" if images else "DenseEncoder",
            features=_FEATURES,
            layers=layers,
            sizes=sizes,
            training="".join(training),
        )

    def _hidden(self, images: bool) -> tuple[str, tuple[int, ...]]:
        """Return the argument name for hidden layers, and their sizes."""
        name, sizes = ("filters", _CONV_FILTERS) if images else ("units", _DENSE_UNITS)
        return name, tuple(max(1, round(self.width * n)) for n in sizes)

    # === Search ===

    @classmethod
    def sample(cls, trial: BaseTrial) -> Self:
        """Let a trial of Optuna choose the settings."""
        noise = trial.suggest_categorical("nuisance_noise", list(_STRENGTHS))
        strength = trial.suggest_float(_strength(noise), *_STRENGTHS[noise], log=True)
        backbone: Any = None
        optimizer: Any = "adam"
        if noise == "gaussian":
            backbone = trial.suggest_categorical("backbone", [None, "linear"])
            optimizer = trial.suggest_categorical("optimizer", ["adam", "muon"])
        return cls(
            coherent_dim=trial.suggest_int("coherent_dim", *_COHERENT, log=True),
            nuisance_dim=trial.suggest_int("nuisance_dim", *_NUISANCE, log=True),
            nuisance_noise=noise,
            # Two significant digits are enough and keep the recipe readable.
            noise_strength=float(f"{strength:.2g}"),
            width=trial.suggest_categorical("width", list(_WIDTHS)),
            conditional_nuisance=trial.suggest_categorical(
                "conditional_nuisance", [True, False]
            ),
            backbone=backbone,
            optimizer=optimizer,
        )

    def parameters(self) -> dict[str, Any]:
        """Return the parameters for which `sample` gives these settings."""
        parameters = dataclasses.asdict(self)
        parameters[_strength(self.nuisance_noise)] = parameters.pop("noise_strength")
        return parameters


def _strength(noise: str) -> str:
    """Return the name of a parameter; the strength of each noise has its own name."""
    return f"{noise}_strength"


def _images(groups: GroupedData) -> bool:
    return len(groups.instance_shape) == 3


def first_settings(groups: GroupedData) -> tuple[SymAESettings, ...]:
    """Return the first settings of a search; the default settings come first.

    With few groups, these have a linear backbone, as in the preset `symae_exposures`.
    Muon is not among the first settings for images, because it orthogonalises no
    kernels of convolutions.
    """
    if _images(groups):
        return tuple(each for each in START if each.optimizer == "adam")
    if len(groups) >= FEW_GROUPS:
        return START
    return tuple(sorted(START, key=lambda each: each.backbone is None))


#: First settings of a search: the default settings, then the other kinds, single
#: changes, and the best settings for other data.
START: Final = (
    SymAESettings(),
    SymAESettings(nuisance_noise="variational", noise_strength=1e-3),
    SymAESettings(backbone="linear"),
    SymAESettings(width=0.5, optimizer="muon"),
    SymAESettings(width=0.5, optimizer="muon", noise_strength=0.25),
    SymAESettings(coherent_dim=16),
    SymAESettings(nuisance_dim=4),
    SymAESettings(noise_strength=0.25),
    SymAESettings(coherent_dim=4, nuisance_dim=4),
    SymAESettings(
        coherent_dim=16,
        nuisance_dim=4,
        nuisance_noise="variational",
        noise_strength=1e-3,
    ),
    SymAESettings(width=0.5),
    SymAESettings(nuisance_dim=3, conditional_nuisance=False),
)
