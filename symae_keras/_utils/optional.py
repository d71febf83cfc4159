"""Import of packages that an extra of this package installs."""

from __future__ import annotations

import importlib
from typing import Any

from symae_keras.errors import InputError


def import_optional(module: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional package, or raise and name the extra to install.

    `purpose` is the subject of the error message: the feature that needs the package.

    Example:
    >>> import_optional("math", "data", "Arithmetic").sqrt(4.0)
    2.0
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs {module.partition('.')[0]}; install it with: "
            f'pip install "symae_keras[{extra}]".'
        ) from error
