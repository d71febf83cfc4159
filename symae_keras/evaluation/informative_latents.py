"""Which numbers of a code carry information at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from symae_keras.data.groups import Array
from symae_keras.errors import InputError

# Makes the median absolute deviation of a normal distribution its standard deviation.
_OF_NORMAL = 1.4826


class InformativeLatents(NamedTuple):
    """The informative numbers of a code, found in two ways.

    Attributes:
        kl: Mean divergence of each from the prior, in nats, `(code_dim,)`.
        by_kl: Indices of those that tell more than the threshold.
        dispersion: Robust standard deviation of each mean over the data, `(code_dim,)`.
        by_dispersion: Indices of those that are dispersed.
    """

    kl: Array
    by_kl: Array
    dispersion: Array
    by_dispersion: Array


def informative_latents(
    mean: Array,
    log_variance: Array,
    kl_threshold: float = 0.1,
    dispersion_threshold: float = 0.3,
) -> InformativeLatents:
    """Find the numbers of a variational code that its encoder uses.

    A divergence in the loss switches numbers off that do not pay for themselves: their
    posterior is the prior N(0, 1) whatever the data, so that the mean stays at 0, with
    unit variance. The others are informative, and are found

    - by the divergence of the posterior from the prior, averaged over data,
      `(mean^2 + variance - 1 - log variance) / 2`: an upper bound of the mutual
      information between number and data, where numbers in use have some tenths of a
      nat to several nats, and others none;
    - by the dispersion of the means over the data, 0 for a number out of use and close
      to 1 for one in use, as Sedaghat et al. do. It is taken from the median absolute
      deviation, which a few odd spectra do not move.

    The two agree but for numbers whose mean is at one value for nearly all data, with a
    small variance: those have a divergence, and are not dispersed.

    Args:
        mean: Means of the posterior, `(rows, code_dim)`, such as
            `StellarAutoencoder.posterior` gives.
        log_variance: Logarithms of its variance, of the same shape.
        kl_threshold: Nats above which a number is informative. Defaults to 0.1.
        dispersion_threshold: Standard deviation of the means above which it is.
            Defaults to 0.3.

    Returns:
        An `InformativeLatents`; the counts are the lengths of its two lists.

    Raises:
        InputError: The arrays are not of one shape `(rows, code_dim)`.

    Reference:
        - [Sedaghat et al., 2021](https://arxiv.org/abs/2009.12872), section 6

    Example:
    >>> rng = np.random.default_rng(0)
    >>> mean = rng.normal(size=(1000, 3)) * [1.0, 0.01, 1.0]
    >>> variance = np.broadcast_to([0.01, 1.0, 0.1], mean.shape)
    >>> found = informative_latents(mean, np.log(variance))
    >>> found.by_kl.tolist(), found.by_dispersion.tolist()
    ([0, 2], [0, 2])
    """
    mean = np.asarray(mean, "float64")
    log_variance = np.asarray(log_variance, "float64")
    if mean.ndim != 2 or mean.shape != log_variance.shape or not len(mean):
        raise InputError(
            "mean and log_variance must have one shape (rows, code_dim); received "
            f"{mean.shape} and {log_variance.shape}."
        )
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance).mean(axis=0)
    deviation = np.abs(mean - np.median(mean, axis=0))
    dispersion = _OF_NORMAL * np.median(deviation, axis=0)
    return InformativeLatents(
        kl,
        np.flatnonzero(kl > kl_threshold),
        dispersion,
        np.flatnonzero(dispersion > dispersion_threshold),
    )
