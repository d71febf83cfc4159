"""`symae encode`: write the codes of groups into a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import symae_keras as sk
from symae_keras._utils.arrays import INSTANCES_AT_ONCE, swaps_codes
from symae_keras._utils.files import check_output, write_arrays, written_atomically
from symae_keras.cli._columns import id_column, without, write_table
from symae_keras.cli._options import (
    AxisChange,
    Force,
    Group,
    RunFolder,
    TrustedRecipe,
    import_backend,
)
from symae_keras.cli._run_folder import load_run, run_files
from symae_keras.cli.evaluate import groups_for
from symae_keras.cli.redatum import warn_of_new_data
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.data import GroupedData
    from symae_keras.data.groups import Array

_SUFFIXES: Final = (".npz", ".csv")


def encode(
    run: RunFolder,
    data: Annotated[Path, typer.Option(metavar="FILE", help="Groups to encode.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The .csv or .npz file to write.")
    ],
    nuisance: Annotated[
        bool,
        typer.Option(
            "--nuisance",
            help="Write nuisance codes, one row per instance, into a .csv file instead "
            "of coherent codes. An .npz file always contains both.",
        ),
    ] = False,
    group: Group = None,
    axis: AxisChange = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Write the coherent code of each group, or the nuisance code of each instance.

    Names of groups and instances, and columns of metadata, are also written. Groups
    that are unlike the held-out groups of the run are reported.
    """
    import_backend()
    suffix = out.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"--out must end in {' or '.join(_SUFFIXES)}; received {out}.")
    check_output(out, force, [data, *run_files(run)])
    found = load_run(run, recipe)
    if nuisance and not swaps_codes(found.model):
        raise InputError(
            f"The model of {run} is a {type(found.model).__name__}, a model of single "
            "instances, which has one code per instance; leave --nuisance out."
        )
    groups = groups_for(found, data, group, axis)
    if swaps_codes(found.model):
        warn_of_new_data(found, {data: groups})
    codes = _codes(found.model, groups)
    if suffix == ".npz":
        written = _write_arrays(out, groups, codes)
    else:
        kind = "nuisance" if nuisance else next(iter(codes))
        named = id_column(found, data, group)
        written = _write_rows(out, groups, kind, codes[kind], named)
    print(f"{out}: {written}")


def _codes(model: Any, groups: GroupedData) -> dict[str, Array]:
    """Return codes by name; the codes of padding are 0.

    They are `coherent (groups, dim)` and `nuisance (groups, instances, dim)`, or, for a
    model of single instances, `code (groups, instances, ...)`.
    """
    import numpy as np

    in_batches, present = sk.evaluation.in_batches, groups.present
    if swaps_codes(model):
        coherent, nuisance = in_batches(model.encode, groups.x, groups.model_mask)
        nuisance = np.where(present[..., None], nuisance, np.float32(0))
        return {"coherent": coherent, "nuisance": nuisance}
    good = None
    if groups.masks == 2:
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)[present]
    x = groups.x[present]
    found = in_batches(model.encode, x, good, rows=INSTANCES_AT_ONCE)
    if not isinstance(found, np.ndarray):
        raise InputError(
            f"A {type(model).__name__} has several maps per instance instead of a "
            "code, which cannot be written into .csv or .npz files of codes."
        )
    code = np.zeros((*present.shape, *found.shape[1:]), found.dtype)
    code[present] = found
    return {"code": code}


def _write_arrays(out: Path, groups: GroupedData, codes: dict[str, Array]) -> str:
    import numpy as np

    taken = (*codes, "mask", "ids")
    groups = without(groups, taken)
    arrays: dict[str, Any] = dict(codes)
    for name in ("mask", "ids"):
        if getattr(groups, name) is not None:
            arrays[name] = getattr(groups, name)
    arrays = {**groups.group_metadata, **groups.instance_metadata, **arrays}
    with written_atomically(out) as partial, partial.open("wb") as stream:
        write_arrays(stream, arrays)
    return ", ".join(f"{name} {np.shape(each)}" for name, each in arrays.items())


def _write_rows(
    out: Path, groups: GroupedData, kind: str, code: Array, named: str
) -> str:
    """Write one row per group for coherent codes, else one row per instance."""
    import numpy as np

    from symae_keras.data.io.save import group_names, instance_names, table_columns

    per_group = kind == "coherent"
    if code.ndim != 3 - per_group:
        raise InputError(
            f"{out}: a table can only contain codes that are rows of numbers, but this "
            f"model has codes of shape {code.shape[2:]}; give an .npz file."
        )
    names = [f"{kind}_{k + 1}" for k in range(code.shape[-1])]
    groups = without(groups, ("group", named, "instance", *names))
    first: tuple[str, ...] = (named,)
    where: Any = np.arange(len(groups))
    columns: list[Iterable[Any]] = [group_names(groups)]
    known = {k: v for k, v in groups.group_metadata.items() if v.ndim == 1}
    if not per_group:
        where, first = np.nonzero(groups.present), (named, "instance")
        columns = [group_names(groups)[where[0]], instance_names(groups)[where]]
        known = table_columns(groups)
    columns += [each[where] for each in known.values()]
    columns += list(code[where].T)
    write_table(out, (*first, *known, *names), zip(*columns, strict=True))
    n_rows = len(code[where])
    what = "groups" if per_group else "instances"
    shown = f"{names[0]} to {names[-1]}" if len(names) > 1 else names[0]
    return f"{n_rows} {what}; {', '.join((*first, *known))}, {shown}"
