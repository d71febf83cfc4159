"""Strict reference readers for `fuzz.py`.

A reference reader takes the standard parser of a format, looks at everything that the
file states twice (checksums, sizes, lengths of rows), and raises `Seen` where something
does not fit. If it reads a mutated file without an objection, the file is a well-formed
file with other content, and no reader can see that it was mutated.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from fuzz_mutations import split_png

from symae_keras.data import GroupedData, bag_by_label

Array = npt.NDArray[Any]


class Seen(Exception):
    """What a strict reader objects to."""


def need(holds: Any, objection: str) -> None:
    """Raise `Seen` unless something holds."""
    if not holds:
        raise Seen(objection)


class Group(NamedTuple):
    """The present instances of a group; `name` is `None` where groups have none."""

    name: str | None
    x: Array
    good: Array
    weights: Array | None


@dataclasses.dataclass
class Reading:
    """What a file says: groups in the order of their names, and the axis."""

    groups: list[Group]
    axis: Array | None

    def __eq__(self, other: object) -> bool:
        """Compare all values; those of bad pixels do not count."""
        return (
            isinstance(other, Reading)
            and len(self.groups) == len(other.groups)
            and _close(self.axis, other.axis)
            and all(map(_same, self.groups, other.groups))
        )


def _close(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-9, atol=0)


def _same(one: Group, other: Group) -> bool:
    if one.name != other.name or one.x.shape != other.x.shape:
        return False
    if not np.array_equal(one.good, other.good):
        return False
    if not np.array_equal(one.x[one.good], other.x[one.good], equal_nan=True):
        return False
    if one.weights is None or other.weights is None:
        return one.weights is other.weights
    # `GroupedData` holds weights in float32.
    here, there = one.weights.astype("float32"), other.weights.astype("float32")
    return np.array_equal(here[one.good], there[one.good])


def reading(data: GroupedData) -> Reading:
    """What the package read."""
    good = np.broadcast_to(data.good_pixels, data.x.shape)
    weights = None
    if data.weights is not None:
        weights = np.broadcast_to(data.weights, data.x.shape)
    groups = []
    for n in range(len(data)):
        there = data.present[n]
        groups.append(
            Group(
                None if data.ids is None else _name(data.ids[n]),
                np.asarray(data.x[n][there]),
                good[n][there],
                None if weights is None else weights[n][there],
            )
        )
    axis = None if data.axis is None else np.asarray(data.axis)
    return Reading(sorted(groups, key=lambda each: each.name or ""), axis)


def _name(value: Any) -> str:
    return str(value).strip("\x00 ")


def from_rows(
    names: Sequence[Any],
    x: Array,
    good: Array | None = None,
    weights: Array | None = None,
    axis: Array | None = None,
) -> Reading:
    """What flat rows say."""
    need(len(names) == len(x) and x.size, "rows without names, or none")
    good = ~np.isnan(x) if good is None else good.astype(bool) & ~np.isnan(x)
    if weights is not None:
        need(weights.shape == x.shape, "weights of another shape")
        need((np.where(good, weights, 0) >= 0).all(), "negative weights")
        good = good & (weights > 0)
    named = np.array([_name(name) for name in names])
    groups = [
        Group(
            str(name),
            x[named == name],
            good[named == name],
            None if weights is None else weights[named == name],
        )
        for name in np.unique(named)
    ]
    return Reading(groups, _monotonic(axis, x.shape[1]))


def from_keys(arrays: dict[str, Array]) -> Reading:
    """What named arrays say."""
    need("x" in arrays and arrays["x"].ndim >= 2, "no x")
    x = arrays["x"]
    need(x.dtype.kind in "buif" and x.size, "x is not numbers")
    x = x if x.dtype.kind == "f" else x.astype("float32")
    pixel_mask, weights = arrays.get("pixel_mask"), arrays.get("weights")
    if pixel_mask is not None:
        need(np.isin(pixel_mask, (0, 1)).all(), "pixel_mask is neither 0 nor 1")
        pixel_mask = np.broadcast_to(pixel_mask, x.shape).astype(bool)
    if "group" in arrays:
        names = arrays["group"]
        need(names.ndim == 1 and "mask" not in arrays, "group and mask")
        return from_rows(list(names), x, pixel_mask, weights, arrays.get("axis"))
    need(x.ndim >= 3, "x has too few axes")
    mask = arrays.get("mask", np.ones(x.shape[:2], bool))
    need(mask.shape == x.shape[:2] and np.isin(mask, (0, 1)).all(), "mask")
    ids = arrays.get("ids")
    need(ids is None or ids.shape == x.shape[:1], "ids")
    need(ids is None or ids.dtype.kind in "iufUS", "ids of another kind")
    weights = None if weights is None else np.broadcast_to(weights, x.shape)
    data = GroupedData(
        x, mask=mask.astype(bool), ids=ids, pixel_mask=pixel_mask, weights=weights
    )
    found = reading(data)
    found.axis = _monotonic(arrays.get("axis"), x.shape[2])
    return found


def _monotonic(axis: Array | None, size: int) -> Array | None:
    if axis is not None:
        need(axis.shape == (size,) and np.isfinite(axis).all(), "axis does not fit")
        steps = np.sign(np.diff(axis.astype("float64")))
        need((steps == steps[:1]).all() and (steps != 0).all(), "axis not monotonic")
    return axis


# === Text ===

_NUMBER: Final = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE
)


def is_number(cell: str) -> bool:
    """Whether a cell is a finite number and nothing else."""
    return bool(_NUMBER.fullmatch(cell)) and bool(np.isfinite(float(cell)))


def number(cell: str) -> float:
    """The number in a cell, NaN where the cell is empty or says so."""
    if cell.casefold() in ("", "nan"):
        return float("nan")
    need(is_number(cell), f"{cell!r} is not a number")
    return float(cell)


def cells(path: Path, delimiter: str, comma: bool) -> list[list[str]]:
    """Lines of equally many cells, with decimal points."""
    content = path.read_bytes()
    marks = (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode(
            "utf-16" if content.startswith(marks) else "utf-8-sig", "strict"
        )
        lines = list(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        )
    except (UnicodeError, csv.Error) as error:
        raise Seen(str(error)) from None
    lines = [[cell.strip() for cell in line] for line in lines if line]
    need(len(lines) > 1, "no rows")
    need(all(len(line) == len(lines[0]) for line in lines), "lines of unequal lengths")
    if comma:
        need(not any("." in cell for line in lines for cell in line), "decimal points")
        lines = [[cell.replace(",", ".") for cell in line] for line in lines]
    return lines


def _columns(lines: list[list[str]]) -> dict[str, list[str]]:
    header = [name if is_number(name) else name.casefold() for name in lines[0]]
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    need(not twice, f"{twice} twice")
    return {name: [row[k] for row in lines[1:]] for k, name in enumerate(header)}


def _almost_number(name: str) -> bool:
    """Whether a header has more digits than other characters, or is not finite."""
    digits = sum(letter.isdigit() for letter in name)
    return 2 * digits > len(name) or name in ("nan", "inf", "infinity")


def wide(path: Path, delimiter: str = ",", comma: bool = False) -> Reading:
    """A row per instance."""
    columns = _columns(cells(path, delimiter, comma))
    need("group" in columns, "no column group")
    heads = [name for name in columns if is_number(name)]
    names = columns["group"]
    need(all(names) and heads, "an empty name, or no pixels")
    for name in columns:
        need(is_number(name) or not _almost_number(name), f"{name} is nearly a number")
    if "instance" in columns:
        pairs = list(zip(names, columns["instance"], strict=True))
        need(all(columns["instance"]), "an empty instance")
        need(len(set(pairs)) == len(pairs), "an instance twice")
    x = np.array([[number(cell) for cell in columns[head]] for head in heads]).T
    return from_rows(names, x, axis=np.array([float(head) for head in heads]))


def long(path: Path, delimiter: str = ",", comma: bool = False) -> Reading:
    """A row per pixel."""
    columns = _columns(cells(path, delimiter, comma))
    axes = [name for name in columns if re.fullmatch(r"axis(\s*\(.*\))?", name)]
    need(len(axes) == 1, "no column axis")
    need({"group", "instance", "value"} <= set(columns), "a column is missing")
    places = [number(cell) for cell in columns[axes[0]]]
    need(np.isfinite(places).all(), "a row without axis value")
    keys = list(zip(columns["group"], columns["instance"], strict=True))
    need(all(map(all, keys)), "an empty name")
    instances, axis = sorted(set(keys)), np.unique(places)
    x = np.full((len(instances), len(axis)), np.inf)
    for key, place, cell in zip(keys, places, columns["value"], strict=True):
        at = instances.index(key), int(np.searchsorted(axis, place))
        need(np.isinf(x[at]), "a pixel twice")
        x[at] = number(cell)
    need(not np.isinf(x).any(), "a pixel is missing")
    return from_rows([group for group, _ in instances], x, axis=axis)


def stacked(names: list[str], spectra: Sequence[tuple[Array, ...]]) -> Reading:
    """Spectra of files of their own: axis, values and perhaps weights."""
    need(spectra, "no spectra")
    axis = spectra[0][0]
    for each in spectra:
        need(len(each) == len(spectra[0]), "weights in some files only")
        need(np.array_equal(each[0], axis), "axes differ")
    for name in names:
        need(re.fullmatch(r".+[_-][^_-]*", name), f"{name} names no group")
    groups = [re.split(r"[_-][^_-]*$", name)[0] for name in names]
    weights = np.stack([each[2] for each in spectra]) if len(spectra[0]) > 2 else None
    x = np.stack([each[1] for each in spectra])
    good = None
    if weights is not None:
        good = np.isfinite(weights)
        weights = np.where(good & ~np.isnan(x), weights, 0)
    return from_rows(groups, x, good, weights, axis)


def text_spectra(folder: Path) -> Reading:
    """Columns of axis, value and inverse variance in each file."""
    names, spectra = [], []
    for file in sorted(folder.iterdir()):
        need(file.suffix == ".csv", f"{file.name} is no spectrum")
        lines = cells(file, ",", comma=False)
        lines = [line for line in lines if not line[0].startswith("#")]
        if lines and not any(map(is_number, lines[0])):
            lines = lines[1:]
        need(lines and len(lines[0]) in (2, 3), "no rows, or other columns")
        columns = zip(*[[number(cell) for cell in line] for line in lines], strict=True)
        names.append(file.stem)
        spectra.append(tuple(np.array(column) for column in columns))
    return stacked(names, spectra)


# === NumPy and HDF5 ===


def _npy(content: bytes) -> Array:
    """An array that fills its file, or member of a zip file, exactly."""
    stream = io.BytesIO(content)
    try:
        array = np.load(stream, allow_pickle=False)
    except Exception as error:
        raise Seen(str(error)) from None
    need(isinstance(array, np.ndarray), "no array")
    need(stream.tell() == len(content), "bytes behind the array")
    if array.dtype.kind == "b":
        need(np.isin(array.view("u1"), (0, 1)).all(), "a bool that is neither 0 nor 1")
    return np.asarray(array)


def npy(path: Path) -> Reading:
    """`x` alone."""
    return from_keys({"x": _npy(path.read_bytes())})


def zip_members(content: bytes) -> dict[str, bytes]:
    """Contents of a zip file whose checksums and sizes fit."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            infos = file.infolist()
            need(len({each.filename for each in infos}) == len(infos), "a name twice")
            return {each.filename: file.read(each) for each in infos}
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None


def npz(path: Path) -> Reading:
    """Named arrays."""
    inside = zip_members(path.read_bytes())
    arrays = {name.removesuffix(".npy"): _npy(body) for name, body in inside.items()}
    need(len(arrays) == len(inside), "a name twice")
    return from_keys(arrays)


def hdf5_arrays(content: bytes, everything: bool = False) -> dict[str, Array]:
    """Datasets whose types are plain and whose data are there and nobody else's.

    Args:
        content: The bytes of the file.
        everything: Whether datasets in groups count, too, and any name.
    """
    import h5py

    known = ("x", "mask", "ids", "pixel_mask", "weights", "axis", "group")
    arrays, ranges = {}, []
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            names: list[str] = []
            file.visit(names.append)
            for name in names:
                item = file[name]
                if not everything and name not in known:
                    continue
                if not isinstance(item, h5py.Dataset):
                    need(everything, f"{name} is no dataset")
                    continue
                need(item.shape is not None, f"{name} is empty")
                if item.chunks is None and item.size:
                    start, size = item.id.get_offset(), item.id.get_storage_size()
                    # A text of any length is stored as 16 bytes that point to it.
                    each = 16 if item.dtype.hasobject else item.dtype.itemsize
                    fits = start is not None and size == item.size * each
                    need(fits, f"size of {name}")
                    ranges.append((start, start + size))
                if h5py.check_string_dtype(item.dtype) is not None:
                    arrays[name] = np.asarray(item.asstr()[()], dtype=str)
                    continue
                plain = h5py.h5t.py_create(item.dtype, logical=True)
                need(item.id.get_type().equal(plain), f"{name} is of an odd type")
                values = item[()]
                if values.dtype.kind == "b":
                    need(np.isin(values.view("u1"), (0, 1)).all(), f"bools of {name}")
                arrays[name] = np.asarray(values.astype(values.dtype.newbyteorder("=")))
        need(_end(content) == len(content), "bytes behind the end")
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None
    ranges.sort()
    for (_, stop), (start, _) in zip(ranges, ranges[1:], strict=False):
        need(stop <= start, "datasets overlap")
    need(not ranges or ranges[-1][1] <= len(content), "data behind the end")
    return arrays


def _end(content: bytes) -> int:
    """The size of an HDF5 file, as its superblock states it."""
    place = 40 if content[8] < 2 else 28
    (end,) = struct.unpack_from("<Q", content, place)
    return int(end)


def hdf5(path: Path) -> Reading:
    """Named datasets."""
    return from_keys(hdf5_arrays(path.read_bytes()))


# === FITS ===


def _units(content: bytes) -> list[Any]:
    """The units of a FITS file, each complete, with good checksums if any."""
    from astropy.io import fits

    need(len(content) % 2880 == 0 and content, "no whole number of blocks")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            units = fits.open(
                io.BytesIO(content), memmap=False, lazy_load_hdus=False, checksum=True
            )
            end = 0
            for unit in units:
                unit.verify("exception")
                need(unit.fileinfo()["hdrLoc"] == end, "a gap between units")
                end = unit.fileinfo()["datLoc"] + unit.fileinfo()["datSpan"]
                twice = [
                    k for k, n in Counter(list(unit.header)).items() if n > 1 and k
                ]
                need(set(twice) <= {"COMMENT", "HISTORY"}, f"{twice} twice")
                unit.data  # noqa: B018  # read now, while warnings are errors
            need(end == len(content), "bytes behind the last unit")
            return list(units)
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except Exception as error:
        raise Seen(str(error)) from None


def _linear_axis(header: Any, size: int) -> Array | None:
    keys = ("CRVAL1", "CDELT1", "CRPIX1", "CTYPE1", "CUNIT1", "CD1_1", "PC1_1")
    if not any(key in header for key in keys):
        return None
    kind = str(header.get("CTYPE1", ""))
    need(kind in ("", "WAVE", "LINEAR"), f"CTYPE1 is {kind}")
    try:
        step, first, at = (
            float(header.get(key, default))
            for key, default in (("CDELT1", 1), ("CRVAL1", 0), ("CRPIX1", 0))
        )
    except (TypeError, ValueError) as error:
        raise Seen(str(error)) from None
    need(step != 0, "CDELT1 is 0")
    return first + step * (np.arange(1, size + 1) - at)


def _native(values: Array) -> Array:
    return np.asarray(values).astype(values.dtype.newbyteorder("="))


def _spelled(table: Any, wanted: str) -> str:
    """A column as the file spells it."""
    return str(next(n for n in table.columns.names if n.casefold() == wanted))


def fits_table(path: Path) -> Reading:
    """A spectrum per row."""
    units = _units(_content(path))
    need(len(units) == 2 and hasattr(units[1], "columns"), "no table")
    table, header = units[1], units[1].header
    columns = {name.casefold(): table.data[name] for name in table.columns.names}
    need("flux" in columns and "object" in columns, "a column is missing")
    need(table.data.dtype.itemsize == header["NAXIS1"], "NAXIS1 and the types differ")
    x = np.asarray(columns["flux"])
    need(x.ndim == 2 and x.dtype.kind in "if", "no spectra")
    axis = columns.get("wavelength")
    if axis is not None:
        need(axis.ndim == 2 and (axis == axis[0]).all(), "axes differ")
        axis = _native(axis[0])
    good = None
    if "pixel_mask" in columns:
        raw = table.data.view(np.ndarray)[_spelled(table, "pixel_mask")]
        need(np.isin(raw.view("u1"), (ord("T"), ord("F"))).all(), "a bool is neither")
        good = np.asarray(columns["pixel_mask"])
    weights = columns.get("ivar")
    if weights is not None:
        weights = _native(weights)
        good = np.isfinite(weights) if good is None else good & np.isfinite(weights)
        weights = np.where(good & ~np.isnan(x), weights, 0)
    names = [str(name) for name in columns["object"]]
    return from_rows(names, _native(x), good, weights, axis)


def fits_image(path: Path) -> Reading:
    """An image (groups, instances, pixels), and perhaps one of inverse variances."""
    units = _units(_content(path))
    x = units[0].data
    need(x is not None and x.ndim == 3, "no image of three axes")
    planes = {unit.name: unit.data for unit in units[1:]}
    weights = planes.get("IVAR")
    need(weights is None or weights.shape == x.shape, "weights of another shape")
    good = ~np.isnan(x)
    arrays = {"x": np.where(good, _native(x), 0), "pixel_mask": good}
    if weights is not None:
        arrays["pixel_mask"] = good = good & np.isfinite(weights)
        arrays["weights"] = np.where(good, _native(weights), 0)
        need((arrays["weights"] >= 0).all(), "negative weights")
    axis = _linear_axis(units[0].header, x.shape[2])
    if axis is not None:
        arrays["axis"] = axis
    return from_keys(arrays)


def fits_spectra(folder: Path) -> Reading:
    """One image of one axis in each file."""
    names, spectra = [], []
    for file in sorted(folder.iterdir()):
        need(file.suffix == ".fits", f"{file.name} is no spectrum")
        unit = _units(file.read_bytes())[0]
        need(unit.data is not None and unit.data.ndim == 1, "no spectrum")
        axis = _linear_axis(unit.header, unit.data.size)
        names.append(file.stem)
        spectra.append((np.array(np.nan) if axis is None else axis, _native(unit.data)))
    return stacked(names, spectra)


# === Images, idx files and shards ===


def _check_png(content: bytes) -> None:
    try:
        chunks = split_png(content)
        need(content[:8] == b"\x89PNG\r\n\x1a\n", "no PNG")
        need(chunks[0][0] == b"IHDR" and chunks[-1][0] == b"IEND", "a chunk is missing")
        need(sum(kind == b"IHDR" for kind, _, _ in chunks) == 1, "two headers")
        for kind, body, crc in chunks:
            need(zlib.crc32(kind + body) == crc, f"checksum of {kind!r}")
        width, height, bits, colour, *more = struct.unpack(">IIBBBBB", chunks[0][1])
        need((bits, colour, *more) == (8, 0, 0, 0, 0), "another kind of image")
        packed = b"".join(body for kind, body, _ in chunks if kind == b"IDAT")
        stream = zlib.decompressobj()
        pixels = stream.decompress(packed, 1 << 20)
        need(stream.eof and not stream.unused_data, "incomplete pixels")
        need(len(pixels) == height * (width + 1), "pixels do not fit the header")
        need(set(pixels[:: width + 1]) <= set(range(5)), "an unknown filter")
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None


def _check_tiff(content: bytes, tags: Any) -> None:
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    bits = tags[258]
    size = tags[257] * tags[256] * sum(bits) // 8
    need(tags.get(259, 1) == 1, "compressed")
    need(sum(tags[279]) == size, "sizes of strips and image differ")
    for start, length in zip(tags[273], tags[279], strict=True):
        need(start >= 8 and start + length <= len(content), "a strip outside")
        behind = start >= directory + 6 + 12 * entries
        need(behind or start + length <= directory, "a strip over the directory")


def images(folder: Path) -> Reading:
    """A sub-folder per group."""
    from PIL import Image

    names, pixels = [], []
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = file.read_bytes()
        need(file.suffix in (".png", ".tif"), f"{file.name} is no image")
        if file.suffix == ".png":
            _check_png(content)
        try:
            with Image.open(io.BytesIO(content)) as image:
                if file.suffix == ".tif":
                    _check_tiff(content, image.tag_v2)
                need(getattr(image, "n_frames", 1) == 1, "more than one image")
                pixels.append(np.asarray(image))
        except Seen:
            raise
        except Exception as error:
            raise Seen(str(error)) from None
        need(pixels[-1].shape == pixels[0].shape, "sizes differ")
        need(pixels[-1].dtype == pixels[0].dtype, "types differ")
        names.append(file.parent.name)
    x = np.stack(pixels)
    if x.dtype == np.uint8:
        x = x.astype("float32") / np.float32(255)
    return from_rows(names, (x if x.ndim == 4 else x[..., None]).astype("float32"))


def idx(folder: Path) -> Reading:
    """Images and labels of the training set."""
    arrays = []
    for name, axes in (("images-idx3", 3), ("labels-idx1", 1)):
        content = (folder / f"train-{name}-ubyte").read_bytes()
        start = 4 + 4 * axes
        need(content[:4] == bytes([0, 0, 8, axes]) and len(content) >= start, "header")
        shape = struct.unpack(f">{axes}I", content[4:start])
        need(len(content) - start == np.prod(shape, dtype=object), "size")
        arrays.append(np.frombuffer(content, "u1", offset=start).reshape(shape))
    need(len(arrays[0]) == len(arrays[1]) and arrays[0].size, "counts differ")
    return reading(bag_by_label(arrays[0], arrays[1]))


def shards(folder: Path) -> Reading:
    """Groups in shards, all checksums and counts of which fit."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        need(manifest["version"] == 1, "another version")
        shape, fields = manifest["instance_shape"], ["x"]
        fields += [key for key in ("pixel_mask", "weights") if manifest[key]]
        need(manifest["groups"] == sum(e["groups"] for e in manifest["shards"]), "sum")
        ids: list[str] = []
        parts: list[dict[str, Array]] = []
        axis = None
        for entry in manifest["shards"]:
            content = (folder / entry["file"]).read_bytes()
            index = (folder / entry["file"]).with_suffix(".npz").read_bytes()
            need(zlib.crc32(index) == entry["index_crc32"], "checksum of an index")
            arrays = {n[:-4]: _npy(body) for n, body in zip_members(index).items()}
            need(arrays["instance_shape"].tolist() == shape, "shape")
            need(arrays["fields"].tolist() == fields, "fields")
            need(len(arrays["counts"]) == entry["groups"], "groups of a shard")
            axis, place = arrays.get("axis"), 0
            for count, crc in zip(arrays["counts"], arrays["crc32"], strict=True):
                record, at = {}, place
                for key in fields:
                    kind = "?" if key == "pixel_mask" else "<f4"
                    size = int(count) * int(np.prod(shape))
                    values = np.frombuffer(content, kind, size, at)
                    record[key] = values.reshape(count, *shape)
                    at += values.nbytes
                need(zlib.crc32(content[place:at]) == crc, "checksum of a group")
                parts.append(record)
                place = at
            need(place == len(content), "bytes behind the last group")
            ids += [str(each) for each in arrays["ids"]]
    except Seen:
        raise
    except Exception as error:
        raise Seen(str(error)) from None
    rows = {key: np.concatenate([part[key] for part in parts]) for key in fields}
    names = np.repeat(ids, [len(part["x"]) for part in parts])
    need(len(set(ids)) == len(ids), "a group twice")
    return from_rows(
        list(names), rows["x"], rows.get("pixel_mask"), rows.get("weights"), axis
    )
