"""Green's functions of a weakly disturbed medium: travel times, single scattering."""

from __future__ import annotations

from typing import Any

import numpy as np

from symae_keras.data.groups import Array, Parameters


def hankel(z: Array) -> Array:
    """Compute the Hankel function `H0^(2)` for `z` of about 1 and above.

    It uses three terms of the asymptotic series; the error is 0.5 % at z = 2 and 0.01 %
    at z = 6.
    """
    series = 1.0 + 0.125j / z - 0.0703125 / z**2 - 0.0732421875j / z**3
    out: Array = np.sqrt(2.0 / (np.pi * z)) * np.exp(0.25j * np.pi - 1j * z) * series
    return out


def green(
    frequency: Array, receivers: Array, state: Parameters, source: Array
) -> Array:
    """Compute Green's functions from sources to receivers (Rytov approximation).

    The field is `G0 exp(psi)`, where `G0 psi` is the wave that the anomalies scatter
    once (Born). In the limit of short waves, the phase of `exp(psi)` is the travel time
    along the straight ray. At finite frequencies, it is averaged over the Fresnel zone.
    The integral over a Gaussian anomaly has a closed form if distances are expanded to
    second order around its centre. This is accurate if source and receiver are at least
    two widths away.

    Args:
        frequency: Frequencies in Hz, positive, `(f,)`.
        receivers: Positions in km, `(r, 2)`.
        state: See `simulate_gathers`; rows `(n, ...)`.
        source: Positions in km, `(n, 2)`.

    Returns:
        complex128 `(n, r, f)`, for the time dependence `exp(2j pi f t)`.
    """
    wave: Any = 2.0 * np.pi * frequency / state["velocity"][:, None, None]
    direct = np.linalg.norm(receivers - source[:, None], axis=-1)[..., None]
    exponent = np.zeros((*direct.shape[:2], len(frequency)), complex)
    for place, width, strength in zip(
        np.moveaxis(state["position"], 1, 0),
        state["width"].T[:, :, None, None],
        state["strength"].T[:, :, None, None],
        strict=True,
    ):
        if not strength.any():
            continue
        from_source = (place - source)[:, None]
        from_receiver = place[:, None] - receivers
        first = np.linalg.norm(from_source, axis=-1)[..., None]
        second = np.linalg.norm(from_receiver, axis=-1)[..., None]
        cosine = (from_source * from_receiver).sum(-1)[..., None] / (first * second)
        # 0 if the anomaly is on the straight ray.
        bend = 1.0 + cosine
        curvature = 1.0 / first + 1.0 / second
        area = width**2
        determinant = (
            1.0
            + 1j * wave * (area * curvature)
            - wave**2 * (area**2 * (1.0 - cosine**2) / (first * second))
        )
        decay = area * bend * (2.0 + 1j * wave * (area * bend * curvature))
        phase = -1j * wave * (first + second - direct)
        phase -= 0.5 * wave**2 * decay / determinant
        size = np.sqrt(2.0 * np.pi) * np.exp(-0.25j * np.pi) * strength * area
        size = size * np.sqrt(direct / (first * second))
        exponent += size * wave**1.5 * np.exp(phase) / np.sqrt(determinant)
    return -0.25j * hankel(wave * direct) * np.exp(exponent)
