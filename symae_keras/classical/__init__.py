"""Classical references, with the interface of the grouped models where it applies.

They take and give NumPy arrays. All but `MeanSwap` are fitted by scikit-learn, which
the extra `data` installs.
"""

from symae_keras.classical.direct_standardization import (
    DirectStandardization,
    PiecewiseDirectStandardization,
)
from symae_keras.classical.grouped_pca import GroupedPCA
from symae_keras.classical.mean_swap import MeanSwap

__all__ = [
    "DirectStandardization",
    "GroupedPCA",
    "MeanSwap",
    "PiecewiseDirectStandardization",
]


def __dir__() -> list[str]:
    return sorted(__all__)
