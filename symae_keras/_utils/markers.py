"""Marker of a folder, which lists the files that symae wrote.

`.symae.json` lists the files of a complete folder by their relative paths, each with
its size and the SHA-256 of its first 64 KiB, and the inputs of the folder. `--force`
replaces only files that are listed and have not changed since.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from symae_keras._utils.files import is_temporary, read_json, write_json, write_text
from symae_keras._utils.lock import LOCK
from symae_keras.errors import InputError

MARKER: Final = ".symae.json"
_FORMAT: Final = "symae-folder"
_VERSION: Final = 1
_HEAD: Final = 64 << 10


def read_marker(folder: Path) -> dict[str, Any] | None:
    """Return the marker of a folder, or `None` if it has no usable marker."""
    marker = read_json(folder / MARKER)
    if not isinstance(marker, dict) or marker.get("format") != _FORMAT:
        return None
    return marker if isinstance(marker.get("files"), dict) else None


def _listed_files(folder: Path) -> dict[str, Any]:
    return dict((read_marker(folder) or {}).get("files", {}))


def write_marker(
    folder: Path,
    made_from: Any,
    contents: tuple[str, ...] = (),
    replaces: str | None = None,
) -> None:
    """Mark a folder as written by symae, with the files that match `contents`.

    `made_from` is `None` if it is not recorded. `replaces` is the name of the folder in
    the same directory that this folder will replace.
    """
    files = {
        name: _fingerprint(folder / name)
        for name in files_in(folder)
        if not is_own(name) and matches(name, contents)
    }
    marker = {"format": _FORMAT, "version": _VERSION, "made_from": made_from}
    write_json(folder / MARKER, marker | {"replaces": replaces, "files": files})


def files_in(folder: Path) -> Iterator[str]:
    """Yield the paths of all files in a folder, at any depth, including links."""
    for here, folders, files in os.walk(folder):
        links = [each for each in folders if os.path.islink(os.path.join(here, each))]
        for name in sorted(files + links):
            yield Path(here, name).relative_to(folder).as_posix()


def matches(name: str, contents: tuple[str, ...]) -> bool:
    """Return whether a relative path matches patterns of files or of folders.

    Example:
    >>> matches("variables/index", ("saved_model.pb", "variables"))
    True
    """
    path = Path(name)
    return any(
        fnmatch.fnmatchcase(each.as_posix(), pattern)
        for each in (path, *path.parents[:-1])
        for pattern in contents
    )


def is_own(name: str) -> bool:
    """Return whether a path is a marker, a lock, or an unfinished file of symae."""
    parts = Path(name).parts
    return name in (MARKER, LOCK) or any(is_temporary(each) for each in parts)


def foreign_file(
    folder: Path, contents: tuple[str, ...], complete: bool = True
) -> str | None:
    """Return a clause about the first file that symae did not write, if there is one.

    Such a file matches no pattern of the files that a command writes. In a complete
    folder, it may also be missing from the marker or have changed since it was listed.
    """
    listed = _listed_files(folder)
    for name in files_in(folder):
        if is_own(name):
            continue
        if not matches(name, contents):
            return f"{name}, which this command never writes"
        if complete and name not in listed:
            return f"{name}, which symae did not write"
        if complete and not _unchanged(folder / name, listed[name]):
            return f"{name}, which has changed since symae wrote it"
    return None


def remove_own(folder: Path, contents: tuple[str, ...] | None = None) -> None:
    """Remove the files that symae wrote from a folder, except its marker and lock.

    These are the files that match the patterns, or, without patterns, the files that
    the marker lists.
    """
    listed = _listed_files(folder)
    for name in list(files_in(folder)):
        if name in (MARKER, LOCK):
            continue
        if is_own(name) or (
            name in listed if contents is None else matches(name, contents)
        ):
            (folder / name).unlink(missing_ok=True)
    for here, folders, _ in os.walk(folder, topdown=False):
        for name in folders:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(here, name))


def remove_folder(folder: Path) -> bool:
    """Remove the marker, the lock and the folder, if it contains nothing else."""
    if any(name not in (MARKER, LOCK) for name in os.listdir(folder)):
        return False
    for name in (LOCK, MARKER):
        (folder / name).unlink(missing_ok=True)
    os.rmdir(folder)
    return True


# === Files added to a complete folder ===


def check_replaceable(path: Path) -> None:
    """Refuse to replace a file in a marked folder that symae did not write."""
    path = path.absolute()
    home = _home(path)
    if home is None or not os.path.lexists(path):
        return
    files = _listed_files(home)
    name = path.relative_to(home).as_posix()
    if name not in files or not _unchanged(path, files[name]):
        raise InputError(
            f"{path} is not as symae wrote it, so it is not replaced; move it away."
        )


def write_listed(path: Path, content: Any) -> None:
    """Write a file into a folder and list it in the marker, if there is one.

    Text is written unchanged, other content as JSON.
    """
    check_replaceable(path)
    path = path.absolute()
    write = write_text if isinstance(content, str) else write_json
    home = _home(path)
    if home is None:
        write(path, content)
        return
    # Listed by name first, so that the file is listed even after a kill in between.
    _list(home, path, None)
    write(path, content)
    _list(home, path, _fingerprint(path))


def _list(home: Path, path: Path, fingerprint: list[Any] | None) -> None:
    descriptor = os.open(home, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # file systems without flock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        marker = read_marker(home)
        if marker is not None:
            marker["files"][path.relative_to(home).as_posix()] = fingerprint
            write_json(home / MARKER, marker)
    finally:
        os.close(descriptor)


def _home(path: Path) -> Path | None:
    """Return the nearest marked folder that lists files in the directory of a path."""
    for folder in path.parents:
        marker = read_marker(folder)
        if marker is not None:
            here = path.parent.relative_to(folder)
            beside = any(Path(each).parent == here for each in marker["files"])
            return folder if beside else None
    return None


def _fingerprint(path: Path) -> list[Any] | None:
    """Return the size and the checksum of a file's beginning, or `None` for a link."""
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        return None
    with open(path, "rb") as file:
        return [found.st_size, hashlib.sha256(file.read(_HEAD)).hexdigest()]


def _unchanged(path: Path, listed: Any) -> bool:
    """Return whether a file is as listed; compare only the name if nothing else is."""
    if listed is None:
        return stat.S_ISREG(os.lstat(path).st_mode)
    return bool(_fingerprint(path) == listed)
