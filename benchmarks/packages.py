"""Comparison of classical methods with public packages, on pairs of spectra.

Methods that are also in a package on PyPI are fitted to the same pairs with the same
settings. The table shows the largest difference of the results, relative to the largest
value. Rows whose package is not installed are left out.

- pycaltransfer: external parameter orthogonalization (EPO) and spectral space
  transformation (SST). The package subtracts the means of the instruments before SST,
  although the paper does not; here both methods get pairs without means.
- chemotools: SNV, MSC and EMSC. The standard deviation in its SNV divides by the number
  of pixels `n`, that of the paper and of this package by `n - 1`; the comparison
  corrects for this factor.
- neuroCombat: ComBat, whose iterations stop at a change of 1e-4.

    pip install pycaltransfer chemotools neuroCombat
    python benchmarks/packages.py --data tablets_nir.npz
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from common import print_table, write_json

from symae_keras.classical import (
    MSC,
    SNV,
    ComBat,
    ExtendedScatterCorrection,
    ExternalParameterOrthogonalization,
    SpectralSpaceTransformation,
)
from symae_keras.data import GroupedData
from symae_keras.data.groups import Array

_COMPONENTS: Final = 4


def epo(pairs: GroupedData) -> tuple[Array, Array]:
    """Compare projections that remove the differences between instruments."""
    from pycaltransfer.caltransfer import epo_fit

    found = ExternalParameterOrthogonalization(1, 0, _COMPONENTS).fit(pairs).coef_
    return found, epo_fit(pairs.x[:, 0], pairs.x[:, 1], _COMPONENTS)[0]


def sst(pairs: GroupedData) -> tuple[Array, Array]:
    """Compare spectra of the second instrument that are converted to the first."""
    from pycaltransfer.caltransfer import sst as fitted

    centred = pairs.x - pairs.x.mean(axis=0)
    model = SpectralSpaceTransformation(1, 0, _COMPONENTS).fit(GroupedData(centred))
    coef, offset = fitted(centred[:, 0], centred[:, 1], _COMPONENTS)
    return model.transfer(centred[:, 1]), centred[:, 1] @ coef + offset


def scatter(ours: Any, name: str, **settings: Any) -> Callable[..., Any]:
    """Return a function that compares corrected spectra."""

    def compared(pairs: GroupedData) -> tuple[Array, Array]:
        from chemotools import scatter as theirs

        flat = pairs.x.reshape(-1, pairs.x.shape[-1])
        other = np.asarray(getattr(theirs, name)(**settings).fit_transform(flat))
        if name == "StandardNormalVariate":
            other = other * np.sqrt(1.0 - 1.0 / flat.shape[1])
        return ours.fit(pairs).correct(flat), other

    return compared


def combat(pairs: GroupedData) -> tuple[Array, Array]:
    """Compare spectra without the offsets and scales of their instruments."""
    import pandas as pd
    from neuroCombat import neuroCombat

    model = ComBat(1, 0).fit(pairs)
    found = [model.correct(pairs.x[:, each], each) for each in (0, 1)]
    rows = np.concatenate([pairs.x[:, 0], pairs.x[:, 1]])
    batch = pd.DataFrame({"batch": np.repeat([1, 2], len(pairs.x))})
    return np.concatenate(found), neuroCombat(rows.T, batch, "batch")["data"].T


METHODS: Final = {
    "EPO": ("pycaltransfer", epo),
    "SST": ("pycaltransfer", sst),
    "SNV": ("chemotools", scatter(SNV(), "StandardNormalVariate")),
    "MSC": ("chemotools", scatter(MSC(), "MultiplicativeScatterCorrection")),
    "EMSC": (
        "chemotools",
        scatter(
            ExtendedScatterCorrection(degree=2, n_components=0),
            "ExtendedMultiplicativeScatterCorrection",
            order=2,
        ),
    ),
    "ComBat": ("neuroCombat", combat),
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="tablets_nir.npz")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    with np.load(options.data) as file:
        x, split = file["x"].astype("float64"), file["split"]
    pairs = GroupedData(x[split == "train"])
    table = []
    for name, (package, compared) in METHODS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name} is left out: {package} is not installed")
            continue
        ours, theirs = compared(pairs)
        difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        table.append({"method": name, "package": package, "difference": difference})
    if table:
        print_table(table, list(table[0]))
    if options.out:
        write_json(options.out, table)


if __name__ == "__main__":
    main()
