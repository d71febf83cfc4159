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
    r"""Read groups from a file or folder; its suffix or content determines the format.

    | file or folder | content |
    | --- | --- |
    | `.npz`, `.h5`, `.hdf5`, `.hdf` | arrays under the keys below |
    | `.npy` | only `x`, already grouped; stays on disk until it is used |
    | `.csv`, `.tsv`, `.txt`, wide | a row per instance: `group`, a column per pixel |
    | the same, long | a row per pixel: `group`, `instance`, `axis`, `value` |
    | `.fits`, `.fit`, `.fits.gz`, `.fz` | a table of spectra, or an image of them |
    | `.mseed`, `.miniseed`, `.segy`, `.sgy` | seismic traces, one per instance |
    | folder of spectra | `.csv`, `.txt`, `.dat`, `.tsv`, `.npy` or FITS, one per file |
    | folder of folders | `.png`, `.jpg`, `.bmp` or `.tif` images, a folder per group |
    | folder of idx files | the training images of MNIST, in bags of 20 of one label |
    | folder of shards | the output of `symae data convert`; stays on disk |

    Arrays are either grouped or flat rows. Grouped arrays are
    `x (groups, instances, *instance_shape)`, `ids`, the names of the groups, and, if
    instances are missing, `mask (groups, instances)`, True = present. Flat rows are
    `x (rows, *instance_shape)` and `group (rows,)`, the id of each row. Both may have
    `axis (pixels,)`, the physical value of each pixel; `axis_label`, its name and unit;
    and `pixel_mask`, True = good, and `weights`, whose shapes are that of `x` or
    broadcast to it. Other arrays with one entry per group, instance or row become
    metadata.

    In a wide table, the headers of pixel columns are the axis values. A column
    `instance` names the instances. All other columns are metadata: of groups, if all
    rows of each group have the same value in the column, otherwise of instances. `load`
    refuses a header that is nearly a number, such as "500 nm", and a numeric column
    between pixels whose header is not a number. All numbers in a text file have either
    a decimal point or a decimal comma; "1_5", "inf" and thousands separators are
    refused.

    In all formats, an empty, null or NaN value is a missing pixel: False in
    `pixel_mask`, 0 in `x` and `weights`. Only an `.npy` file keeps its NaN in masked
    pixels, because it stays on disk. A pixel is also masked if its mask or weight is
    null or NaN. A null group or axis value is an error. Null metadata become NaN or an
    empty text.

    A FITS table has one spectrum per row in a column `flux`, `x`, `spectrum` or
    `value`, and a column `group` or `object`; it may have `wavelength`, `lambda`,
    `axis` or `loglam`, equal in all rows, `ivar` or `weights`, and `pixel_mask`. An
    image has the axes (groups, instances, pixels), or (rows, pixels) and a table with a
    column `group`; it may be accompanied by the images `PIXEL_MASK` and `IVAR` or
    `WEIGHTS`. The axis of an image comes from its world coordinates, in the unit of the
    header. A wrong `CHECKSUM` or `DATASUM` is an error. FITS needs `astropy`.

    Seismic traces need `obspy`, from the extra `signals`. All traces must have the same
    length and sampling rate. The group of a miniSEED trace is its channel with station
    and network, or the code that `group` names. The group of a SEG-Y trace is its field
    record, or the field of the trace headers that `group` names; coordinates of sources
    and receivers become metadata.

    `load` never follows links from an HDF5 file to other files. It refuses arrays that
    need more than half of the available memory before it reads them.

    The header of a text file with one spectrum names the columns: an axis such as
    "wavelength (nm)", values such as "flux", and optionally "uncertainty", "variance",
    "ivar" or "weights". Uncertainties and variances are converted to inverse variances.
    Without a header, the columns are axis, value and optionally inverse variance. A
    spectrum may also be a 1-D `.npy` array or FITS image.

    Integers are converted to float32 without scaling, except for 8-bit images, which
    are scaled to [0, 1]. The logger `"symae_keras"` reports this conversion, missing
    pixels, and unused parts of a file as warnings.

    Args:
        path: The file or folder.
        group: The key or column with the group ids, "group" by default. For a folder of
            spectra, a regular expression with one capture group that matches the group
            in a file name without its suffix; by default, the group is everything
            before the last "_" or "-".

    Returns:
        `GroupedData`, or `Shards` for a folder of shards. Values are as stored in the
        file; use `check` to validate them.

    Raises:
        InputError: The file cannot be used; the message names the file and the reason.
        UnevenGroups: Padding would take much more memory than the data. The attribute
            `groups` of the error holds the groups without padding.

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
        raise InputError(
            f"{path} does not exist, or you have no permission to access it."
        )
    try:
        read = _folder_reader(path) if path.is_dir() else _file_reader(path)
        return read(path, group)
    except UnevenGroups as error:
        raise UnevenGroups(f"{path}: {error}", error.groups) from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError as error:
        raise InputError(f"{path}: {too_large(error)}") from None
    # For damaged files, parsers raise errors of at least a dozen classes.
    except Exception as error:
        raise unreadable(path, error) from error


def _file_reader(path: Path) -> Reader:
    for suffix, read in _READERS.items():
        if path.name.lower().endswith(suffix):
            return read
    raise InputError(
        f"the suffix {path.suffix or '(none)'} is not supported; supported are "
        f"{', '.join(_READERS)}, and folders of spectra, images or idx files."
    )


def _folder_reader(path: Path) -> Reader:
    """Return the reader for the content of a folder."""
    inside = sorted(f for f in path.iterdir() if not f.name.startswith("."))
    folders = [f.name for f in inside if f.is_dir()]
    files = [f.name for f in inside if not f.is_dir()]
    if MANIFEST in files:
        return lambda path, group: Shards(path)
    if any(path.glob("*-images*idx3-ubyte*")):
        return read_idx
    if folders and files:
        raise InputError(
            f"the folder contains files, such as {files[0]}, and folders, such as "
            f"{folders[0]}; expected only spectra, or one folder of images per group."
        )
    if folders:
        return read_images
    if files:
        return read_spectra
    raise InputError(
        "the folder is empty; expected spectra, folders of images, or idx files."
    )
