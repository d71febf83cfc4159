"""Modules under their old names, which recipes and programs may still import."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Final

#: Modules that presets or docs of version 0.1 named, and where their content is now.
MOVED: Final = {
    f"symae_keras.{old}": f"symae_keras.{new}"
    for old, new in {
        "checkpoint": "training",
        "data.datasets": "data.tfds",
        "data.exposures": "data.simulators.exposures",
        "data.images": "data.io.images",
        "data.labelled_shapes": "data.simulators.labelled_shapes",
        "evaluation.batching": "evaluation",
        "models.instance_autoencoder": "models.instances",
        "models.registry": "models",
        "plotting.images": "plotting.style",
    }.items()
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes a module with an old name of the content of the new one."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for the old name of a module, else `None`."""
        if fullname not in MOVED:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module with the content of the one that replaced it."""
        new = MOVED[module.__name__]
        warnings.warn(
            f"{module.__name__} is deprecated and goes in the next version; import "
            f"from {new}",
            DeprecationWarning,
            stacklevel=2,
        )
        content = vars(importlib.import_module(new))
        vars(module).update(
            {name: each for name, each in content.items() if name[:2] != "__"}
        )


def install() -> None:
    """Let Python find the modules of `MOVED`."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.append(_Finder())
