"""Reader of FITS files: tables of spectra, and images whose rows are spectra."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import native
from symae_keras.data.readers.fits_image import first_image, image_axis, read_image
from symae_keras.data.readers.fits_table import read_rows
from symae_keras.data.readers.sentences import find_name, listed
from symae_keras.errors import InputError

_SPECTRUM: Final = ("flux", "x", "spectrum", "value")


def read_fits(path: Path, group: str | None) -> GroupedData:
    """Groups from the first table with a column of spectra, else from the first image.

    Raises:
        InputError: There is neither, or it cannot be used.
    """
    with _opened(path) as (tables, images):
        for table in tables:
            spectrum = find_name(table.columns.names, *_SPECTRUM)
            if spectrum is not None:
                return read_rows(path, table, spectrum, group)
        spectra = first_image(images)
        if spectra is not None:
            return read_image(path, spectra, images, tables, group)
        found = [name for table in tables for name in table.columns.names]
    raise InputError(
        f"no table with a column {', '.join(_SPECTRUM[:-1])} or {_SPECTRUM[-1]}, and "
        f"no image; found {'the columns ' + listed(found) if found else 'neither'}."
    )


def read_spectrum(path: Path) -> tuple[Array, Array | None, str]:
    """One spectrum from the first image of a file, its axis, and the axis's label.

    Raises:
        InputError: There is no image of one axis.
    """
    with _opened(path) as (_, images):
        image = first_image(images)
        if image is None:
            raise InputError("it holds no image; expected a 1-D one, the spectrum.")
        return native(image.data), *image_axis(image.header)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[list[Any], list[Any]]]:
    """The tables and the images of a file."""
    try:
        from astropy.io import fits
    except ImportError:
        raise InputError(
            "reading FITS files needs astropy; install it with: pip install "
            '"symae_keras[data]".'
        ) from None
    # Files bend the standard in many harmless ways; only damage is not.
    with path.open("rb") as file, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        source: Any = file
        if path.suffix.lower() == ".gz":
            # A short compressed file would look like one that ends there.
            source = io.BytesIO(gzip.decompress(file.read()))
        with fits.open(source, memmap=False, lazy_load_hdus=False) as units:
            for warning in told:
                if re.search("have been truncated|corrupted", str(warning.message)):
                    raise OSError(str(warning.message))
            images = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
            yield (
                [u for u in units if isinstance(u, (fits.BinTableHDU, fits.TableHDU))],
                [u for u in units if isinstance(u, images) and u.data is not None],
            )
