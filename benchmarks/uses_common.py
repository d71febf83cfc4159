"""Shared code of the applications on spectra and on images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import keras
import numpy as np
from sklearn.decomposition import PCA

from symae_keras._utils.arrays import INSTANCES_AT_ONCE, in_batches
from symae_keras.data import GroupedData
from symae_keras.data.groups import Array
from symae_keras.losses import RelativeMeanSquaredError

Setting = TypeVar("Setting")


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of one application, a line of the table.

    Attributes:
        use: The application.
        measure: The measure, and whether higher values are better.
        ours: The value of each model of this package.
        classical: The value of each classical method.
        higher_is_better: Whether higher values are better.
        floor: The best possible value, if it is known.
        drawn: The data for the figure.
    """

    use: str
    measure: str
    ours: dict[str, float]
    classical: dict[str, float]
    higher_is_better: bool
    floor: float | None = None
    drawn: dict[str, Any] = dataclasses.field(default_factory=dict)


class Data:
    """Base class of the data that several applications share.

    Args:
        scale: Fraction of the data and of the training; 1 for all.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def epochs(self, number: int) -> int:
        """Return the number of epochs, of which the quick form runs a quarter."""
        return max(1, number if self.scale == 1.0 else number // 4)


def with_white_noise(noise: float, *clean: Array) -> list[Array]:
    """Return arrays with white noise, drawn one after the other."""
    rng = np.random.default_rng(0)
    return [
        (each + noise * rng.normal(size=each.shape)).astype("float32") for each in clean
    ]


def flat(groups: GroupedData) -> Array:
    """Return all instances, one per row."""
    return groups.x.reshape(-1, *groups.instance_shape)


def fit(model: Any, x: Array, epochs: int, batch_size: int = 128) -> Any:
    """Train on the measured instances."""
    steps = epochs * -(-len(x) // batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.01)
    variance = float(x.var(axis=0).mean())
    model.compile(keras.optimizers.Adam(schedule), RelativeMeanSquaredError(variance))
    model.fit(x, x, batch_size=batch_size, epochs=epochs, verbose=0)
    return model


def apply(function: Callable[..., Any], *arrays: Array) -> Array:
    """Apply a method of a model to many instances."""
    return np.asarray(in_batches(function, *arrays, rows=INSTANCES_AT_ONCE))


def best(
    settings: Iterable[Setting], score: Callable[[Setting], float]
) -> tuple[Setting, float]:
    """Return the setting with the highest score, and the score."""
    scored = [(setting, score(setting)) for setting in settings]
    return max(scored, key=lambda each: each[1])


class Components:
    """Principal components of instances of any shape."""

    def __init__(self, x: Array, n_components: int) -> None:
        self.shape = x.shape[1:]
        self.pca = PCA(n_components, random_state=0).fit(x.reshape(len(x), -1))

    def encode(self, x: Array) -> Array:
        """Return the codes of instances."""
        return np.asarray(self.pca.transform(x.reshape(len(x), -1)))

    def decode(self, codes: Array) -> Array:
        """Return the instances for codes."""
        return np.asarray(self.pca.inverse_transform(codes)).reshape(-1, *self.shape)

    def reconstruct(self, x: Array) -> Array:
        """Encode and decode instances."""
        return self.decode(self.encode(x))


class LinearFilter:
    """Best linear estimate of instances under white noise (Wiener, 1949).

    It uses the mean `m` and the covariance `C` of the training data and the variance
    `s^2` of the noise: `m + C (C + s^2)^-1 (x - m)`.
    """

    def __init__(self, x: Array, noise: float) -> None:
        rows = x.reshape(len(x), -1)
        self.mean = rows.mean(axis=0)
        covariance = np.cov(rows.T)
        noisy = covariance + noise**2 * np.eye(len(covariance))
        self.matrix = np.linalg.solve(noisy, covariance)

    def denoise(self, x: Array) -> Array:
        """Return the estimate."""
        rows = x.reshape(len(x), -1)
        denoised = self.mean + (rows - self.mean) @ self.matrix
        return np.asarray(denoised.reshape(x.shape))
