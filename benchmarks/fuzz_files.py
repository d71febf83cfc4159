"""Kinds of data files that `fuzz.py` mutates, each with a valid example."""

from __future__ import annotations

import functools
import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import fuzz_arrays
import fuzz_containers as containers
import fuzz_fits
import fuzz_images
import fuzz_mutations as plain
import fuzz_text
import numpy as np
from fuzz_mutations import BINARY, TEXT, Draw, Mutation, NotApplicable, pick
from fuzz_reference import Reading

from symae_keras.data import GroupedData, ShardWriter

RNG: Final = np.random.default_rng(7)
X: Final = RNG.normal(size=(4, 3, 10)).astype("float32").round(4)
AXIS: Final = np.array([400.0, 401.5, 402, 403, 405, 406.25, 408, 409, 410, 412])
PRESENT: Final = np.arange(3) < np.array([3, 2, 3, 1])[:, None]
GOOD: Final = RNG.random(X.shape) > 0.1
WEIGHTS: Final = RNG.uniform(0.5, 2, X.shape).astype("float32")
NAMES: Final = np.array(["moon", "sirius", "sun", "vega"])
#: Columns of tables with one row per instance.
ROWS: Final = np.argwhere(PRESENT)


class Kind(NamedTuple):
    """Kind of data file, with an example, a reference reader and mutations.

    Attributes:
        name: Name in the table.
        write: Function that writes a valid example into a folder and returns its path.
        read: The reference reader.
        mutations: Mutations to apply to a file.
        refusable: Whether the package may refuse the valid example.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Reading]
    mutations: tuple[Mutation, ...]
    refusable: bool = False


def mutate(draw: Draw, target: Path, mutations: tuple[Mutation, ...]) -> str:
    """Mutate a file, or one file of a folder, in place; return a description."""
    files = [target]
    if target.is_dir():
        files = sorted(each for each in target.rglob("*") if each.is_file())
    while True:
        try:
            if len(files) > 3 and draw.random() < 0.1:
                return _other_files(draw, files)
            file = pick(draw, files)
            change = pick(draw, mutations)
            old = file.read_bytes()
            new, done = change(draw, old)
        except NotApplicable:
            continue
        if new != old:
            file.write_bytes(new)
            return f"{file.name}: {change.__name__}: {done}"


def _other_files(draw: Draw, files: list[Path]) -> str:
    """Remove, copy, rename, exchange or add a file in a folder."""
    file, other = pick(draw, files), pick(draw, files)
    done = pick(draw, ("remove", "copy", "rename", "exchange", "add"))
    new = file.with_name(pick(draw, ("new_9", "new", "_", "a-b-1")) + file.suffix)
    if done == "remove":
        file.unlink()
    elif done == "copy":
        shutil.copy(file, new)
    elif done == "rename":
        file.rename(new)
    elif done == "exchange":
        if file.read_bytes() == other.read_bytes():
            raise NotApplicable
        content = file.read_bytes()
        file.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return f"exchange {file.name} and {other.name}"
    else:
        file.with_name("notes.md").write_text("notes", encoding="utf-8")
        return f"add notes.md next to {file.name}"
    return f"{done} {file.name} ({new.name})"


# === Text ===


def _text(path: Path, rows: list[list[Any]], delimiter: str, comma: bool) -> Path:
    lines = [delimiter.join(map(str, row)) for row in rows]
    text = "".join(f"{line}\n" for line in lines)
    path.write_text(text.replace(".", ",") if comma else text, encoding="utf-8")
    return path


def _write_wide(
    folder: Path,
    name: str = "my.csv",
    delimiter: str = ",",
    comma: bool = False,
    instances: bool = True,
) -> Path:
    rows: list[list[Any]] = [["group", *["instance", "snr"] * instances, *AXIS]]
    for n, t in ROWS:
        values = np.where(GOOD[n, t], X[n, t].astype(str), "")
        rows.append([NAMES[n], *["abc"[t], 10 * n + t] * instances, *values])
    return _text(folder / name, rows, delimiter, comma)


def _write_long(folder: Path) -> Path:
    rows: list[list[Any]] = [["group", "instance", "axis (nm)", "value"]]
    for n, t in ROWS:
        for k, place in enumerate(AXIS):
            rows.append([NAMES[n], "abc"[t], place, X[n, t, k]])
    return _text(folder / "my.csv", rows, ",", False)


def _write_text_spectra(folder: Path) -> Path:
    for n, t in ROWS:
        rows: list[list[Any]] = [["wavelength", "flux", "ivar"]]
        rows += np.stack([AXIS, X[n, t], WEIGHTS[n, t]], -1).round(4).tolist()
        _text(folder / f"{NAMES[n]}_{t}.csv", rows, ",", False)
    return folder


# === Arrays ===


def _grouped() -> dict[str, Any]:
    """Return names and arrays of grouped data."""
    return {
        "x": X,
        "mask": PRESENT,
        "ids": NAMES,
        "pixel_mask": GOOD,
        "weights": WEIGHTS,
        "axis": AXIS,
        "depth": np.arange(4),
    }


def _write_npz(folder: Path) -> Path:
    np.savez(folder / "my.npz", **_grouped())
    return folder / "my.npz"


def _write_rows(folder: Path) -> Path:
    np.savez_compressed(
        folder / "my.npz",
        x=X[PRESENT].astype("float64"),
        group=NAMES[ROWS[:, 0]],
        axis=AXIS,
        site=ROWS[:, 1],
    )
    return folder / "my.npz"


def _write_npy(folder: Path) -> Path:
    np.save(folder / "my.npy", X)
    return folder / "my.npy"


def _write_hdf5(folder: Path, checked: bool = False) -> Path:
    import h5py

    # The latest format has checksums of all headers, and a filter adds those of data.
    version = ("latest", "latest") if checked else None
    with h5py.File(folder / "my.h5", "w", libver=version) as file:
        for name, values in _grouped().items():
            if name == "ids":
                values = [str(each) for each in values]
            elif checked:
                file.create_dataset(name, data=values, fletcher32=True)
                continue
            file[name] = values
        file["axis"].attrs["units"] = "nm"
    return folder / "my.h5"


# === FITS ===


def _write_fits_table(folder: Path, name: str = "my.fits") -> Path:
    from astropy.io import fits

    axis = np.tile(AXIS, (len(ROWS), 1))
    columns = [
        fits.Column("FLUX", "10E", array=X[PRESENT]),
        fits.Column("OBJECT", "8A", array=NAMES[ROWS[:, 0]]),
        fits.Column("WAVELENGTH", "10D", array=axis, unit="Angstrom"),
        fits.Column("IVAR", "10E", array=WEIGHTS[PRESENT]),
        fits.Column("PIXEL_MASK", "10L", array=GOOD[PRESENT]),
        fits.Column("AIRMASS", "J", array=ROWS[:, 1]),
    ]
    units = [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]
    fits.HDUList(units).writeto(folder / name)
    return folder / name


def _write_fits_image(
    folder: Path, name: str = "my.fits", checksum: bool = False
) -> Path:
    from astropy.io import fits

    unit = fits.PrimaryHDU(X)
    for key, value in _world().items():
        unit.header[key] = value
    units = [unit, fits.ImageHDU(WEIGHTS, name="IVAR")]
    fits.HDUList(units).writeto(folder / name, checksum=checksum)
    return folder / name


def _world() -> dict[str, Any]:
    """Return the header cards of a linear axis."""
    return {
        "CTYPE1": "WAVE",
        "CUNIT1": "Angstrom",
        "CRPIX1": 1.0,
        "CRVAL1": 4000.0,
        "CDELT1": 2.5,
    }


def _write_fits_gzip(folder: Path) -> Path:
    path = _write_fits_image(folder, "plain.fits")
    packed = path.with_name("my.fits.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()
    return packed


def _write_fits_spectra(folder: Path) -> Path:
    from astropy.io import fits

    for n, t in ROWS:
        unit = fits.PrimaryHDU(X[n, t])
        for key, value in _world().items():
            unit.header[key] = value
        unit.writeto(folder / f"{NAMES[n]}_{t}.fits")
    return folder


# === Folders ===


def _write_images(folder: Path, suffix: str = ".png", kind: str = "u1") -> Path:
    from PIL import Image

    rng = np.random.default_rng(3)
    for n, t in ROWS:
        file = folder / str(NAMES[n]) / f"{t}{suffix}"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (7, 6)).astype(kind)).save(file)
    return folder


def _write_idx(folder: Path) -> Path:
    rng = np.random.default_rng(4)
    arrays = {
        "images-idx3": rng.integers(0, 256, (66, 4, 3), "u1"),
        "labels-idx1": np.arange(66, dtype="u1") % 3,
    }
    for name, array in arrays.items():
        head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / f"train-{name}-ubyte").write_bytes(head + array.tobytes())
    return folder


def _write_shards(folder: Path) -> Path:
    groups = GroupedData(
        X, PRESENT, ids=NAMES, pixel_mask=GOOD, weights=WEIGHTS, axis=AXIS
    )
    with ShardWriter(folder, shard_bytes=500) as writer:
        writer.add(groups)
    return folder


def mutate_shards(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Mutate a manifest as JSON, an index as a zip file, and data as bytes."""
    if content.startswith(b"{"):
        change = containers.json_entry
    elif content.startswith(b"PK"):
        change = containers.zip_members
    else:
        change = pick(draw, BINARY)
    return change(draw, content)


_FITS: Final = (*BINARY, *(containers.fits_card,) * 9)
_HDF5: Final = (*BINARY, *BINARY, *(containers.hdf5_item,) * 6)
_semicolons: Final = functools.partial(
    _write_wide, delimiter=";", comma=True, instances=False
)

#: All kinds by name.
KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("csv-wide", _write_wide, fuzz_text.wide, TEXT),
        Kind("csv-long", _write_long, fuzz_text.long, TEXT),
        Kind(
            "csv-decimal-comma",
            _semicolons,
            functools.partial(fuzz_text.wide, delimiter=";", comma=True),
            TEXT,
            refusable=True,
        ),
        Kind(
            "tsv",
            functools.partial(_write_wide, name="my.tsv", delimiter="\t"),
            functools.partial(fuzz_text.wide, delimiter="\t"),
            TEXT,
        ),
        Kind(
            "npz-grouped",
            _write_npz,
            fuzz_arrays.npz,
            (*BINARY, *(containers.zip_members,) * 9),
        ),
        Kind(
            "npz-rows",
            _write_rows,
            fuzz_arrays.npz,
            (*BINARY, *(containers.zip_members,) * 9),
        ),
        Kind(
            "npy", _write_npy, fuzz_arrays.npy, (*BINARY, *(containers.npy_header,) * 7)
        ),
        Kind("hdf5", _write_hdf5, fuzz_arrays.hdf5, _HDF5),
        Kind(
            "hdf5-checksums",
            functools.partial(_write_hdf5, checked=True),
            fuzz_arrays.hdf5,
            _HDF5,
        ),
        Kind("fits-table", _write_fits_table, fuzz_fits.fits_table, _FITS),
        Kind("fits-image", _write_fits_image, fuzz_fits.fits_image, _FITS),
        Kind(
            "fits-image-checksum",
            functools.partial(_write_fits_image, checksum=True),
            fuzz_fits.fits_image,
            _FITS,
        ),
        Kind(
            "fits-gz",
            _write_fits_gzip,
            fuzz_fits.fits_image,
            (*BINARY * 2, *(containers.inside_gzip,) * 18, containers.gzip_bomb),
        ),
        Kind("folder-text-spectra", _write_text_spectra, fuzz_text.text_spectra, TEXT),
        Kind("folder-fits-spectra", _write_fits_spectra, fuzz_fits.fits_spectra, _FITS),
        Kind(
            "folder-png",
            _write_images,
            fuzz_images.images,
            (*BINARY, *(plain.png_chunks,) * 7),
        ),
        Kind(
            "folder-tif",
            functools.partial(_write_images, suffix=".tif", kind="u2"),
            fuzz_images.images,
            (*BINARY, *(plain.tiff_entry,) * 7),
        ),
        Kind(
            "folder-idx",
            _write_idx,
            fuzz_images.idx,
            (*BINARY, *(plain.idx_header,) * 5),
        ),
        Kind(
            "folder-shards",
            _write_shards,
            fuzz_images.shards,
            (*BINARY, *(mutate_shards,) * 7),
        ),
    )
}
