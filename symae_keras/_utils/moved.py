"""Old names of modules and arguments, which programs and files may still use."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final, TypeVar

#: Modules that presets or docs of version 0.1 named, and their new locations.
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
    """Importer that fills a module of an old name with the content of the new one."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for the old name of a module, otherwise `None`."""
        if fullname not in MOVED:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module with the content of its replacement."""
        new = MOVED[module.__name__]
        warnings.warn(
            f"{module.__name__} is deprecated and will be removed in the next version; "
            f"import from {new}",
            DeprecationWarning,
            stacklevel=2,
        )
        content = vars(importlib.import_module(new))
        vars(module).update(
            {name: each for name, each in content.items() if name[:2] != "__"}
        )


def install() -> None:
    """Make the modules of `MOVED` importable."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.append(_Finder())


_Class = TypeVar("_Class", bound=type)


def renamed(method: str, **names: str) -> Callable[[_Class], _Class]:
    """Decorate a class whose `method` also accepts keyword arguments by old names.

    Each use of an old name causes a DeprecationWarning. Constructor arguments can also
    be read as attributes by their old names, and, without a warning, from configs that
    an older version saved. `names` maps each old name to the new one.
    """

    def warn(cls: type, old: str) -> None:
        warnings.warn(
            f"`{old}` of {cls.__name__} is deprecated and will be removed; "
            f"use `{names[old]}`",
            DeprecationWarning,
            stacklevel=3,
        )

    def translated(arguments: dict[str, Any]) -> dict[str, Any]:
        for old, new in names.items():
            if old in arguments and new in arguments:
                raise TypeError(f"Both `{new}` and its old name `{old}` are given")
        return {names.get(key, key): value for key, value in arguments.items()}

    def decorate(cls: _Class) -> _Class:
        current = getattr(cls, method)

        @functools.wraps(current)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            for old in names.keys() & kwargs.keys():
                warn(cls, old)
            return current(self, *args, **translated(kwargs))

        # Keras does not read the constructor's arguments through `functools.wraps`.
        vars(wrapper)["__signature__"] = inspect.signature(current)
        setattr(cls, method, wrapper)
        if method == "__init__":
            _read_old_names(cls, names, translated, warn)
        return cls

    return decorate


def _read_old_names(
    cls: Any,
    names: dict[str, str],
    translated: Callable[[dict[str, Any]], dict[str, Any]],
    warn: Callable[[type, str], None],
) -> None:
    """Let configs and attributes of a class use old names."""
    from_config = cls.from_config.__func__
    inherited = getattr(cls, "__getattr__", None)  # PyTorch's modules have one

    # Not a property: Keras reads everything in `dir` when it saves a layer.
    def __getattr__(self: Any, name: str) -> Any:
        if name in names:
            warn(cls, name)
            return getattr(self, names[name])
        if inherited is not None:
            return inherited(self, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    cls.__getattr__ = __getattr__
    cls.from_config = classmethod(
        lambda cls, config: from_config(cls, translated(config))
    )
