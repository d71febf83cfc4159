"""Calibration transfer by classical methods, from 400 and from 30 pairs of tablets.

The data and the two errors are those of `tablets.py`: tablets were measured by two
near-infrared spectrometers, and spectra of instrument 2 are converted to instrument 1,
for the 212 test tablets. Every method chooses its settings by leave-one-out within the
training pairs. Methods with codes encode only the given spectrum. The linear mixed
model decodes the mean nuisance code of instrument 1. Scatter corrections decode the
nuisance code of the spectrum itself plus the mean difference of the two instruments.

    python benchmarks/classical.py --data tablets_nir.npz --out results.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, write_json
from tablets import assay_model, judge

from symae_keras import classical
from symae_keras.data import GroupedData

PAIRED = (
    "MeanShift",
    "SlopeBias",
    "ComBat",
    "PiecewiseDirectStandardization",
    "DirectStandardization",
    "SpectralSpaceTransformation",
    "ExternalParameterOrthogonalization",
    "GeneralizedLeastSquaresWeighting",
)
SCATTER = ("SNV", "MSC", "ExtendedScatterCorrection")
CHOSEN = ("ridge_", "window_", "n_components_", "alpha_", "shrinkage_")


def transfer(name: str, pairs: GroupedData, new: Any) -> tuple[Any, dict[str, float]]:
    """Return virtual spectra of instrument 1, and the chosen settings."""
    kind = getattr(classical, name)
    if name in PAIRED:
        model = kind(source=1, target=0).fit(pairs)
        virtual = model.transfer(new)
    else:
        model = kind().fit(pairs)
        codes = model.encode(new[:, None])
        first, second = np.moveaxis(model.encode(pairs.x).nuisance, 1, 0)
        if name in SCATTER:
            nuisance = codes.nuisance + (first - second).mean(axis=0)
        else:
            nuisance = np.broadcast_to(first.mean(axis=0), codes.nuisance.shape)
        virtual = model.decode(codes.coherent, nuisance)[:, 0]
    found = {each: getattr(model, each) for each in CHOSEN if hasattr(model, each)}
    return virtual, {k: float(v) for k, v in found.items() if np.ndim(v) == 0}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="tablets_nir.npz")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    with np.load(options.data) as file:
        x, assay, part = file["x"].astype("float64"), file["assay"], file["split"]
    held, train = np.flatnonzero(part == "test"), np.flatnonzero(part == "train")
    truth, new = x[held].transpose(1, 0, 2)
    calibration = assay_model(x[train], assay[train])

    table: list[dict[str, Any]] = []
    for pairs in ("train", "transfer"):
        groups = GroupedData(x[part == pairs])
        for name in (*PAIRED, *SCATTER, "LinearMixedModel"):
            start = time.perf_counter()
            virtual, chosen = transfer(name, groups, new)
            seconds = time.perf_counter() - start
            scores = judge(virtual, truth, calibration, assay[held])
            row = {"method": name, "pairs": len(groups), **scores, "seconds": seconds}
            table.append({**row, "chosen": chosen})
            print(table[-1], flush=True)
    columns = ("method", "pairs", "error", "baseline-free", "RMSEP (mg)", "seconds")
    print_table(table, columns)
    if options.out:
        write_json(options.out, {"runs": table})


if __name__ == "__main__":
    main()
