"""The limit on how much memory a file may ask for, the same in all readers."""

from __future__ import annotations

import gzip
import io
import os
import sys
from pathlib import Path
from typing import Final

from symae_keras.errors import InputError

#: Groups are made of what a file holds, and a model has to fit, too.
_SHARE: Final = 0.5
#: What is always tried, even where the limits of a process look exhausted.
_ALWAYS: Final = 64 << 20
_PIECE: Final = 16 << 20
_REMEDY: Final = (
    "keep fewer pixels or groups in a file, or save x as an .npy file, which stays on "
    "disk, and convert it with symae data convert"
)


def require(n_bytes: int, what: str) -> None:
    """Refuse what would fill the memory, before any of it is taken.

    Args:
        n_bytes: How much memory is asked for.
        what: What asks for it.

    Raises:
        InputError: It is more than half of the memory that is available.
    """
    limit = _limit()
    if n_bytes > limit:
        raise _too_much(f"{what} needs {size(n_bytes)} of memory", limit)


def too_large(error: MemoryError) -> InputError:
    """Return the sentence for a file during whose reading the memory ran out."""
    reason = " ".join(str(error).split()).rstrip(".")
    more = f" ({reason})" if reason else ""
    return InputError(f"it does not fit into memory{more}; {_REMEDY}.")


def unzipped(path: Path) -> io.BytesIO:
    """Return what a gzip file unpacks to, read piece by piece.

    Raises:
        InputError: It unpacks to more than may be taken.
    """
    limit = _limit()
    content = io.BytesIO()
    with gzip.open(path) as stream:
        while piece := stream.read(_PIECE):
            content.write(piece)
            if content.tell() > limit:
                raise _too_much(f"it unpacks to more than {size(limit)}", limit)
    content.seek(0)
    return content


def size(n_bytes: int) -> str:
    """Return a number of bytes in the unit that people use.

    Example:
    >>> size(19_200_000_000), size(1400), size(7)
    ('19.2 GB', '1.4 kB', '7 bytes')
    """
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if n_bytes >= 1000**power:
            return f"{n_bytes / 1000**power:.1f} {unit}"
    return f"{n_bytes} bytes"


def _too_much(problem: str, limit: int) -> InputError:
    return InputError(
        f"{problem}, but a file may take at most {size(limit)}, half of the memory "
        f"that is available; {_REMEDY}."
    )


def _limit() -> int:
    return max(_ALWAYS, int(_SHARE * min(_free_memory(), _free_addresses())))


def _free_memory() -> int:
    """Return the available physical memory; the whole memory where it is unknown."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def _free_addresses() -> int:
    """Return how much memory `ulimit -v` leaves to this process."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return sys.maxsize
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        return max(0, limit - pages * resource.getpagesize())
    except (ImportError, OSError):
        return sys.maxsize
