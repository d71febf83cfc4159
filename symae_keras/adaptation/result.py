"""An adaptation: a weighted mean of maps, with the scores of its candidates."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from symae_keras._utils.files import written_atomically
from symae_keras._utils.untrusted_files import open_regular
from symae_keras.adaptation._candidates import Affine, Part
from symae_keras.adaptation._code_map import CodeMap
from symae_keras.data._arrays import real_numbers
from symae_keras.data.groups import Array
from symae_keras.data.io.arrays import read_archive
from symae_keras.errors import InputError

_FORMAT: Final = 1
_TEXTS: Final = (
    *("method", "weights", "baseline_weights", "scores", "standard_errors"),
    *("errors", "baseline_free_errors", "n_pairs"),
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Adaptation:
    """Map from spectra of a new instrument to spectra of a known instrument.

    `symae_keras.adapt` returns it. Scores and errors are from cross-validation over the
    pairs.

    Attributes:
        method: `"Stack"`, a weighted mean of candidates; with fewer than 5 pairs, the
            name of the only candidate.
        weights: Weight of each candidate in the mean, for spectra without their
            baseline, the best quadratic in the pixel index.
        baseline_weights: Weight of each candidate for baselines.
        scores: Score of every candidate and of the method: the mean of its raw and
            baseline-free error, each relative to that of the mean shift. A score of 1
            is as good as the mean shift; smaller is better. Empty with fewer than 5
            pairs.
        standard_errors: Standard error of each score, over pairs.
        errors: Mean squared error of every candidate divided by the variance of the
            target spectra.
        baseline_free_errors: The same errors after the best quadratic in the pixel
            index was subtracted from both spectra.
        n_pairs: Number of pairs.
        instance_shape: Shape of one instance.
        good_pixels: True where the target instrument has observed a pixel, of the shape
            of an instance. Transferred values are not meaningful elsewhere.
    """

    method: str
    weights: Mapping[str, float]
    baseline_weights: Mapping[str, float]
    scores: Mapping[str, float]
    standard_errors: Mapping[str, float]
    errors: Mapping[str, float]
    baseline_free_errors: Mapping[str, float]
    n_pairs: int
    instance_shape: tuple[int, ...]
    good_pixels: Array
    _fill: Array
    _terms: Sequence[Part]

    def __repr__(self) -> str:
        score = self.scores.get(self.method)
        known = ""
        if score is not None:
            known = f", score {score:.3f} relative to the mean shift"
        return f"Adaptation({self.summary} from {self.n_pairs} pairs{known})"

    @property
    def summary(self) -> str:
        """The method and its weights as text."""
        words = _in_words(self.weights)
        of_baselines = _in_words(self.baseline_weights)
        return words if words == of_baselines else f"{words}; baseline: {of_baselines}"

    @property
    def needs_model(self) -> bool:
        """True if `transfer` uses the codes of the model."""
        return bool(_sorted_terms(self._terms)[1])

    def transfer(self, x: Array, mask: Array | None = None) -> Array:
        """Transfer spectra from the source to the target instrument.

        Args:
            x: `(spectra, *instance_shape)`, measured on the source instrument; an
                array, table or tensor. Values that a masked array or a table marks as
                missing are bad pixels.
            mask: True = good pixel, of the shape of `x` or one that broadcasts to it.
                Bad pixels are replaced by the mean of the source spectra. Defaults to
                `None`.

        Returns:
            float64 array of the shape of `x`.

        Raises:
            InputError: The shape differs from that of the pairs, or good pixels are not
                finite.
        """
        x, missing = real_numbers("x", x)
        x = x.astype("float64", copy=False)
        if missing is not None:
            mask = ~missing if mask is None else ~missing & mask
        if x.ndim == 0 or x.shape[1:] != self.instance_shape:
            raise InputError(
                f"Expected an array (spectra, *{self.instance_shape}) of the source "
                f"instrument; received shape {x.shape}."
            )
        if mask is not None:
            x = np.where(mask, x, self._fill.reshape(self.instance_shape))
        if not np.isfinite(x).all():
            raise InputError(
                "Some spectra contain NaN or infinite values; mark these pixels as "
                "False in mask."
            )
        if not len(x):
            return x
        flat = x.reshape(len(x), -1)
        total = sum(part.transfer(flat) for part in self._terms)
        return np.asarray(total).reshape(x.shape)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the adaptation into an `.npz` file, without the model.

        Args:
            path: The file.
        """
        known = {name: getattr(self, name) for name in _TEXTS}
        affine, of_codes = _sorted_terms(self._terms)
        known["format"] = _FORMAT
        known["of_codes"] = [(part.kind, part.weight) for part, _ in of_codes]
        arrays: dict[str, Any] = {
            "about": np.array(json.dumps(known)),
            "good_pixels": self.good_pixels,
            "fill": self._fill,
        }
        if affine is not None:
            arrays |= {"coef": affine.coef, "offset": affine.intercept}
        for number, (_, codes) in enumerate(of_codes):
            arrays |= {f"{k}_{number}": each for k, each in codes.arrays().items()}
        with written_atomically(Path(path)) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)

    @classmethod
    def load(cls, path: str | PathLike[str], model: Any = None) -> Self:
        """Read an adaptation that `save` wrote.

        Args:
            path: The file.
            model: The trained model of the adaptation, if it uses one. Defaults to
                `None`.

        Returns:
            The adaptation.

        Raises:
            InputError: The file cannot be used, or the model is missing.
        """
        try:
            # No pickles: the file may come from an untrusted source.
            with open_regular(Path(path)) as file:
                arrays = read_archive(file)
            known = json.loads(str(arrays["about"]))
            if known.pop("format") != _FORMAT:
                raise ValueError("its format is unknown")
            good, fill = arrays["good_pixels"].astype(bool), arrays["fill"]
            if fill.shape != (good.size,):
                raise ValueError("the shapes of its arrays do not match")
            terms = _read_terms(arrays, known["of_codes"], good.shape, model)
            known = {name: known[name] for name in _TEXTS}
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(
                f"{path} is not a complete adaptation: {reason}."
            ) from None
        return cls(
            **known,
            instance_shape=good.shape,
            good_pixels=good,
            _fill=fill,
            _terms=terms,
        )


def _sorted_terms(
    terms: Sequence[Part],
) -> tuple[Affine | None, list[tuple[Part, CodeMap]]]:
    """Return the sum of the affine maps, and the parts with a model."""
    coef: Any = None
    intercept: Any = 0.0
    of_codes = []
    for part in (each for term in terms for each in term.expanded()):
        if isinstance(part.map, CodeMap):
            of_codes.append((part, part.map))
            continue
        own = part.affine()
        if coef is None:
            coef = own.coef
        elif coef.ndim == own.coef.ndim:
            coef = coef + own.coef
        else:
            coef = sum(np.diag(c) if c.ndim == 1 else c for c in (coef, own.coef))
        intercept = intercept + own.intercept
    return None if coef is None else Affine(coef, intercept), of_codes


def _in_words(weights: Mapping[str, float]) -> str:
    """Return weights and their names as text, the largest first."""
    ordered = sorted(weights.items(), key=lambda each: -each[1])
    if len(ordered) == 1:
        return ordered[0][0]
    return " + ".join(f"{weight:.2f} {name}" for name, weight in ordered)


def _read_terms(
    arrays: Mapping[str, Array],
    of_codes: Sequence[tuple[str, float]],
    shape: tuple[int, ...],
    model: Any,
) -> list[Part]:
    pixels = math.prod(shape)
    terms: list[Part] = []
    if "coef" in arrays:
        coef, offset = arrays["coef"], arrays["offset"]
        if coef.shape not in ((pixels,), (pixels, pixels)) or offset.shape != (pixels,):
            raise ValueError("its map does not match its pixels")
        terms.append(Part("all", Affine(coef, offset), shape))
    if of_codes and model is None:
        raise InputError(
            "This adaptation uses the codes of a trained model; load it with the same "
            "model, `Adaptation.load(path, model)`."
        )
    for number, (kind, weight) in enumerate(of_codes):
        names = ("shift", "coef", "intercept", "nuisance")
        values = [arrays[f"{name}_{number}"] for name in names]
        codes = CodeMap(model, shape, *values)
        terms.append(Part(str(kind), codes, shape, float(weight)))
    if not terms:
        raise ValueError("it has no map")
    return terms
