"""`symae explore`: a page that runs the model of a run in the browser."""

from __future__ import annotations

import base64
import gzip
import importlib.resources
import json
import logging
import lzma
import tempfile
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

import symae_keras as sk
from symae_keras._utils.arrays import swaps_codes
from symae_keras._utils.files import check_output, write_text
from symae_keras.cli._html import escape
from symae_keras.cli._options import (
    Force,
    Group,
    RunFolder,
    TrustedRecipe,
    import_backend,
    stderr_aside,
)
from symae_keras.cli._run_folder import Run, load_run, run_files
from symae_keras.cli._sources import padded_sample
from symae_keras.cli.evaluate import both_parts, groups_for
from symae_keras.errors import InputError

if TYPE_CHECKING:
    from symae_keras.data import GroupedData

_log = logging.getLogger("symae_keras")

#: Numbers of groups, and of instances per group, in a page; readers can add a table.
_GROUPS: Final = 24
_INSTANCES: Final = 16
#: Maximum number of values of instances in a page, 4 bytes each.
_NUMBERS: Final = 1 << 20
#: Level of the bands.
_LEVEL: Final = 0.9


def explore(
    run: RunFolder,
    out: Annotated[
        Path, typer.Option(metavar="HTML", help="The page to write.")
    ] = Path("explore.html"),
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Groups to show. Bands are calibrated on them, so the model must not "
            "have been trained on them.",
            show_default="the held-out part",
        ),
    ] = None,
    group: Group = None,
    force: Force = False,
    recipe: TrustedRecipe = None,
) -> None:
    """Write a page to change and swap codes in a browser, without a network.

    The page contains the model and some of the data. It needs the extra `export`.
    """
    import_backend()
    if out.suffix.lower() != ".html":
        raise InputError(f"--out must end in .html; received {out}.")
    check_output(out, force, [*run_files(run), *([data] if data else [])])
    found = load_run(run, recipe)
    if not swaps_codes(found.model):
        raise InputError(
            f"The model of {run} is a {type(found.model).__name__}, a model of single "
            "instances, which has no codes of groups to swap; train a grouped one."
        )
    sk.export.check_endpoint(found.model, "decode")
    trained_on = False
    if data is not None:
        groups = groups_for(found, data, group)
    else:
        train, held_out = both_parts(found)
        trained_on = held_out is None
        groups = padded_sample(train) if held_out is None else held_out
    with Console(stderr=True).status("Writing the model for the browser"):
        content = _content(found, groups, trained_on)
        write_text(out, _page(content))
    size = out.stat().st_size / 1e6
    print(f"{out}: {size:.1f} MB, open it in a browser")


def _content(run: Run, groups: GroupedData, trained_on: bool) -> dict[str, Any]:
    """Return the data of the page, as numbers and texts of JSON."""
    axis = run.axis
    return {
        "title": run.folder.resolve().name,
        "model": type(run.model).__name__,
        "shape": list(run.model.instance_shape),
        "axis": None if axis is None else axis.values.tolist(),
        "label": "pixel" if axis is None else axis.label,
        "group": run.config["data"].get("group") or "group",
        "coherent_dim": run.model.coherent_dim,
        "nuisance_dim": run.model.nuisance_dim,
        "part": "training groups" if trained_on else "held-out groups",
        "detail": None if run.model.detail is None else _numbers(run.model.detail),
        "bands": None if trained_on else _bands(run.model, groups),
        "groups": _some(groups),
        "encode": _onnx(run.model, "encode"),
        "decode": _onnx(run.model, "decode"),
    }


def _some(groups: GroupedData) -> list[dict[str, Any]]:
    """Return the groups for the page, those with several instances first."""
    import numpy as np

    size = max(int(groups.x[0, 0].size), 1)
    most = max(
        2, min(_GROUPS, _NUMBERS // (size * min(_INSTANCES, groups.n_instances)))
    )
    chosen = np.sort(np.argsort(-groups.counts.clip(0, 2), kind="stable")[:most])
    names = groups.instance_metadata.get("instance")
    found = []
    for k in chosen:
        places = np.flatnonzero(groups.present[k])[:_INSTANCES]
        if not len(places):
            continue
        good = np.broadcast_to(groups.good_pixels[k], groups.x[k].shape)
        x = np.where(good, groups.x[k], np.nan)[places]
        called = places if names is None else names[k][places]
        found.append(
            {
                "id": str(k if groups.ids is None else groups.ids[k]),
                "instances": [str(each) for each in called],
                "x": _numbers(x),
            }
        )
    return found


def _bands(model: Any, groups: GroupedData) -> dict[str, Any] | None:
    """Return the data for the bands, `None` if there are too few groups."""
    try:
        bands = sk.evaluation.Bands.fit(model, groups, _LEVEL)
    except InputError as error:
        _log.warning("the page has no bands: %s", error)
        return None
    differences = bands.code_differences
    return {
        "level": bands.level,
        "quantile": bands.quantile,
        "variance": _numbers(bands.variance),
        "differences": None if differences is None else _numbers(differences),
    }


def _onnx(model: Any, endpoint: str) -> str:
    with tempfile.TemporaryDirectory() as folder, stderr_aside():
        path = Path(folder) / f"{endpoint}.onnx"
        sk.export.export_model(model, path, "onnx", endpoint)
        return _base64(gzip.compress(path.read_bytes(), mtime=0))


def _numbers(array: Any) -> str:
    """Return an array as float32, little endian, in base64."""
    import numpy as np

    return _base64(np.ascontiguousarray(array, "<f4").tobytes())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _page(content: dict[str, Any]) -> str:
    package = importlib.resources.files("symae_keras")
    runtime = package / "_vendor" / "onnxruntime_web"

    def text(path: Any) -> str:
        return str(path.read_text(encoding="utf-8"))

    packed = (runtime / "ort-wasm-simd-threaded.wasm.xz").read_bytes()
    return Template(text(package / "cli" / "explore.html")).substitute(
        title=escape(content["title"]),
        version=escape(sk.__version__),
        licence=escape(text(runtime / "LICENSE")),
        # A name in the data must not close the element.
        content=json.dumps(content, allow_nan=False).replace("<", "\\u003c"),
        # Browsers support gzip, but not xz, which halves the size of the wheel.
        runtime=_base64(gzip.compress(lzma.decompress(packed), 6, mtime=0)),
        loader=text(runtime / "ort.wasm.bundle.min.mjs"),
        script=text(package / "cli" / "explore.js"),
    )
