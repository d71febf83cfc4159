"""Applications of autoencoders, compared with the classical method for each.

The data are simulated: exposures of stars (256 pixels) and views of shapes (24 x 24),
with separate data for training, choice of settings and evaluation. Classical methods
use the same training data, and the settings that perform best on training data.

    python benchmarks/uses.py --out results.json --figure uses.png
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before Keras is imported: silences the startup messages of TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import uses_images
import uses_spectra
from common import print_table, write_json
from uses_common import Result
from uses_figure import draw

COLUMNS = ("use", "measure", "ours", "classical", "floor", "seconds")


def rows(results: list[Result], seconds: float) -> list[dict[str, Any]]:
    """Return the lines of the table, with a star at the best value of each line."""
    lines = []
    for result in results:
        methods = [*result.ours.values(), *result.classical.values()]
        best = (max if result.higher_is_better else min)(methods)

        def shown(figures: dict[str, float], best: float = best) -> str:
            return ", ".join(
                f"{name} {value:.3g}{'*' if value == best else ''}"
                for name, value in figures.items()
            )

        lines.append(
            {
                "use": result.use,
                "measure": result.measure,
                "ours": shown(result.ours),
                "classical": shown(result.classical),
                "floor": result.floor,
                "seconds": seconds,
            }
        )
    return lines


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*uses_spectra.USES, *uses_images.USES]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="USE", help=", ".join(names)
    )
    parser.add_argument(
        "--quick", action="store_true", help="a quarter of the data and of the epochs"
    )
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument(
        "--figure", type=Path, help="draw examples as PNG; runs all uses"
    )
    options = parser.parse_args()
    if options.figure and options.only:
        parser.error("--figure shows all uses and cannot be combined with --only")

    scale = 0.25 if options.quick else 1.0
    table: list[dict[str, Any]] = []
    results: dict[str, list[Result]] = {}
    for data, uses in (
        (uses_spectra.Spectra(scale), uses_spectra.USES),
        (uses_images.Images(scale), uses_images.USES),
    ):
        run: dict[str, Callable[[Any], list[Result]]] = dict(uses)
        for name, use in run.items():
            if options.only and name not in options.only:
                continue
            keras.utils.set_random_seed(0)
            start = time.perf_counter()
            results[name] = use(data)
            table += rows(results[name], time.perf_counter() - start)
            print_table(table[-len(results[name]) :], COLUMNS)
    print_table(table, COLUMNS)
    if options.out:
        record = [
            {
                "use": name,
                **{
                    field: value
                    for field, value in dataclasses.asdict(result).items()
                    if field not in ("use", "drawn")
                },
            }
            for name, several in results.items()
            for result in several
        ]
        write_json(options.out, {"table": table, "figures": record})
    if options.figure:
        draw({name: several[0].drawn for name, several in results.items()}).savefig(
            options.figure, dpi=150
        )


if __name__ == "__main__":
    main()
