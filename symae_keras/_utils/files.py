"""Files that are written completely or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from symae_keras.errors import InputError

#: Names of unfinished files and folders; the digits are random.
_TEMPORARY: Final = re.compile(r"\.symae-[0-9a-f]{16}")
#: Error numbers that mean a full disk.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def temporary(folder: Path) -> Path:
    """Return an unused and unpredictable name in a folder."""
    return folder / f".symae-{secrets.token_hex(8)}"


def is_temporary(name: str) -> bool:
    """Return whether a name is one that `temporary` returns.

    Example:
    >>> is_temporary(temporary(Path("run")).name), is_temporary("notes.txt")
    (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and rename it to `path` if no error occurs.

    The temporary file is in a new private folder in the same directory as `path`. No
    existing name is used, and no link is followed. The file is flushed to disk before
    it is renamed. Missing parents of `path` are made.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with written_atomically(path) as partial:
    ...     _ = partial.write_text("1 2 3")
    >>> path.read_text()
    '1 2 3'
    """
    private = temporary(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        private.mkdir(mode=0o700)
        yield private / path.name
        sync(private / path.name)
        os.replace(private / path.name, path)
        sync(path.parent)
    except InputError:
        raise
    # Libraries report a full disk with exceptions of many classes.
    except Exception as error:
        reason = disk_error(error)
        if reason is None and not isinstance(error, OSError):
            raise
        if reason is None:
            reason = str(getattr(error, "strerror", None) or error)
        raise InputError(f"{path} cannot be written: {reason}.") from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk.

    File systems that do not support this are ignored; a full disk raises `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (*_FULL, errno.EIO) and not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def disk_error(error: BaseException | None) -> str | None:
    """Return the system's message for a full disk, or `None` for any other error.

    The error is an exception of any library; its causes are checked, too.

    Example:
    >>> disk_error(OSError(errno.ENOSPC, "No space left on device"))
    'No space left on device'
    >>> disk_error(RuntimeError("write failed: No space left on device, 28"))
    'No space left on device'
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for number in _FULL:
            reason = os.strerror(number)
            if getattr(error, "errno", None) == number or reason in str(error):
                return reason
        error = error.__cause__ or error.__context__
    return None


def write_arrays(file: BinaryIO, arrays: Mapping[str, Any]) -> None:
    """Write arrays into a file in the format of `numpy.savez`.

    `numpy.savez` takes names as keyword arguments, so it cannot write an array called
    `file`.
    """
    import zipfile

    import numpy as np

    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, np.asanyarray(array))


def write_json(path: Path, content: Any) -> None:
    """Write JSON with indentation, in one step."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text in one step."""
    with written_atomically(path) as partial:
        partial.write_text(content, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, or `None` if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def check_writable(path: Path) -> None:
    """Reject a path that cannot be made, without making anything."""
    parent = Path(os.path.realpath(path)).parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{path} cannot be made, because {parent} is not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be made, because {parent} is not writable.")


def check_output(out: Path, force: bool, inputs: Iterable[Path]) -> None:
    """Reject an output file that already exists, cannot be made, or is an input."""
    refuse_inputs(out, inputs)
    if os.path.lexists(out) and (out.is_dir() or not force):
        hint = "it is a folder" if out.is_dir() else "give --force to replace it"
        raise InputError(f"{out} exists; choose another --out, or {hint}.")
    check_writable(out)


def refuse_inputs(out: Path, inputs: Iterable[Path], place: Path | None = None) -> None:
    """Reject an output that is an input, contains one, or lies in one.

    Paths are compared after links are resolved. The output is written at `place` if
    that is given, otherwise at `out`.
    """
    place = place or out
    for each in inputs:
        if _within(each, place):
            how = "is" if _within(place, each) else "holds"
            raise InputError(
                f"--out {out} {how} the input {each}, which is never replaced; choose "
                "another --out."
            )
        if each.is_dir() and _within(place, each):
            raise InputError(
                f"--out {out} lies in the input {each}, whose content it would change; "
                "choose another --out."
            )


def _within(path: Path, folder: Path) -> bool:
    """Return whether a path leads to a folder or file, or to something in it."""
    try:
        there = os.stat(folder)
    except OSError:
        return False
    real = Path(os.path.realpath(path))
    for each in (path, real, *real.parents):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(each), there):
                return True
    return False


#: The file in a run folder or preset that contains the axis of the training data.
AXIS_FILE: Final = "axis.json"
#: The file in a preset that contains the checksums of the others.
CHECKSUMS: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"([0-9a-f]{64})[ ][ *](.+)")


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the SHA-256 of those named files that exist in a folder to SHA256SUMS."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(names)
        if (folder / name).is_file()
    ]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def parse_checksums(text: str) -> dict[str, str]:
    """Return the SHA-256 of each file in SHA256SUMS by name, or raise ValueError.

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
