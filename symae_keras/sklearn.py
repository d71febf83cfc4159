"""SymAE as scikit-learn transformers for coherent codes and virtual spectra.

Both transformers are fitted to rows of spectra and the ids of their groups,
`fit(X, groups=ids)`. They transform each row separately, so that they work in
`Pipeline`, `GridSearchCV` and `cross_val_predict`, together with `GroupKFold`:

    from sklearn import set_config
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from symae_keras.sklearn import Redatum

    set_config(enable_metadata_routing=True)
    model = make_pipeline(Redatum(random_state=0), PLSRegression(4))
    found = cross_val_predict(model, X, y, cv=GroupKFold(5), params={"groups": ids})

Without metadata routing, pass the ids to a pipeline as `redatum__groups=ids`.

Keep `n_jobs=1` in searches and cross-validations. Training uses all processor cores,
and a process that has loaded a Keras backend must not be forked.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import keras
import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted, validate_data

from symae_keras._utils.arrays import INSTANCES_AT_ONCE, in_batches
from symae_keras._utils.validation import number
from symae_keras.data import GroupedData, RaggedRows, UnevenGroups, check
from symae_keras.data._arrays import plain
from symae_keras.data.grouping import gather_rows
from symae_keras.data.groups import Array
from symae_keras.errors import InputError
from symae_keras.models import SymAE
from symae_keras.models.symae import BACKBONE_NOISES
from symae_keras.training import Training, normalization, train
from symae_keras.training.fit import FEW_GROUPS

__all__ = ["CoherentCode", "Redatum"]

#: Approximate memory of the rows that are encoded at once.
_PART_BYTES: Final = 64 << 20
#: The number of single rows that are encoded is a multiple of this one.
_ROWS_TOGETHER: Final = 64
#: Allowed values of `X`; NaN is a missing pixel.
_ROWS: Final = {"dtype": ("float64", "float32"), "ensure_all_finite": "allow-nan"}

_Groups = GroupedData | RaggedRows


class _SymAETransformer(TransformerMixin, BaseEstimator):
    """Base class of both transformers: training, mean nuisance code, and pickling."""

    # Only `fit` uses ids. `fit_transform` transforms each row as a separate group, like
    # `predict` of a pipeline, because searches do not pass ids to it.
    __metadata_request__fit = {"groups": True}
    __metadata_request__transform = {"groups": UNUSED}

    model_: SymAE
    nuisance_: Array

    def __init__(
        self,
        coherent_dim: int = 8,
        nuisance_dim: int = 8,
        *,
        nuisance_noise: str = "gaussian",
        noise_strength: float | None = None,
        backbone: str | None = "auto",
        validation_fraction: float = 0.2,
        training: Training | None = None,
        random_state: Any = None,
    ) -> None:
        self.coherent_dim = coherent_dim
        self.nuisance_dim = nuisance_dim
        self.nuisance_noise = nuisance_noise
        self.noise_strength = noise_strength
        self.backbone = backbone
        self.validation_fraction = validation_fraction
        self.training = training
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # === Training ===

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Train a `SymAE` on rows of groups.

        Args:
            X: Spectra, `(rows, pixels)`, real numbers. NaN and masked values of a
                masked array are missing pixels.
            y: Not used, only for compatibility with pipelines. Defaults to `None`.
            groups: The id of the group of each row, `(rows,)`, numbers or text. Rows of
                a group share their state. `None` (default) makes each row a separate
                group, with a warning, because states and nuisances cannot be separated
                without groups.

        Returns:
            The object itself.

        Raises:
            InputError: The data or an argument cannot be used.
            NonFiniteError: A loss became NaN or infinite.
        """
        number(
            "validation_fraction",
            self.validation_fraction,
            "0 <= validation_fraction < 1",
            lambda share: 0.0 <= share < 1.0,
        )
        X = validate_data(self, _filled(X), ensure_min_samples=2, **_ROWS)
        if groups is None:
            warnings.warn(
                f"{type(self).__name__} was fitted without the ids of groups, so that "
                "each row is a separate group and states cannot be separated from "
                "nuisances. Pass `groups=ids` to `fit`; inside other estimators, call "
                "`sklearn.set_config(enable_metadata_routing=True)` before.",
                stacklevel=2,
            )
            groups = np.arange(len(X))
        data = check(_grouped(X, groups), source="X")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with _seeded(seed):
            self.model_ = self._trained(data, seed)
        self.nuisance_ = self._reference(data)
        return self

    def _trained(self, data: _Groups, seed: int) -> SymAE:
        fitted, held_out = data, None
        if round(self.validation_fraction * len(data)) > 0:
            fitted, rest = data.split(1.0 - self.validation_fraction, seed)
            held_out = rest.sample() if isinstance(rest, RaggedRows) else rest
        model = SymAE(
            fitted.instance_shape,
            self.coherent_dim,
            self.nuisance_dim,
            nuisance_noise=self.nuisance_noise,
            noise_strength=self.noise_strength,
            normalization=normalization(fitted),
            seed=seed,
            backbone=self._backbone_for(fitted),
        )
        train(model, fitted, self.training or Training(), seed, validation=held_out)
        return model

    def _backbone_for(self, fitted: _Groups) -> str | None:
        if self.backbone != "auto":
            return self.backbone
        few = len(fitted) < FEW_GROUPS and self.nuisance_noise in BACKBONE_NOISES
        # Only groups of several rows show nuisances.
        several = fitted.present.sum(axis=1) > 1
        return "linear" if few and several.sum() > 1 else None

    def _reference(self, data: _Groups) -> Array:
        """Return the nuisance code for decoding, from the training data."""
        return self._mean_nuisance(data)

    def _mean_nuisance(self, data: _Groups) -> Array:
        """Return the mean nuisance code of all rows, `(nuisance_dim,)`."""
        total, count = np.zeros(self.nuisance_dim), 0
        for _, part in data.parts(_PART_BYTES):
            codes = in_batches(self.model_.encode, part.x, part.model_mask).nuisance
            total += codes[part.present].sum(axis=0, dtype="float64")
            count += int(part.present.sum())
        return (total / max(count, 1)).astype("float32")

    # === Use ===

    def _of_rows(self, X: Any, groups: Any, function: Callable[..., Any]) -> Array:
        """Apply a function of groups and their mask; return the result of each row."""
        check_is_fitted(self)
        X = validate_data(self, _filled(X), reset=False, **_ROWS)
        empty = np.isnan(X).all(axis=1)
        if empty.any():
            raise InputError(
                f"{empty.sum()} of {len(X)} rows contain only NaN, the first is row "
                f"{empty.argmax()}; remove these rows."
            )
        if np.nanmax(np.abs(X)) > np.finfo("float32").max:
            raise InputError(
                "X contains values outside the range of float32; rescale it, as in fit."
            )
        if groups is None:
            return self._of_groups(_single(X), function).astype(X.dtype)
        data = _grouped(X, groups)
        which = np.searchsorted(np.asarray(data.ids), plain("groups", groups)[0])
        return self._of_groups(data, function)[which].astype(X.dtype)

    @staticmethod
    def _of_groups(data: _Groups, function: Callable[..., Any]) -> Array:
        rows = INSTANCES_AT_ONCE // data.n_instances or 1
        together = _ROWS_TOGETHER if data.n_instances == 1 else 1
        found = []
        for _, part in data.parts(_PART_BYTES):
            # Matrix products round the last rows of a batch in another way, so that
            # results would depend on the order of rows.
            chosen = np.arange(-(-len(part) // together) * together)
            filled = part[chosen.clip(max=len(part) - 1)]
            result = in_batches(function, filled.x, filled.model_mask, rows=rows)
            found.append(result[: len(part)])
        return np.concatenate(found)

    # === Files ===

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling: the model as the bytes of a .keras file."""
        state = dict(super().__getstate__())
        if "model_" in state:
            with tempfile.TemporaryDirectory(prefix="symae-") as folder:
                path = Path(folder) / "model.keras"
                _without_optimizer(state["model_"]).save(path)
                state["model_"] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "model_" in state:
            with tempfile.TemporaryDirectory(prefix="symae-") as folder:
                path = Path(folder) / "model.keras"
                path.write_bytes(state["model_"])
                state["model_"] = keras.saving.load_model(path, compile=False)
        super().__setstate__(state)


class CoherentCode(ClassNamePrefixFeaturesOutMixin, _SymAETransformer):
    """Coherent codes of spectra, which contain what the rows of a group share.

    `fit(X, groups=ids)` trains a `symae_keras.models.SymAE` on groups of rows that
    share a state, such as the replicates of a sample. `transform` returns the coherent
    code of each row. It contains the state and as little as possible of the nuisances.

    `fit` requests `groups` from the metadata routing of scikit-learn. Each row is
    transformed as a separate group, as in `predict` of a pipeline, unless you pass
    `groups` to `transform`. Pickles contain the bytes of a `.keras` file and no code.
    Use `n_jobs=1` in searches; see the module.

    Args:
        coherent_dim: Size of the coherent code. Defaults to 8.
        nuisance_dim: Size of the nuisance code. Defaults to 8.
        nuisance_noise: `"gaussian"` (default), `"variational"`, `"bernoulli"` or
            `"additive"`; see `SymAE`.
        noise_strength: Strength of the noise. `None` (default) selects the default of
            `SymAE`.
        backbone: `"linear"`, `None`, or `"auto"` (default), which means `"linear"` for
            fewer than 128 training groups if the noise and the groups permit it; see
            `SymAE`.
        validation_fraction: Share of the groups in the held-out set, which determines
            the best epoch for small data, and the detail of the state in `redatum`.
            Defaults to 0.2; 0 trains on all groups.
        training: A `symae_keras.training.Training` with updates, batch size and
            learning rate. `None` (default) selects `Training()`: 2000 updates or more.
        random_state: Seed of weights, noise, batches and held-out groups: an integer, a
            `numpy.random.RandomState`, or `None` (default) for a different seed in each
            call.

    Attributes:
        model_: The trained `SymAE`.
        nuisance_: Mean nuisance code of the training rows, float32 `(nuisance_dim,)`.
        n_features_in_: Number of pixels.
        feature_names_in_: Names of the pixels, if `X` had names.

    Reference:
        - [Bharadwaj, Li & Demanet, Redatuming physical systems using symmetric
          autoencoders, 2021](https://arxiv.org/abs/2108.02537)

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=12, n_instances=4, seed=0)
    >>> X, ids = groups.x.reshape(48, 256), np.repeat(np.arange(12), 4)
    >>> code = CoherentCode(3, 2, training=Training(epochs=1), random_state=0)
    >>> code.fit_transform(X, groups=ids).shape
    (48, 3)
    >>> code.get_feature_names_out()
    array(['coherentcode0', 'coherentcode1', 'coherentcode2'], dtype=object)
    """

    @property
    def _n_features_out(self) -> int:
        return self.model_.coherent_dim

    def transform(self, X: Any, groups: Any = None) -> Array:
        """Return the coherent code of each row.

        Args:
            X: Spectra, `(rows, pixels)`.
            groups: The id of the group of each row; rows of one group get the code of
                the group, which has less noise. `None` (default) makes each row a
                separate group.

        Returns:
            Codes, `(rows, coherent_dim)`, of the dtype of `X`.

        Raises:
            InputError: A row has only NaN, or `groups` does not name each row's group.
        """
        return self._of_rows(X, groups, lambda *each: self.model_.encode(*each)[0])

    def inverse_transform(self, X: Any) -> Array:
        """Decode coherent codes with the mean nuisance code of the training rows.

        Args:
            X: Codes, `(rows, coherent_dim)`.

        Returns:
            Spectra, `(rows, pixels)`, of the dtype of `X`.

        Raises:
            InputError: The codes have the wrong size.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=_ROWS["dtype"])
        if codes.shape[1] != self.model_.coherent_dim:
            raise InputError(
                f"Expected codes with {self.model_.coherent_dim} numbers per row, as "
                f"returned by `transform`; received shape {codes.shape}."
            )
        spectra = in_batches(self._decoded, codes, rows=INSTANCES_AT_ONCE)
        return np.asarray(spectra, codes.dtype)

    def _decoded(self, codes: Array) -> Any:
        return _decode(self.model_, codes, self.nuisance_)


class Redatum(OneToOneFeatureMixin, _SymAETransformer):
    """Virtual spectra with the state of each row and one common nuisance.

    `fit(X, groups=ids)` trains a `symae_keras.models.SymAE` on groups of rows that
    share a state, such as the replicates of a sample. `transform` decodes the coherent
    code of each row with the nuisance code of the reference, so that differences
    between rows are differences of states. If it improves the result for the held-out
    groups, `transform` also adds detail of the state that the codes do not contain; see
    `SymAE.redatum`.

    `fit` requests `groups` from the metadata routing of scikit-learn. Each row is
    transformed as a separate group, as in `predict` of a pipeline, unless you pass
    `groups` to `transform`. Pickles contain the bytes of a `.keras` file and no code.
    Use `n_jobs=1` in searches; see the module. There is no `inverse_transform`, because
    the nuisances are removed.

    Args:
        coherent_dim: Size of the coherent code. Defaults to 8.
        nuisance_dim: Size of the nuisance code. Defaults to 8.
        reference: Reference for the nuisance of virtual spectra. `None` (default)
            selects the mean nuisance code of the training rows. An array of spectra
            `(rows, pixels)` or `(pixels,)`, such as those of one instrument, selects
            their mean nuisance code. A number or text selects the training group with
            that id.
        nuisance_noise: See `CoherentCode`. Defaults to `"gaussian"`.
        noise_strength: See `CoherentCode`. Defaults to `None`.
        backbone: See `CoherentCode`. Defaults to `"auto"`.
        validation_fraction: See `CoherentCode`. Defaults to 0.2.
        training: See `CoherentCode`. Defaults to `None`.
        random_state: See `CoherentCode`. Defaults to `None`.

    Attributes:
        model_: The trained `SymAE`.
        nuisance_: Nuisance code of the reference, float32 `(nuisance_dim,)`.
        n_features_in_: Number of pixels.
        feature_names_in_: Names of the pixels, if `X` had names.

    Reference:
        - [Bharadwaj, Li & Demanet, Redatuming physical systems using symmetric
          autoencoders, 2021](https://arxiv.org/abs/2108.02537)

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=12, n_instances=4, seed=0)
    >>> X, ids = groups.x.reshape(48, 256), np.repeat(np.arange(12), 4)
    >>> redatum = Redatum(3, 2, training=Training(epochs=1), random_state=0)
    >>> redatum.fit(X, groups=ids).transform(X[:5]).shape
    (5, 256)
    """

    def __init__(
        self,
        coherent_dim: int = 8,
        nuisance_dim: int = 8,
        *,
        reference: Any = None,
        nuisance_noise: str = "gaussian",
        noise_strength: float | None = None,
        backbone: str | None = "auto",
        validation_fraction: float = 0.2,
        training: Training | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            coherent_dim,
            nuisance_dim,
            nuisance_noise=nuisance_noise,
            noise_strength=noise_strength,
            backbone=backbone,
            validation_fraction=validation_fraction,
            training=training,
            random_state=random_state,
        )
        self.reference = reference

    def transform(self, X: Any, groups: Any = None) -> Array:
        """Return the virtual spectrum of each row.

        Args:
            X: Spectra, `(rows, pixels)`.
            groups: The id of the group of each row; rows of one group get the virtual
                spectrum of the group, which has less noise. `None` (default) makes each
                row a separate group.

        Returns:
            Virtual spectra, `(rows, pixels)`, of the dtype of `X`.

        Raises:
            InputError: A row has only NaN, or `groups` does not name each row's group.
        """
        return self._of_rows(X, groups, self._virtual)

    def _virtual(self, x: Array, mask: Array | None) -> Any:
        codes = self.model_.encode(x, mask)
        virtual = _decode(self.model_, codes.coherent, self.nuisance_)
        if self.model_.detail is None:
            return virtual
        # The detail that `redatum` adds to an instance with its own nuisance.
        own = self.model_.redatum(x, x, mask, mask) - self.model_.decode(*codes)
        return virtual + own[:, 0]

    def _reference(self, data: _Groups) -> Array:
        if self.reference is None:
            return self._mean_nuisance(data)
        if np.ndim(self.reference) == 0:
            ids = np.asarray(data.ids)
            known = ids == self.reference
            if not known.any():
                raise InputError(
                    f"reference={self.reference!r} is not the id of a training group; "
                    f"there are {len(data)}, such as {ids[0]!r}. Give one of these, "
                    "spectra `(rows, pixels)`, or None."
                )
            return self._mean_nuisance(data[known])
        spectra = check_array(np.atleast_2d(_filled(self.reference)), **_ROWS)
        if spectra.shape[1] != self.n_features_in_:
            raise InputError(
                f"reference must be spectra of {self.n_features_in_} pixels, as in X; "
                f"received shape {spectra.shape}."
            )
        spectra = spectra[~np.isnan(spectra).all(axis=1)]
        if not len(spectra):
            raise InputError("The spectra of `reference` contain only NaN.")
        return self._mean_nuisance(_single(spectra))


def _decode(model: SymAE, coherent: Any, nuisance: Array) -> Any:
    """Decode codes of groups with one nuisance code, `(groups, pixels)`."""
    repeated = np.broadcast_to(nuisance, (len(coherent), 1, nuisance.size))
    return model.decode(coherent, repeated)[:, 0]


def _without_optimizer(model: SymAE) -> SymAE:
    """Return a copy that is not compiled; an optimizer is larger than the model."""
    copy = SymAE.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    copy.detail = model.detail
    return copy


def _filled(X: Any) -> Any:
    """Convert masked arrays and tensors to arrays with NaN for missing pixels."""
    if not (isinstance(X, np.ma.MaskedArray) or hasattr(X, "detach")):
        return X
    values, missing = plain("X", X)
    return values if missing is None else np.where(missing, np.nan, values)


def _without_gaps(X: Array) -> tuple[Array, Array | None]:
    """Replace NaN by zeros; return the rows and a pixel mask (`None` without NaN)."""
    good = np.isfinite(X)
    return (X, None) if good.all() else (np.where(good, X, 0.0), good)


def _grouped(X: Array, ids: Any) -> _Groups:
    """Group rows, with padding if it does not take much memory."""
    x, good = _without_gaps(X)
    rows = gather_rows(x, ids, pixel_mask=good)
    try:
        return rows.load()
    except UnevenGroups:
        return rows


def _single(X: Array) -> GroupedData:
    """Return each row as a separate group."""
    x, good = _without_gaps(X)
    return GroupedData(x[:, None], pixel_mask=None if good is None else good[:, None])


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the initialisation of weights, and restore the user's random state."""
    before = random.getstate()
    random.seed(seed)  # Keras draws the seeds of initializers from it
    try:
        yield
    finally:
        random.setstate(before)


def __dir__() -> list[str]:
    return sorted(__all__)
