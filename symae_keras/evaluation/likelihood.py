"""Marginal likelihoods of variational models by importance sampling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from symae_keras._utils.arrays import swaps_codes, to_numpy
from symae_keras._utils.validation import positive, positive_finite
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError
from symae_keras.layers.normalization import MedianNormalization

#: Maximum number of values decoded in one call, to limit memory.
_AT_ONCE = 2_000_000
#: As in `GaussianSampling` and in Keras's cross-entropy.
_LOG_VARIANCE_LIMIT = 20.0
_LEAST_PROBABILITY = 1e-7


@dataclasses.dataclass(frozen=True, eq=False)
class NegativeLogLikelihood:
    """Estimates of `-log p(x)` in nats, one per instance or group.

    Attributes:
        of_each: Estimates `(rows,)`. Rows are instances for models of single instances,
            and groups for models of groups.
        effective: Effective number of draws of each row, `(rows,)`, from 1 to the
            number of draws. If it is small, a few draws dominate, and the estimate is
            too high.
        counts: Number of instances of each row, `(rows,)`.
    """

    of_each: Array
    effective: Array
    counts: Array

    @property
    def mean(self) -> float:
        """Mean over rows, in nats."""
        return float(self.of_each.mean())

    @property
    def per_instance(self) -> float:
        """Sum over rows divided by the number of instances, in nats."""
        return float(self.of_each.sum() / self.counts.sum())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean`, from the spread of rows; 0 for a single row."""
        rows = len(self.of_each)
        return float(self.of_each.std(ddof=1) / math.sqrt(rows)) if rows > 1 else 0.0


def negative_log_likelihood(
    model: Any,
    data: Any,
    n_samples: int = 500,
    scale: float = 1.0,
    mask: Array | None = None,
    n_instance_samples: int = 1,
    seed: int = 0,
) -> NegativeLogLikelihood:
    """Estimate the marginal likelihood of a variational model by importance sampling.

    For a single instance, with `K` draws `z[k]` from the posterior of the encoder,

        log p(x) = log 1/K sum_k p(x | z[k]) p(z[k]) / q(z[k] | x),

    and for a group of `T` instances, with draws `C[k]` of its coherent code and, given
    each of these, `M` draws `N[k, t, m]` of the nuisance code of each instance,

        log p(X) = log 1/K sum_k p(C[k]) / q(C[k] | X)
                   prod_t 1/M sum_m p(x[t] | C[k], N[k, t, m]) p(N[k, t, m] | C[k])
                                    / q(N[k, t, m] | x[t], C[k]).

    This estimate of the likelihood is unbiased. Its logarithm is a lower bound on
    average, which becomes tighter with more draws, so that the negative logarithm is
    overestimated. With one draw, it is the negative evidence lower bound, independent
    of the `kl_weight` of the training. For groups of many instances, a larger
    `n_instance_samples` is more effective than a larger `n_samples`.

    Absent instances and bad pixels are ignored: the likelihood is that of the remaining
    pixels.

    Args:
        model: A `VAE` or `StellarAutoencoder`, or one of the variational models of
            groups: `SymAE` with variational noise, `NeuralStatistician`, `MLVAE`,
            `GVAE`, `AdaGVAE`, `AdversarialGVAE`, `SymVAE`.
        data: `GroupedData`, or an array `(rows, *instance_shape)` of single instances,
            or `(groups, instances, *instance_shape)`.
        n_samples: Number `K` of draws. Defaults to 500.
        scale: Standard deviation of the Gaussian noise of every pixel, in data units;
            not used if the likelihood of the model is Bernoulli. Defaults to 1.
        mask: Mask of an array, see `encode` of the model. Defaults to `None`.
        n_instance_samples: Number `M` of draws, for models of groups. Defaults to 1.
        seed: Seed of the draws. Defaults to 0.

    Returns:
        A `NegativeLogLikelihood`.

    Raises:
        InputError: The model is not variational, or the data do not fit it.

    Reference:
        - [Burda, Grosse & Salakhutdinov, Importance weighted autoencoders,
          2015](https://arxiv.org/abs/1509.00519)

    Example:
    >>> from symae_keras.models import VAE
    >>> x = np.random.default_rng(0).normal(size=(20, 12)).astype("float32")
    >>> found = negative_log_likelihood(VAE((12,), code_dim=2, seed=0), x, n_samples=10)
    >>> found.of_each.shape, bool(10.0 < found.mean < 30.0)
    ((20,), True)
    """
    n_samples = positive("n_samples", n_samples)
    n_instance_samples = positive("n_instance_samples", n_instance_samples)
    scale = positive_finite("scale", scale)
    _check_variational(model)
    grouped = swaps_codes(model)
    x, mask = _arrays(model, data, mask, grouped)
    good = _good_pixels(x, mask)
    decoded = _Decoded(model, x, good, scale)
    rng = np.random.default_rng(seed)
    weights: list[Array] = []
    for rows in _parts(len(x), x[0].size):
        draws = _of_groups if grouped else _of_instances
        masks = None if mask is None else mask[rows]
        weights.append(
            draws(model, decoded, rows, masks, n_samples, n_instance_samples, rng)
        )
    log_weights = np.concatenate(weights, axis=1)
    present = good.reshape(*x.shape[: 1 + grouped], -1).any(axis=-1)
    return NegativeLogLikelihood(
        of_each=-_log_mean(log_weights),
        effective=_effective(log_weights),
        counts=present.reshape(len(x), -1).sum(axis=1),
    )


# === Input ===


def _check_variational(model: Any) -> None:
    name = type(model).__name__
    needed = "group_posterior" if swaps_codes(model) else "posterior"
    sampled = "coherent_sampling" if hasattr(model, "coherent_sampling") else "sampling"
    if not hasattr(model, needed) or getattr(model, sampled, None) is None:
        raise InputError(
            "The marginal likelihood needs a variational model, such as VAE, MLVAE or "
            f"SymAE with nuisance_noise='variational'; received a {name} without a "
            "posterior."
        )
    if isinstance(model.normalization, MedianNormalization):
        raise InputError(
            f"This {name} divides every instance by its median, so it has no "
            "likelihood of the instances; divide the data before, and create it with "
            "normalization=None."
        )


def _arrays(
    model: Any, data: Any, mask: Array | None, grouped: bool
) -> tuple[Array, Array | None]:
    """Return the data as arrays, and their mask."""
    if isinstance(data, GroupedData):
        if mask is not None:
            raise InputError(
                "GroupedData already contain masks; received an additional mask."
            )
        if grouped:
            x, mask = data.x, data.model_mask
        else:
            pixels = data.masks == 2
            x = data.x[data.present]
            mask = data.good_pixels[data.present] if pixels else None
    else:
        x = np.asarray(data)
        mask = None if mask is None else np.asarray(mask, bool)
    expected = ("groups", "instances") if grouped else ("rows",)
    shape = model.instance_shape
    if x.ndim != len(expected) + len(shape) or x.shape[len(expected) :] != shape:
        raise InputError(
            f"This model takes arrays ({', '.join(expected)}, *{shape}); received an "
            f"array of shape {x.shape}."
        )
    if not len(x):
        raise InputError("There are no rows; the mean of an empty array would be NaN.")
    shapes = (x.shape, x.shape[:2]) if grouped else (x.shape,)
    if mask is not None and mask.shape not in shapes:
        raise InputError(
            f"The mask must have the shape {' or '.join(map(str, shapes))}; received "
            f"{mask.shape}."
        )
    return x, mask


def _good_pixels(x: Array, mask: Array | None) -> Array:
    if mask is None:
        good = np.ones(x.shape, bool)
    else:
        rest = (1,) * (x.ndim - mask.ndim)
        good = np.broadcast_to(mask.reshape(mask.shape + rest), x.shape)
    if not np.isfinite(x[good]).all():
        raise InputError(
            "The data have NaN or infinity in pixels that no mask covers; mask them."
        )
    return good


def _parts(rows: int, size: int) -> Iterator[slice]:
    step = max(1, min(256, _AT_ONCE // size))
    for start in range(0, rows, step):
        yield slice(start, start + step)


# === Densities ===


class _Decoded:
    """Log likelihood of the good pixels of instances, given decoded arrays."""

    def __init__(self, model: Any, x: Array, good: Array, scale: float) -> None:
        self.bernoulli = getattr(model, "likelihood", "gaussian") == "bernoulli"
        self.x = np.where(good, x, 0.0)
        self.good, self.scale = good, scale
        self.axes = tuple(range(-len(model.instance_shape), 0))
        if self.bernoulli and (self.x.min() < 0.0 or self.x.max() > 1.0):
            raise InputError(
                "A Bernoulli likelihood needs data from 0 to 1; received values from "
                f"{self.x.min():.4g} to {self.x.max():.4g}."
            )

    def log_likelihood(self, decoded: Array, rows: slice) -> Array:
        """Return the sum over pixels; decoded arrays may have more leading axes."""
        x, decoded = self.x[rows], decoded.astype("float64")
        if self.bernoulli:
            p = np.clip(decoded, _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
            nats = x * np.log(p) + (1.0 - x) * np.log1p(-p)
        else:
            constant = 0.5 * math.log(2.0 * math.pi) + math.log(self.scale)
            nats = -0.5 * np.square((x - decoded) / self.scale) - constant
        return np.asarray(np.sum(nats, axis=self.axes, where=self.good[rows]))


class _Posterior:
    """Diagonal Gaussians to draw from."""

    def __init__(self, pair: Any) -> None:
        self.mean, log_variance = (to_numpy(each).astype("float64") for each in pair)
        limit = _LOG_VARIANCE_LIMIT
        self.log_variance = np.clip(log_variance, -limit, limit)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return draws `(count, *shape)`, float32, and `-log q` without a constant."""
        noise = rng.standard_normal((count, *self.mean.shape))
        draws = self.mean + np.exp(0.5 * self.log_variance) * noise
        return draws.astype("float32"), -self.log_density(draws)

    def log_density(self, draws: Array) -> Array:
        """Return the logarithm of the density, without a constant that all share."""
        squares = np.square(draws - self.mean) * np.exp(-self.log_variance)
        return np.asarray(-0.5 * np.sum(squares + self.log_variance, axis=-1))


def _log_prior(codes: Array) -> Array:
    """Return the log density of the standard normal, without the same constant."""
    return np.asarray(-0.5 * np.sum(np.square(codes, dtype="float64"), axis=-1))


def _of_instances(
    model: Any,
    decoded: _Decoded,
    rows: slice,
    mask: Array | None,
    n_samples: int,
    n_instance_samples: int,
    rng: np.random.Generator,
) -> Array:
    """Return log weights `(draws, rows)`."""
    posterior = _Posterior(model.posterior(decoded.x[rows], mask))
    found = []
    for count in _counts(n_samples, decoded.x[rows].size):
        codes, log_weights = posterior.draw(count, rng)
        flat = codes.reshape(-1, codes.shape[-1])
        outputs = to_numpy(model.decode(flat))
        outputs = outputs.reshape(*codes.shape[:-1], *outputs.shape[1:])
        log_weights += _log_prior(codes)
        found.append(log_weights + decoded.log_likelihood(outputs, rows))
    return np.concatenate(found)


def _of_groups(
    model: Any,
    decoded: _Decoded,
    rows: slice,
    mask: Array | None,
    n_samples: int,
    n_instance_samples: int,
    rng: np.random.Generator,
) -> Array:
    """Return log weights `(draws, groups)`."""
    x = decoded.x[rows].astype("float32")
    present = decoded.good[rows].reshape(*x.shape[:2], -1).any(axis=-1)
    posterior = _Posterior(model.group_posterior(x, mask))
    found = []
    for count in _counts(n_samples, x.size):
        coherent, log_weights = posterior.draw(count, rng)
        log_weights += _log_prior(coherent)
        # Each draw of each group becomes one group.
        flat = coherent.reshape(-1, coherent.shape[-1])
        masks = None if mask is None else np.concatenate([mask] * count)
        own = _Posterior(
            model.instance_posterior(np.concatenate([x] * count), flat, masks)
        )
        prior = model.instance_prior(flat)
        inner = []
        for _ in range(n_instance_samples):
            nuisance, of_draw = (each[0] for each in own.draw(1, rng))
            if prior is None:
                of_draw += _log_prior(nuisance)
            else:
                of_draw += _Posterior(prior).log_density(nuisance)
            outputs = to_numpy(model.decode(flat, nuisance))
            outputs = outputs.reshape(count, *x.shape)
            of_draw = of_draw.reshape(count, *x.shape[:2])
            inner.append(of_draw + decoded.log_likelihood(outputs, rows))
        of_instances = _log_mean(np.stack(inner))
        found.append(log_weights + np.sum(of_instances, axis=-1, where=present))
    return np.concatenate(found)


def _counts(n_samples: int, size: int) -> Iterator[int]:
    """Yield numbers of draws per call, `n_samples` in total."""
    most = max(1, _AT_ONCE // size)
    for start in range(0, n_samples, most):
        yield min(most, n_samples - start)


def _log_mean(log_weights: Array) -> Array:
    """Return the logarithm of the mean over the first axis."""
    most = log_weights.max(axis=0)
    return np.asarray(most + np.log(np.mean(np.exp(log_weights - most), axis=0)))


def _effective(log_weights: Array) -> Array:
    """Return the square of the sum of weights over the sum of their squares."""
    weights = np.exp(log_weights - log_weights.max(axis=0))
    return np.asarray(weights.sum(axis=0) ** 2 / np.square(weights).sum(axis=0))
