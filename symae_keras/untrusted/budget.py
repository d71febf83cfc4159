"""A bound on the memory that building a model takes."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from typing import Any, Final

import keras

from symae_keras.errors import InputError
from symae_keras.untrusted.weights import WeightsSize

#: A layer, or a weight of any size, costs as much as this many numbers.
_EACH: Final = 1000
#: Models may have this many times the weights that their file holds, such as copies
#: that are replaced while the model is built ...
_FACTOR: Final = 4
#: ... and this many numbers more.
_SPARE: Final = 2_000_000
_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def weights_within(size: WeightsSize) -> Iterator[None]:
    """Refuse layers and weights beyond what a file of weights can fill.

    A config of a few bytes may ask for a layer of terabytes, which Keras would allocate
    before it looks at the weights. Only layers that this thread makes are counted.

    Args:
        size: What the file of weights holds.
    """
    left = _SPARE + _FACTOR * (size.values + _EACH * size.arrays)
    owner = threading.get_ident()
    refused = InputError(
        f"its config asks for many more weights than the {size.values:,} numbers that "
        "it holds"
    )

    def spend(cost: int) -> None:
        nonlocal left
        if threading.get_ident() != owner:
            return
        left -= cost
        if left < 0:
            raise refused

    with _one_at_a_time:
        stock_new, stock_add = keras.Layer.__new__, keras.Layer.add_weight

        def new(cls: type[keras.Layer], *args: Any, **kwargs: Any) -> keras.Layer:
            spend(_EACH)
            return stock_new(cls, *args, **kwargs)

        @functools.wraps(stock_add)
        def add_weight(self: keras.Layer, *args: Any, **kwargs: Any) -> Any:
            shape = kwargs.get("shape", args[0] if args else None)
            spend(_EACH + (0 if shape is None else abs(math.prod(shape))))
            return stock_add(self, *args, **kwargs)

        keras.Layer.__new__ = staticmethod(new)
        keras.Layer.add_weight = add_weight
        try:
            yield
        except Exception as error:
            # Keras replaces errors in a constructor by its own.
            if left < 0:
                raise refused from error
            raise
        finally:
            keras.Layer.__new__ = staticmethod(stock_new)
            keras.Layer.add_weight = stock_add
