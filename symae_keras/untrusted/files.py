"""Reading of files that strangers may have made, with bounds on size and depth."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from symae_keras.errors import InputError

#: Nested lists and objects in JSON; Keras walks through them recursively.
MAX_DEPTH: Final = 200
# Possessive, so that neither time nor memory grows faster than the text.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; never wait for a pipe or follow a link.

    Args:
        path: The file. Its folders may be links.

    Raises:
        InputError: It is missing, closed to us, a link, a pipe, a device or a folder.
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
    """Read a regular file.

    Args:
        path: See `open_regular`.
        max_bytes: The largest size to accept.

    Raises:
        InputError: It cannot be read, or is larger.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise InputError(f"{path} is larger than {max_bytes:,} bytes.")
    return content


def write_stream(source: IO[bytes], target: Path) -> None:
    """Copy what is left of an open file into a new one."""
    with target.open("wb") as file:
        shutil.copyfileobj(source, file)


def parse_json(text: bytes) -> Any:
    """Parse JSON in UTF-8 of bounded depth, in which no key appears twice.

    Args:
        text: Content of a file.

    Raises:
        ValueError: It is not such JSON.

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
