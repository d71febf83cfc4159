"""Lock on a folder, which prevents two processes from writing to it at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Final, NamedTuple, Self

from symae_keras.errors import InputError

#: The file of the lock, in the folder; it is removed when the work is done.
LOCK: Final = ".symae.lock"
#: Error numbers of file systems without flock.
_NO_FLOCK: Final = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class Holder(NamedTuple):
    """The process that holds a lock."""

    pid: int
    host: str
    started: str
    """Start time; another process with the same number has another start time."""

    @classmethod
    def here(cls) -> Self:
        """Return this process."""
        return cls(os.getpid(), socket.gethostname(), _started(os.getpid()))

    def runs(self) -> bool:
        """Return whether this process still runs on this host."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # it runs as another user
        return _started(self.pid) == self.started


class FolderLock:
    """Exclusive use of a folder, as long as this process runs.

    The lock is an `flock` on a file in the folder. The system releases it when the
    process ends for any reason. After a kill, nothing stays locked, and exactly one of
    several waiting processes takes over. The text in the file names the holder:
    process, host and start. It appears in the error message for a second process. It
    also decides if `flock` does not: on file systems without it, and for other hosts,
    because a network file system may keep the locks of each host separate.

    Args:
        folder: The folder, which must exist when the lock is taken.
        name: Name of the folder in an error message.
    """

    def __init__(self, folder: Path, name: Path) -> None:
        self.folder = folder
        self.name = name
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """True if this object holds the lock of the folder that exists now."""
        if self._descriptor is None:
            return False
        return _is_at(self._descriptor, self.folder / LOCK)

    def acquire(self) -> None:
        """Take the lock, or raise `InputError` if another process holds it."""
        path = self.folder / LOCK
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            descriptor = os.open(path, flags, 0o666)
            try:
                _refuse(descriptor, path, self.name, fcntl.LOCK_EX)
                # The previous holder may have removed the file since it was opened.
                if _is_at(descriptor, path):
                    self._descriptor = descriptor
                    self._sign(descriptor)
                    return
            except BaseException:
                if self._descriptor is None:
                    os.close(descriptor)
                self.release()
                raise
            os.close(descriptor)

    def _sign(self, descriptor: int) -> None:
        """Write the holder of the lock into its file."""
        text = json.dumps(Holder.here()._asdict()) + "\n"
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)

    def check_free(self) -> None:
        """Reject a folder in which another process is working."""
        path = self.folder / LOCK
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        try:
            # A shared lock, so that two processes that only check do not conflict.
            _refuse(descriptor, path, self.name, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Remove the file and release the lock."""
        if self.held:
            with contextlib.suppress(OSError):
                os.unlink(self.folder / LOCK)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def _refuse(descriptor: int, path: Path, name: Path, kind: int) -> None:
    """Lock an open lock file, or raise with the name of the holding process."""
    taken, known = True, True
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        taken = False
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        known = False
    holder = _read(descriptor)
    if not taken:
        who = "another process"
        if holder is not None:
            who = f"process {holder.pid} on {holder.host}"
        raise InputError(
            f"{name} is in use: {who} is running in it; wait until it ends, or "
            "choose another --out."
        )
    if holder is None or holder == Holder.here():
        return
    elsewhere = holder.host != socket.gethostname()
    if elsewhere or (not known and holder.runs()):
        raise InputError(
            f"{name} is in use: process {holder.pid} on {holder.host} is running in "
            f"it, or was killed there; if it no longer runs, remove {path}."
        )


def _read(descriptor: int) -> Holder | None:
    """Return the holder named in a lock file."""
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        pid, host, started = (content[name] for name in Holder._fields)
        return Holder(int(pid), str(host), str(started))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _started(pid: int) -> str:
    """Return the start time of a process in system units; empty if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The program name, in brackets, may contain spaces.
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
