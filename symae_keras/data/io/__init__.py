"""Readers and writers of files; `load` finds the reader for a file or folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Final

from symae_keras._utils.text import unreadable
from symae_keras._utils.untrusted_files import too_large
from symae_keras.data.groups import GroupedData
from symae_keras.data.io._shard_files import MANIFEST
from symae_keras.data.io.arrays import read_hdf5, read_npz
from symae_keras.data.io.fits import read_fits
from symae_keras.data.io.images import read_idx, read_images
from symae_keras.data.io.shards import Shards
from symae_keras.data.io.spectra import read_spectra
from symae_keras.data.io.table import read_table
from symae_keras.data.io.traces import FORMATS, read_traces
from symae_keras.data.ragged import UnevenGroups
from symae_keras.errors import InputError

__all__ = ["load"]

Reader = Callable[[Path, str | None], GroupedData | Shards]

_READERS: Final[dict[str, Reader]] = {
    **dict.fromkeys((".npz", ".npy"), read_npz),
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_table),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), read_hdf5),
    **dict.fromkeys((".fits", ".fit", ".fits.gz", ".fz"), read_fits),
    **dict.fromkeys(FORMATS, read_traces),
}


def load(path: str | PathLike[str], group: str | None = None) -> GroupedData | Shards:
    r"""Read groups from a file or folder, whose suffix or content tells its format.

    | what | content |
    | --- | --- |
    | `.npz`, `.h5`, `.hdf5`, `.hdf` | arrays under the keys below |
    | `.npy` | `x` alone, with its groups; stays on disk until it is used |
    | `.csv`, `.tsv`, `.txt`, wide | a row an instance: `group`, one column a pixel |
    | the same, long | a row a pixel: `group`, `instance`, `axis`, `value` |
    | `.fits`, `.fit`, `.fits.gz`, `.fz` | a table of spectra, or an image of them |
    | `.mseed`, `.miniseed`, `.segy`, `.sgy` | seismic traces, one instance each |
    | folder of spectra | `.csv`, `.txt`, `.dat`, `.tsv`, `.npy` or FITS, one each |
    | folder of folders | `.png`, `.jpg`, `.bmp` or `.tif` images, a folder a group |
    | folder of idx files | the training images of MNIST, in bags of 20 of one label |
    | folder of shards | what `symae data convert` wrote; stays on disk |

    Arrays are either grouped, `x (groups, instances, *instance_shape)` with, if
    instances are missing, `mask (groups, instances)`, True = present, and `ids`, the
    names of the groups; or flat rows, `x (rows, *instance_shape)` with `group (rows,)`,
    the id of each row. Both may add `axis (pixels,)`, the physical value of each pixel,
    `axis_label`, its name and unit, and of the shape of `x`, or one that broadcasts to
    it, `pixel_mask`, True = good, and `weights`. Other arrays with one entry for each
    group, instance or row become metadata.

    A wide table has the axis values as headers; a column `instance` names the
    instances, and all others are metadata: of groups, if all rows of each group have
    the same value in the column, else of instances. A header that is nearly a number,
    such as "500 nm", and a column of numbers between pixels whose header is not a
    number, are refused. Numbers in text files have a decimal point, or all of them a
    decimal comma; "1_5", "inf" and thousands separators are refused.

    An empty, null or NaN value of any format is a missing pixel: False in `pixel_mask`,
    0 in `x` and `weights`. Only an `.npy` file keeps its NaN behind the mask, because
    it stays on disk. A pixel whose mask or weight is null or NaN is masked, too. A null
    group or axis value is an error; null metadata are NaN or an empty text.

    A FITS table has one spectrum per row in a column `flux`, `x`, `spectrum` or
    `value`, and a column `group` or `object`; it may have `wavelength`, `lambda`,
    `axis` or `loglam`, equal in all rows, `ivar` or `weights`, and `pixel_mask`. An
    image has the axes (groups, instances, pixels), or (rows, pixels) and a table with a
    column `group`; it may have the images `PIXEL_MASK` and `IVAR` or `WEIGHTS` beside
    it. The axis of an image comes from its world coordinates, in the unit of the
    header. A wrong `CHECKSUM` or `DATASUM` is an error. FITS needs `astropy`.

    Seismic traces need `obspy`, of the extra `signals`, one length and one rate. The
    group of a miniSEED trace is its channel with station and network, or the code that
    `group` names. The group of a SEG-Y trace is its field record, or another field of
    the trace headers; coordinates of sources and receivers become metadata.

    `load` reads no other file, whatever links an HDF5 file contains, and refuses an
    array that needs more than half of the available memory before it reads it.

    A text file of one spectrum has a header whose names give the columns: an axis such
    as "wavelength (nm)", values such as "flux", and possibly "uncertainty", which
    becomes the inverse variance, "variance", "ivar" or "weights". Without a header its
    columns are axis, value and, if there is a third, inverse variance. A spectrum may
    also be a 1-D `.npy` array or FITS image.

    Integers are converted to float32 without scaling, except for images of bytes, which
    are scaled to [0, 1]. That, missing pixels, and what is not used of a file are
    reported as warnings of the logger `"symae_keras"`.

    Args:
        path: The file or folder.
        group: The key or column that holds the group ids, "group" by default. For a
            folder of spectra, a regular expression with one capture group that finds
            the group in a file's name without its suffix; by default all before the
            last "_" or "-".

    Returns:
        `GroupedData`, or `Shards` for a folder of these. Values are as they are in the
        file; `check` looks at them.

    Raises:
        InputError: The file cannot be used; the sentence names it and says why.
        UnevenGroups: Padding would take much more memory than the data; the error has
            the groups without padding as its attribute `groups`.

    Example:
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "my.csv"
    >>> text = "group,500,501,502\nsun,1,2,3\nmoon,4,5,6\nsun,7,8,9\n"
    >>> _ = path.write_text(text)
    >>> groups = load(path)
    >>> groups.ids, groups.x.shape, groups.axis
    (array(['moon', 'sun'], dtype='<U4'), (2, 2, 3), array([500., 501., 502.]))
    """
    path = Path(path)
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist, or is in a folder closed to you.")
    try:
        read = _folder_reader(path) if path.is_dir() else _file_reader(path)
        return read(path, group)
    except UnevenGroups as error:
        raise UnevenGroups(f"{path}: {error}", error.groups) from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError as error:
        raise InputError(f"{path}: {too_large(error)}") from None
    # Damaged files raise whatever the parser trips over: at least a dozen classes.
    except Exception as error:
        raise unreadable(path, error) from error


def _file_reader(path: Path) -> Reader:
    for suffix, read in _READERS.items():
        if path.name.lower().endswith(suffix):
            return read
    raise InputError(
        f"the suffix {path.suffix or '(none)'} is not known; supported are "
        f"{', '.join(_READERS)}, and folders of spectra, images or idx files."
    )


def _folder_reader(path: Path) -> Reader:
    """The reader for what is in a folder."""
    inside = sorted(f for f in path.iterdir() if not f.name.startswith("."))
    folders = [f.name for f in inside if f.is_dir()]
    files = [f.name for f in inside if not f.is_dir()]
    if MANIFEST in files:
        return lambda path, group: Shards(path)
    if any(path.glob("*-images*idx3-ubyte*")):
        return read_idx
    if folders and files:
        raise InputError(
            f"it is a folder of files, such as {files[0]}, and folders, such as "
            f"{folders[0]}; expected spectra alone, or one folder of images a group."
        )
    if folders:
        return read_images
    if files:
        return read_spectra
    raise InputError(
        "it is a folder with nothing in it; expected spectra, folders of images, "
        "or idx files."
    )
