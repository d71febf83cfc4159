"""Checksums of the files of a preset, in the format of the program sha256sum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: The file in a preset that holds them.
CHECKSUMS: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"([0-9a-f]{64})[ ][ *](.+)")


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the SHA-256 of files of a folder into its file SHA256SUMS.

    Args:
        folder: The folder.
        names: Names of files in it; those that are missing are left out.
    """
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(names)
        if (folder / name).is_file()
    ]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def parse_checksums(text: str) -> dict[str, str]:
    """Return the SHA-256 of each file by its name.

    Args:
        text: Content of a file SHA256SUMS.

    Raises:
        ValueError: A line cannot be read.

    Example:
    >>> parse_checksums(64 * "0" + "  config.json")["config.json"][:4]
    '0000'
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not a checksum and a name")
        found[match[2]] = match[1]
    return found
