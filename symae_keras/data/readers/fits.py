"""Reader of FITS files: tables of spectra, and images whose rows are spectra."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.readers.assemble import note_unused
from symae_keras.data.readers.fits_axis import image_axis
from symae_keras.data.readers.fits_file import opened
from symae_keras.data.readers.fits_image import first_image, read_image
from symae_keras.data.readers.fits_table import read_rows
from symae_keras.data.readers.fits_values import image as pixels
from symae_keras.data.readers.sentences import find_name, listed
from symae_keras.errors import InputError

_SPECTRUM: Final = ("flux", "x", "spectrum", "value")


def read_fits(path: Path, group: str | None) -> GroupedData:
    """Groups from the first table with a column of spectra, else from the first image.

    Raises:
        InputError: There is neither, or it cannot be used.
    """
    with opened(path) as (tables, images):
        for table in tables:
            spectrum = find_name(table.hdu.columns.names, *_SPECTRUM)
            if spectrum is not None:
                others = [u.label for u in (*tables, *images) if u is not table]
                note_unused(path, "tables and images", others)
                return read_rows(path, table, spectrum, group)
        spectra = first_image(images)
        if spectra is not None:
            return read_image(path, spectra, images, tables, group)
        found = [name for table in tables for name in table.hdu.columns.names]
    raise InputError(
        f"no table with a column {', '.join(_SPECTRUM[:-1])} or {_SPECTRUM[-1]}, and "
        f"no image; found {'the columns ' + listed(found) if found else 'neither'}."
    )


def read_spectrum(path: Path) -> tuple[Array, Array | None, str]:
    """One spectrum from the first image of a file, its axis, and the axis's label.

    Raises:
        InputError: There is no image of one axis.
    """
    with opened(path) as (tables, images):
        image = first_image(images)
        if image is None:
            raise InputError("it holds no image; expected a 1-D one, the spectrum.")
        others = [u.label for u in (*tables, *images) if u is not image]
        note_unused(path, "tables and images", others)
        return pixels(image), *image_axis(image.header)
