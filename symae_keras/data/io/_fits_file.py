"""FITS files as units that are checked for damage and read when needed."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from symae_keras._utils.optional import import_optional
from symae_keras._utils.untrusted_files import require, unzipped
from symae_keras.data.groups import Array
from symae_keras.errors import InputError

_log = logging.getLogger("symae_keras")

#: Bytes that are read at once, a multiple of the block size.
_PIECE: Final = 2880 << 12
_ALL_ONES: Final = 0xFFFFFFFF
#: Types of extensions that are read.
_EXTENSIONS: Final = ("IMAGE", "IUEIMAGE", "TABLE", "BINTABLE", "A3DTABLE")
_BITS: Final = (8, 16, 32, 64, -32, -64)
#: Maximum number of axes in the standard. More axes would keep astropy busy for hours.
_MAX_AXES: Final = 999
_AXES: Final = re.compile(rb"NAXIS   = *(\d{4,})")
#: Warnings of astropy for files that cannot be used, and for files that may be damaged.
_UNUSABLE: Final = re.compile("have been truncated|corrupted")
_DOUBTFUL: Final = re.compile(
    "non-ASCII|null bytes|unrecognized non-standard convention|not FITS-compliant"
)


class Unit:
    """Header and data of a FITS unit; the primary unit has the number 0."""

    def __init__(self, number: int, hdu: Any, stream: IO[bytes]) -> None:
        self.hdu = hdu
        self.header = hdu.header
        self.name = str(hdu.name)
        self.label = self.name or f"number {number}"
        self.is_ascii = self.header.get("XTENSION") == "TABLE"
        place = hdu.fileinfo()
        self._starts = int(place["hdrLoc"]), int(place["datLoc"])
        #: End of the unit in the file, in bytes.
        self.end = self._starts[1] + int(place["datSpan"])
        # astropy returns None for a blank kind.
        kind = str(self.header.get("XTENSION", "IMAGE")).strip()
        #: Whether it is the primary unit or a standard extension.
        self.is_known = kind in _EXTENSIONS
        self._stream = stream

    @functools.cached_property
    def rows(self) -> Array:
        """Return the rows of a table, as they are stored."""
        dtype = self.hdu.columns.dtype.newbyteorder(">")
        width, count = int(self.header["NAXIS1"]), int(self.header["NAXIS2"])
        if self.header.get("ZTABLE", False):
            raise InputError(
                f"the table {self.label} is compressed; unpack it with funpack."
            )
        if self.is_ascii:  # there may be gaps between columns
            fields = [dtype.fields[name] for name in dtype.names]
            formats, offsets = [f[0] for f in fields], [f[1] for f in fields]
            dtype = np.dtype(
                {
                    "names": dtype.names,
                    "formats": formats,
                    "offsets": offsets,
                    "itemsize": width,
                }
            )
        if dtype.itemsize != width:
            raise InputError(
                f"the columns of the table {self.label} take {dtype.itemsize} bytes "
                f"per row, but NAXIS1 is {width}; the file is damaged."
            )
        return np.frombuffer(self.bytes(0, width * count), dtype, count)

    @functools.cached_property
    def heap(self) -> bytes:
        """Return the data after the rows of a table: columns of variable length."""
        rows = self.header["NAXIS1"] * self.header["NAXIS2"]
        start = self.header.get("THEAP", rows)
        return self.bytes(start, rows + self.header["PCOUNT"] - start)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image, in NumPy order."""
        return tuple(int(n) for n in self.hdu.shape)

    def pixels(self) -> Array:
        """Read the pixels of an image, as they are stored."""
        bits = int(self.header["BITPIX"])
        n_bytes = math.prod(self.shape) * abs(bits) // 8
        if hasattr(self.hdu, "compression_type"):
            tile = math.prod(self.hdu.tile_shape)
            require(2 * n_bytes + 8 * tile, f"the image of shape {self.shape}")
            return np.asarray(self.hdu.data)
        kind = "f" if bits < 0 else "u" if bits == 8 else "i"
        stored = np.dtype(f">{kind}{abs(bits) // 8}")
        return np.frombuffer(self.bytes(0, n_bytes), stored).reshape(self.shape)

    def bytes(self, start: int, count: int) -> bytes:
        """Read some bytes of the data."""
        require(3 * count, f"the data of the unit {self.label}")
        start += self._starts[1]
        if count < 0 or not self._starts[1] <= start <= self.end - count:
            raise InputError(
                f"the data of the unit {self.label} are shorter than its header says; "
                "the file is damaged."
            )
        self._stream.seek(start)
        return self._stream.read(count)

    def verify(self, length: int) -> None:
        """Check the length of the file and the checksums."""
        from astropy.io import fits

        bits = self.header.get("BITPIX")
        if bits not in _BITS:
            raise InputError(
                f"BITPIX of the unit {self.label} is {bits}; expected one of "
                f"{', '.join(map(str, _BITS))}; the header is damaged."
            )
        if self.end > length:
            raise OSError(
                f"the unit {self.label} ends at byte {self.end}, but the file has "
                f"{length} bytes; it has been truncated"
            )
        start, data = self._starts
        self._stream.seek(start)
        # astropy shows the header of the compressed content, not of its container.
        header = fits.Header.fromstring(self._stream.read(data - start))
        keys = ("DATASUM", "CHECKSUM")
        given = {key: str(header.get(key, "")).strip() for key in keys}
        if not any(given.values()):
            return
        of_data = self._sum(data, self.end)
        of_all = _folded(self._sum(start, data) + of_data)
        for key, right in (
            ("DATASUM", given["DATASUM"] == str(of_data)),
            ("CHECKSUM", of_all == _ALL_ONES),
        ):
            if given[key] and not right:
                what = "its data" if key == "DATASUM" else "its header or data"
                raise InputError(
                    f"the {key} of the unit {self.label} is wrong, so {what} have "
                    "changed since it was written; get a new copy of the file, or, if "
                    "you changed it on purpose, write new checksums with: fitscheck "
                    "--write --force FILE."
                )

    def has_fill(self) -> bool:
        """Return whether the rest of the last data block is empty.

        If it is not empty, the file has more data than the header describes.
        """
        if hasattr(self.hdu, "compression_type"):
            return True  # astropy returns the uncompressed size
        size = self._starts[1] + int(self.hdu.size)
        self._stream.seek(size)
        fill = self._stream.read(max(self.end - size, 0))
        return not fill.strip(b" " if self.is_ascii else b"\0")

    def _sum(self, start: int, end: int) -> int:
        """Compute the FITS checksum, a sum of words in ones' complement."""
        self._stream.seek(start)
        total = 0
        while start < end:
            piece = self._stream.read(min(_PIECE, end - start))
            total += int(np.frombuffer(piece, ">u4").sum(dtype="u8"))
            start += len(piece)
        return _folded(total)


def _folded(total: int) -> int:
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[list[Unit], list[Unit]]]:
    """Open a file, plain or compressed with gzip, and yield its tables and images."""
    fits = import_optional("astropy.io.fits", "data", "reading FITS files")
    # Many files violate the standard in harmless ways; only damage is an error.
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        stream: IO[bytes] = stack.enter_context(path.open("rb"))
        if stream.read(2) == b"\x1f\x8b":
            stream = unzipped(path)
        stream.seek(0)
        if stream.read(6) != b"SIMPLE":
            # astropy would unpack other archives without a size limit.
            raise OSError("it does not start like a FITS file, with the keyword SIMPLE")
        length = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        _refuse_many_axes(stream)
        how = {
            "memmap": False,
            "lazy_load_hdus": False,
            "do_not_scale_image_data": True,
        }
        hdus = stack.enter_context(fits.open(stream, **how))
        doubts = []
        for text in (str(warning.message) for warning in told):
            if _UNUSABLE.search(text):
                raise OSError(text)
            if _DOUBTFUL.search(text):
                doubts.append("a header has characters that FITS does not allow")
        units = [Unit(number, hdu, stream) for number, hdu in enumerate(hdus)]
        for unit in units:
            unit.verify(length)
            if not unit.has_fill():
                doubts.append(
                    f"the unit {unit.label} has more data than its header describes"
                )
            if not unit.is_known:
                doubts.append(
                    f"the unit {unit.label} has the unknown type "
                    f"{unit.header['XTENSION']!r} and is not used"
                )
        units = [unit for unit in units if unit.is_known]
        if length % 2880 or (units and units[-1].end < length):
            doubts.append(
                "its length differs from the length that its headers describe"
            )
        if doubts:
            found = "; ".join(dict.fromkeys(doubts))
            _log.warning("%s: the file may be damaged: %s.", path, found)
        tables = (fits.BinTableHDU, fits.TableHDU)
        images = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
        with_pixels = [
            unit
            for unit in units
            if isinstance(unit.hdu, images)
            and not isinstance(unit.hdu, fits.GroupsHDU)
            and unit.shape
            and 0 not in unit.shape
        ]
        yield [unit for unit in units if isinstance(unit.hdu, tables)], with_pixels


def _refuse_many_axes(stream: IO[bytes]) -> None:
    """Refuse a header that claims more axes than FITS allows."""
    while piece := stream.read(_PIECE):
        for found in _AXES.finditer(piece):
            if found.start() % 80 == 0 and int(found[1]) > _MAX_AXES:
                raise OSError(
                    f"NAXIS is {int(found[1])}, more than the {_MAX_AXES} axes that "
                    "FITS allows; it is damaged"
                )
    stream.seek(0)
