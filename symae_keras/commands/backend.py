"""Keras, imported without the noise that backends make."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator


def import_backend() -> None:
    """Import Keras without the notices that TensorFlow prints whatever the level."""
    if "keras" in sys.modules:
        return
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3":
        import keras  # noqa: F401  # with the notices that the user asked for

        return
    with stderr_aside():
        import keras  # noqa: F401


@contextlib.contextmanager
def stderr_aside() -> Iterator[None]:
    """Hide what is written to file descriptor 2, unless the body fails."""
    sys.stderr.flush()
    there = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(there, 2)
            hidden.seek(0)
            shutil.copyfileobj(hidden, sys.stderr.buffer)
            raise
        finally:
            os.dup2(there, 2)
            os.close(there)
