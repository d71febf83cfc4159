"""Files that are written as a whole or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from symae_keras.errors import InputError

#: Names of unfinished files and folders; the digits are drawn at random.
_TEMPORARY: Final = re.compile(r"\.symae-[0-9a-f]{16}")
#: Errors of a disk without space, by their numbers.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def temporary(folder: Path) -> Path:
    """Return an unused name in a folder, which nobody can predict."""
    return folder / f".symae-{secrets.token_hex(8)}"


def is_temporary(name: str) -> bool:
    """Return whether a name is one that `temporary` returns.

    Example:
    >>> is_temporary(temporary(Path("run")).name), is_temporary("notes.txt")
    (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` if nothing fails.

    The file is written in a new private folder beside `path`, so that no name is used
    that somebody else may have, and no link is followed. It is on disk before it is
    renamed. Missing parents of `path` are made.

    Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with written_aside(path) as aside:
    ...     _ = aside.write_text("1 2 3")
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
    # Libraries report a full disk by exceptions of many classes.
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

    File systems that cannot do this are left alone; a full disk raises `OSError`.
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
    """Return what the system says of a full disk, `None` for any other error.

    The error is an exception of any library, with its causes.

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


def write_json(path: Path, content: Any) -> None:
    """Write JSON with indentation, in one step."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text in one step."""
    with written_aside(path) as aside:
        aside.write_text(content, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, `None` if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def check_writable(path: Path) -> None:
    """Refuse a path that cannot be made, without making anything."""
    parent = Path(os.path.realpath(path)).parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{path} cannot be made, because {parent} is not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be made, because {parent} is not writable.")


def check_output(out: Path, force: bool, inputs: Iterable[Path]) -> None:
    """Refuse a file to write that is there already, cannot be made, or is read."""
    refuse_inputs(out, inputs)
    if os.path.lexists(out) and (out.is_dir() or not force):
        hint = "it is a folder" if out.is_dir() else "give --force to replace it"
        raise InputError(f"{out} exists; choose another --out, or {hint}.")
    check_writable(out)


def refuse_inputs(out: Path, inputs: Iterable[Path], place: Path | None = None) -> None:
    """Refuse an output that is an input, holds one, or lies in one.

    Paths are compared by the files that they lead to, however they are spelt. The
    output is written at `place`, if not at `out`.
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


#: The file in a run folder or preset that holds the axis of the training data.
AXIS_FILE: Final = "axis.json"
#: The file in a preset that holds the checksums of the others.
CHECKSUMS: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"([0-9a-f]{64})[ ][ *](.+)")


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the SHA-256 of those files of a folder that are there into SHA256SUMS."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(names)
        if (folder / name).is_file()
    ]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def parse_checksums(text: str) -> dict[str, str]:
    """Return the SHA-256 of each file in SHA256SUMS by its name, or raise ValueError.

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
