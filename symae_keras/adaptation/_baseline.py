"""Baselines of spectra: the least-squares quadratic in the pixel index."""

from __future__ import annotations

from typing import Final

import numpy as np

from symae_keras.data.groups import Array

#: Spectra with fewer pixels have no separate baseline.
LEAST_PIXELS: Final = 12


def parts(flat: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the baseline of flattened spectra, and the rest.

    The baseline of spectra with few pixels is zero.

    Args:
        flat: `(spectra, values)`.
        shape: Shape of one instance; the first axis is the pixel axis.
    """
    if shape[0] < LEAST_PIXELS:
        return np.zeros_like(flat), flat
    powers = np.linalg.qr(np.vander(np.linspace(-1.0, 1.0, shape[0]), 3))[0]
    spectra = flat.reshape(len(flat), shape[0], -1)
    scores = np.einsum("npc,pk->nkc", spectra, powers)
    baseline = np.einsum("nkc,pk->npc", scores, powers).reshape(flat.shape)
    return baseline, flat - baseline
