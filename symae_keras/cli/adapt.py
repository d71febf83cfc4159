"""`symae adapt`: fit a transfer from a new instrument to the known one."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import symae_keras as sk
from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.files import AXIS_FILE, write_json
from symae_keras._utils.folders import Draft
from symae_keras._utils.text import listed
from symae_keras.cli._options import (
    AxisChange,
    Force,
    Group,
    RunFolder,
    TrustedRecipe,
    import_backend,
)
from symae_keras.cli._run_folder import environment, load_run
from symae_keras.cli._tables import print_table
from symae_keras.cli.evaluate import groups_for, recipe_option
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.adaptation import Adaptation
    from symae_keras.data import GroupedData

#: The file in the folder that `symae transfer` reads.
ADAPTATION: Final = "adaptation.npz"
#: Files of a run that are also in its adaptation.
_COPIED: Final = ("model.keras", "config.json", AXIS_FILE)
_CONTENTS: Final = (*_COPIED, ADAPTATION, "adaptation.json", "environment.json")


def adapt(
    run: RunFolder,
    data: Annotated[
        Path,
        typer.Option(
            metavar="NEW",
            help="Groups that both instruments have measured; without pairs, groups "
            "with one spectrum of the new instrument.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN2", help="The output folder.")],
    target_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="More spectra of the known instrument, such as its calibration set; "
            "useful if there are few pairs.",
            show_default=False,
        ),
    ] = None,
    instrument: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column of NEW with the instrument of each spectrum; "
            "spectra of one instrument and group are averaged.",
            show_default="the position of a spectrum in its group",
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The new instrument: its position, counted from 0, or its name in "
            "--instrument.",
        ),
    ] = "1",
    target: Annotated[
        str,
        typer.Option(metavar="NAME", help="The known instrument, in the same form."),
    ] = "0",
    axis: AxisChange = None,
    group: Group = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Fit a transfer of spectra from a new instrument to the known one.

    The model of RUN is not trained again. All classical methods and methods that use
    the model are compared by cross-validation on the pairs. Their best weighted mean is
    written into RUN2; symae transfer applies it to new spectra.
    """
    start = time.perf_counter()
    import_backend()
    inputs = [data, run, *([] if target_data is None else [target_data])]
    draft = Draft(out, _CONTENTS, resume=None, force=force, inputs=inputs)
    found = load_run(run, recipe)
    groups = groups_for(found, data, group, axis)
    if instrument is not None:
        pairs = _by_instrument(groups, instrument, (target, source), data)
        places = 1, 0
    elif groups.n_instances == 1:
        pairs, places = _alone(groups), (1, 0)
    else:
        pairs, places = groups, (_place("source", source), _place("target", target))
    if target_data is not None:
        known = groups_for(found, target_data, None, axis)
        pairs = _joined(pairs, known, places[1])
    both = pairs.present[:, list(places)].all(axis=1).sum()
    print(f"{out}: comparing methods on {both} pairs", file=sys.stderr, flush=True)
    # A model of single instances has no nuisance code to replace.
    model = found.model if swaps_codes(found.model) else None
    result = sk.adapt(model, pairs, *places)
    with draft as folder:
        for name in _COPIED:
            if (run / name).is_file():
                shutil.copyfile(run / name, folder / name)
        result.save(folder / ADAPTATION)
        write_json(folder / "adaptation.json", _summary(result))
        write_json(folder / "environment.json", environment())
    _print(result)
    print(f"Done in {time.perf_counter() - start:.0f} s: {out}")
    end = recipe_option(found.config, found.config["recipe"]["source"])
    print(
        f"Next: symae transfer {shlex.quote(str(out))} --data new.csv --out virtual.csv"
        f"{end if result.needs_model else ''}"
    )


def _place(option: str, text: str) -> int:
    if not text.isdecimal():
        raise InputError(
            f"--{option} must be the position of the instrument in its group, 0 or "
            f"more; received {text}. For names, give --instrument COLUMN."
        )
    return int(text)


def _by_instrument(
    groups: GroupedData, column: str, names: tuple[str, str], file: Path
) -> GroupedData:
    """Return groups of two instances, the mean spectra of the named instruments."""
    import numpy as np

    known = {**groups.group_metadata, **groups.instance_metadata}
    if column not in known:
        raise InputError(
            f"{file} has no column {column}; its columns are "
            f"{listed(sorted(known)) or 'none'}."
        )
    if names[0] == names[1]:
        raise InputError(
            f"--target and --source both name the instrument {names[0]}; give two "
            "different ones."
        )
    values = _as_text(known[column])
    if column not in groups.instance_metadata:
        values = np.repeat(values[:, None], groups.n_instances, axis=1)
    found = sorted(set(values[groups.present].tolist()) - {""})
    for name in names:
        if name not in found:
            raise InputError(
                f"{file} has no spectrum whose {column} is {name}, but {listed(found)};"
                " give two of them with --target and --source."
            )
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    x, seen = [], []
    for name in names:
        own = good & (values == name).reshape(values.shape + (1,) * (good.ndim - 2))
        counts = own.sum(axis=1)
        total = np.where(own, groups.x, 0.0).sum(axis=1)
        x.append(total / np.maximum(counts, 1))
        seen.append(counts > 0)
    pixel_mask = np.stack(seen, axis=1)
    mask = np.asarray(pixel_mask.reshape(*pixel_mask.shape[:2], -1).any(axis=2))
    whole = pixel_mask[mask].all()
    return sk.data.GroupedData(
        np.stack(x, axis=1), mask=mask, pixel_mask=None if whole else pixel_mask
    )


def _as_text(values: Any) -> Any:
    """Return names of instruments; numbers are whole if the file has whole numbers.

    A column of whole numbers with an empty cell is one of floats with NaN.
    """
    import numpy as np

    if values.dtype.kind != "f":
        return values.astype(str)

    def text(value: float) -> str:
        if math.isnan(value):
            return ""
        return str(int(value) if value.is_integer() else value)

    return np.array([*map(text, values.ravel().tolist())]).reshape(values.shape)


def _alone(groups: GroupedData) -> GroupedData:
    """Return groups of single spectra in the form of the source, without a target."""
    import numpy as np

    mask = np.zeros((len(groups), 2), bool)
    mask[:, 1] = groups.present[:, 0]
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    pixel_mask = np.repeat(good, 2, axis=1) if groups.masks == 2 else None
    return sk.data.GroupedData(
        np.repeat(groups.x, 2, axis=1), mask=mask, pixel_mask=pixel_mask
    )


def _joined(pairs: GroupedData, known: GroupedData, target: int) -> GroupedData:
    """Return pairs, and each spectrum of known groups as a group of the target."""
    import numpy as np

    there = known.present
    good = np.broadcast_to(known.good_pixels, known.x.shape)[there]
    spectra = known.x[there]
    shape = (len(spectra), pairs.n_instances, *spectra.shape[1:])
    x, mask = np.zeros(shape, spectra.dtype), np.zeros(shape[:2], bool)
    seen = np.ones(shape, bool)
    x[:, target], mask[:, target], seen[:, target] = spectra, True, good
    before = np.broadcast_to(pairs.good_pixels, pairs.x.shape)
    pixel_mask = None
    if not (good.all() and before[pairs.present].all()):
        pixel_mask = np.concatenate([before, seen])
    return sk.data.GroupedData(
        np.concatenate([pairs.x, x]),
        mask=np.concatenate([pairs.present, mask]),
        pixel_mask=pixel_mask,
    )


def _summary(result: Adaptation) -> dict[str, object]:
    names = ("method", "n_pairs", "weights", "baseline_weights", "scores")
    more = ("standard_errors", "errors", "baseline_free_errors")
    return {name: getattr(result, name) for name in (*names, *more)}


def _print(result: Adaptation) -> None:
    """Print the candidates, the best first, and the weights."""
    if result.scores:
        columns = (result.errors, result.baseline_free_errors, result.scores)
        print_table(
            ("left out", "error", "baseline-free", "score", "standard error"),
            [
                (
                    "weighted mean" if name == result.method else name,
                    *(each[name] for each in (*columns, result.standard_errors)),
                )
                for name in sorted(result.scores, key=lambda n: result.scores[n])
            ],
        )
        score = result.scores[result.method]
        print(f"Weights: {result.summary}.")
        print(f"Its score is {score:.2f}; the mean shift has the score 1.")
    else:
        print(
            f"Chosen: {result.method}; {result.n_pairs} pairs are too few to compare "
            "methods, give at least 5."
        )
