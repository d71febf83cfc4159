"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Your data instead of the recipe's: .npz, .npy, .csv, HDF5, FITS, a "
        "folder of spectra, images or shards.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column or key of your data that tells the group; for a folder of "
        "spectra a regular expression on the names of the files.",
        show_default="group",
    ),
]
Seed = Annotated[
    int,
    # The largest seed that NumPy's legacy generator takes, less the demo's next one.
    typer.Option(min=0, max=2**32 - 2, help="Seed of data, weights and sampling."),
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder made by symae train.")
]
TrustedRecipe = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The recipe that made the run, if it has classes, data or scores of its "
        "own. Its code runs, so name only a file that you trust.",
        show_default="recipes of the package only",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace the output if it exists.")
]
Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Files or folders, in order.")
]
