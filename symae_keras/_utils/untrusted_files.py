"""Safe reading of untrusted files, with limits for memory."""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import json
import os
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from symae_keras.errors import InputError

#: Maximum nesting of lists and objects in JSON, which Keras processes recursively.
MAX_DEPTH: Final = 200
# Possessive quantifiers, so that time and memory grow linearly with the text.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting for a pipe or following a link.

    Only its parent folders may be links. Pipes, devices and folders raise `InputError`.
    """
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"):  # not on every system
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(
                f"{path} is a link, and links are not followed; copy the file there."
            ) from None
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a regular file, so it is not read.")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a regular file, see `open_regular`, of at most `max_bytes`."""
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise InputError(f"{path} is larger than {max_bytes:,} bytes.")
    return content


def write_stream(source: IO[bytes], target: Path) -> None:
    """Copy the rest of an open file to a new file."""
    with target.open("wb") as file:
        shutil.copyfileobj(source, file)


def parse_json(text: bytes) -> Any:
    """Parse UTF-8 JSON with limited depth and without duplicate keys.

    Example:
    >>> parse_json(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    brackets = _STRING.sub(b"", text).translate(None, _NO_BRACKETS)
    steps = (1 if each in b"[{" else -1 for each in brackets)
    if max(itertools.accumulate(steps), default=0) > MAX_DEPTH:
        raise InputError(f"it is nested more than {MAX_DEPTH} levels deep")
    return json.loads(text.decode("utf-8"), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise InputError("it contains a key twice in one object")
    return content


#: Groups are made from the content of a file, and a model needs memory, too.
_SHARE: Final = 0.5
#: Always allowed, even if the limits of a process appear to be exhausted.
_ALWAYS: Final = 64 << 20
_PIECE: Final = 16 << 20
_REMEDY: Final = (
    "keep fewer pixels or groups in a file, or save x as an .npy file, which stays on "
    "disk, and convert it with symae data convert"
)


def require(n_bytes: int, what: str) -> None:
    """Raise if an operation needs more than half of the memory, before it starts."""
    limit = _limit()
    if n_bytes > limit:
        raise _too_much(f"{what} needs {size(n_bytes)} of memory", limit)


def too_large(error: MemoryError) -> InputError:
    """Return the error for a file that did not fit into memory."""
    reason = " ".join(str(error).split()).rstrip(".")
    more = f" ({reason})" if reason else ""
    return InputError(f"it does not fit into memory{more}; {_REMEDY}.")


def unzipped(path: Path) -> io.BytesIO:
    """Unpack a gzip file piece by piece, or raise if it does not fit."""
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
    """Return a number of bytes in a readable unit.

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
    """Return the available physical memory, or the whole memory if that is unknown."""
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
    """Return the memory that `ulimit -v` leaves to this process."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return sys.maxsize
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        return max(0, limit - pages * resource.getpagesize())
    except (ImportError, OSError):
        return sys.maxsize
