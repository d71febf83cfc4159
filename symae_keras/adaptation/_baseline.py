"""Baselines of spectra: the best quadratic in the pixel index."""

from __future__ import annotations

from typing import Final

import numpy as np

from symae_keras.data.groups import Array

#: Fewer pixels than this have no baseline apart from the rest.
LEAST_PIXELS: Final = 12


def parts(flat: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the baseline of flattened spectra, and the rest.

    Spectra of few pixels are all rest.

    Args:
        flat: `(spectra, values)`.
        shape: Shape of one instance; the first axis is that of pixels.
    """
    if shape[0] < LEAST_PIXELS:
        return np.zeros_like(flat), flat
    powers = np.linalg.qr(np.vander(np.linspace(-1.0, 1.0, shape[0]), 3))[0]
    spectra = flat.reshape(len(flat), shape[0], -1)
    scores = np.einsum("npc,pk->nkc", spectra, powers)
    baseline = np.einsum("nkc,pk->npc", scores, powers).reshape(flat.shape)
    return baseline, flat - baseline
