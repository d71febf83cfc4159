"""Base class of grouped autoencoders: codes, masks and redatuming."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from symae_keras._utils.arrays import Codes, Shape, Tensor
from symae_keras._utils.validation import boolean, invalid, positive
from symae_keras.errors import InputError
from symae_keras.layers.noise import GaussianSampling
from symae_keras.layers.per_instance import PerInstance
from symae_keras.models import _detail
from symae_keras.models._copies import copy_of
from symae_keras.models.base import AutoencoderBase, may_equal

# Number of features that the named encoders pass to pooling and heads; also the size
# of the hidden layer of a head.
_FEATURES = 128
#: Name of `GroupedAutoencoder.detail` in a file of weights.
_DETAIL = "detail"


class GroupedAutoencoder(AutoencoderBase):
    """Base class of autoencoders of groups.

    A subclass makes its networks and heads, builds them, and implements two functions
    of normalised instances and their mask: `_codes` computes codes without noise, for
    use after training. `_training_codes` computes the codes that `call` decodes, and
    adds losses.

    Args:
        coherent_dim: Size of the coherent code.
        nuisance_dim: Size of the nuisance code.

    The other arguments are those of `AutoencoderBase`. The coherent branch uses
    `encoder` itself, and the nuisance branch uses a copy of it, see `SymAE`. The
    decoder takes both codes, concatenated.
    """

    _batching = "batches"

    def __init__(
        self,
        instance_shape: Sequence[int],
        coherent_dim: int = 8,
        nuisance_dim: int = 8,
        encoder: str | keras.Layer = "dense",
        decoder: keras.Layer | None = None,
        normalization: keras.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            instance_shape, encoder, decoder, normalization, seed, **kwargs
        )
        self.coherent_dim = positive("coherent_dim", coherent_dim)
        self.nuisance_dim = positive("nuisance_dim", nuisance_dim)
        self.carry_mask = _CarryMask(dtype=self.dtype_policy, name="carry_mask")
        self._detail: npt.NDArray[Any] | None = None

    # === Networks ===

    def _make_networks(self) -> None:
        first = self._make_encoder(_FEATURES)
        second = copy_of(first, self.instance_shape)
        third = self._make_decoder(first)

        def per_instance(layer: keras.Layer, name: str) -> PerInstance:
            return PerInstance(layer, dtype=self.dtype_policy, name=name)

        self.coherent_encoder = per_instance(first, "coherent_encoder")
        self.nuisance_encoder = per_instance(second, "nuisance_encoder")
        self.instance_decoder = per_instance(third, "instance_decoder")

    def _head(
        self,
        units: int,
        name: str,
        activation: str | None = None,
        kernel_initializer: str = "glorot_uniform",
    ) -> list[keras.Layer]:
        """Make the layers from features to code elements; call with `call_chain`.

        The initializer is used for the last layer.
        """
        dtype = self.dtype_policy
        return [
            keras.layers.Dense(
                _FEATURES, activation="gelu", dtype=dtype, name=f"{name}_hidden"
            ),
            keras.layers.Dense(
                units,
                activation=activation,
                kernel_initializer=kernel_initializer,
                dtype=dtype,
                name=f"{name}_code",
            ),
        ]

    def build(self, input_shape: Any = None) -> None:
        # Symbolic calls build a custom encoder in the same way as Keras would.
        instances = keras.KerasTensor(
            (None, None, *self.instance_shape), dtype=self.compute_dtype
        )
        self._build_normalization(instances.shape)
        decoded = self._decoded(*self._codes(instances, None))
        self._check_decoded(tuple(decoded.shape[2:]))
        self._track_terms()
        self.built = True

    # === Forward pass ===

    def _codes(self, x: Tensor, mask: Tensor | None) -> Codes:
        """Return the codes of normalised instances, without noise."""
        raise NotImplementedError

    def _training_codes(
        self, x: Tensor, mask: Tensor | None, training: bool | None
    ) -> Codes:
        """Return the codes of normalised instances that `call` decodes."""
        raise NotImplementedError

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        x, mask = self._unpack(inputs)
        x, mask = self._clean(x, mask)
        decoded = self._decoded(*self._training_codes(x, mask, training))
        if mask is None:
            return decoded
        return self.carry_mask(decoded, mask=self.compute_mask(inputs, None))

    def _accepted(self, x: Any, mask: Any = None) -> tuple[Tensor, Tensor | None]:
        x, mask = self._arrays(x, mask)
        if len(x.shape) < 3 or tuple(x.shape[2:]) != self.instance_shape:
            raise ValueError(
                f"This model takes instances of shape {self.instance_shape}, in arrays "
                "(groups, instances, *instance_shape). "
                f"Received: an array of shape {tuple(x.shape)}"
            )
        if mask is None:
            return x, None
        mask = ops.cast(ops.convert_to_tensor(mask), "bool")
        if not (may_equal(mask.shape, x.shape[:2]) or may_equal(mask.shape, x.shape)):
            raise ValueError(
                "`mask` must have the shape (groups, instances), here "
                f"{tuple(x.shape[:2])}, or that of the instances, {tuple(x.shape)}. "
                f"Received: mask of shape {tuple(mask.shape)}"
            )
        return x, mask

    def _clean(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Check shapes, blank masked pixels, normalise; also return the mask."""
        x, mask = self._accepted(x, mask)
        if mask is None:
            return self._normalize(x), None
        present = self._present(mask)
        if len(mask.shape) == 2:
            mask = _over_pixels(mask, len(self.instance_shape))
        return self._normalize(self._fill(x, mask)), present

    def _of_groups(self, groups: Any) -> tuple[Any, Any]:
        return groups.x, groups.model_mask

    @staticmethod
    def _present(mask: Tensor) -> Tensor:
        """Return the mask of instances; one without a good pixel is absent."""
        if len(mask.shape) == 2:
            return mask
        return ops.any(mask, axis=tuple(range(2, len(mask.shape))))

    def _blank_bad_pixels(
        self, inputs: Any, y: Tensor, y_pred: Tensor
    ) -> tuple[Tensor, Tensor]:
        y, y_pred = super()._blank_bad_pixels(inputs, y, y_pred)
        mask = self.compute_mask(inputs, None)
        return y, y_pred if mask is None else self.carry_mask(y_pred, mask=mask)

    def _coherent_features(self, x: Tensor) -> Tensor:
        return flat(self.coherent_encoder(x))

    def _nuisance_features(self, x: Tensor) -> Tensor:
        return flat(self.nuisance_encoder(x))

    def _sampling(self, code: str, weight: float) -> GaussianSampling:
        """Return the sampling layer of the `"coherent"` or the `"nuisance"` codes."""
        # With the same seed, both codes would be drawn from the same random numbers.
        seed = None if self.seed is None else self.seed + (code == "nuisance")
        return GaussianSampling(
            weight, seed, term_name=f"{code}_kl_loss", dtype=self.dtype_policy
        )

    def _sampled_coherent(
        self,
        posterior: tuple[Tensor, Tensor],
        x: Tensor,
        mask: Tensor | None,
        training: bool | None,
    ) -> Tensor:
        """Draw one code per group; its divergence is counted once per group."""
        return self.coherent_sampling(
            posterior,
            # A group without any instance is batch padding and adds no loss.
            mask=None if mask is None else ops.any(mask, axis=1),
            per=n_present(x, mask),
            training=training,
        )

    # === Use ===

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Codes:
        """Encode groups, without noise.

        Args:
            x: `(batch, instances, *instance_shape)` with any number of instances, or a
                `symae_keras.data.GroupedData`, whose masks are used.
            mask: Boolean `(batch, instances)`, True = present, or of the shape of `x`,
                True = good pixel. Bad pixels get the value of the mean instance of
                `normalization`, or 0. Defaults to `None`.

        Returns:
            `Codes(coherent, nuisance)`, tensors `(batch, coherent_dim)` and
            `(batch, instances, nuisance_dim)`.
        """
        x, mask = self._accepted(x, mask)
        return Codes(*self._compiled("_encoded", (2, 2), x, mask))

    def _encoded(self, x: Tensor, mask: Tensor | None = None) -> Codes:
        return self._codes(*self._clean(x, mask))

    def _coherent_code(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # Graphs leave out the branch of the other code.
        return self._encoded(x, mask).coherent

    def _nuisance_code(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._encoded(x, mask).nuisance

    def decode(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        """Decode one coherent code per group with the nuisance code of each instance.

        Args:
            coherent: `(batch, coherent_dim)`.
            nuisance: `(batch, instances, nuisance_dim)`.

        Returns:
            Instances in data units, `(batch, instances, *instance_shape)`.
        """
        coherent = ops.convert_to_tensor(coherent, dtype=self.compute_dtype)
        nuisance = ops.convert_to_tensor(nuisance, dtype=self._data_dtype)
        return self._compiled("_decoded", (1, 2), coherent, nuisance)

    def _decoded(self, coherent: Tensor, nuisance: Tensor) -> Tensor:
        coherent = ops.convert_to_tensor(coherent, dtype=self.compute_dtype)
        nuisance = ops.convert_to_tensor(nuisance, dtype=self._data_dtype)
        latent = ops.cast(self._latent_of(nuisance, coherent), self.compute_dtype)
        return self._denormalize(self._decode_normalized(coherent, latent))

    def _decode_normalized(self, coherent: Tensor, latent: Tensor) -> Tensor:
        """Decode code elements in the dtype and the units of the networks."""
        return self.instance_decoder(join(coherent, latent))

    def _latent_of(self, nuisance: Tensor, coherent: Tensor) -> Tensor:
        """Return the latent values that are decoded instead of the nuisance codes."""
        return nuisance

    def reconstruct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode and decode without noise.

        Args:
            x: `(batch, instances, *instance_shape)`, or `GroupedData`.
            mask: See `encode`. Bad pixels are reconstructed from the good ones.

        Returns:
            Tensor of the shape of `x`.
        """
        return self._compiled("_reconstructed", (2, 2), *self._accepted(x, mask))

    def _reconstructed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._decoded(*self._encoded(x, mask))

    def redatum(
        self,
        coherent_from: Tensor,
        nuisance_from: Tensor,
        coherent_mask: Tensor | None = None,
        nuisance_mask: Tensor | None = None,
        detail: bool | None = None,
    ) -> Tensor:
        """Make virtual instances: states of some groups under nuisances of others.

        A code with few elements loses detail of the state. This detail is missing in
        the same way in the reconstructions of all instances of a group. After
        `fit_detail`, virtual instances contain it:

            D(C_i, N_j[t]) + g * mean_s(x_i[s] - D(C_i, N_i[s]))

        The gain `g` per pixel grows with the number of instances of group `i`; see
        `detail`.

        Args:
            coherent_from: `(batch, instances_a, *instance_shape)`, the states; or
                `GroupedData`, which `nuisance_from` may be, too.
            nuisance_from: `(batch, instances_b, *instance_shape)`, the nuisances under
                which the states are shown, group by group. A single group in either
                argument is used for all groups of the other.
            coherent_mask: Mask of `coherent_from`, see `encode`.
            nuisance_mask: Mask of `nuisance_from`.
            detail: Whether to add the mean residual of the group. `None` (default) adds
                it if `fit_detail` found that it helps.

        Returns:
            Tensor `(batch, instances_b, *instance_shape)`.

        Raises:
            ValueError: The numbers of groups differ, or `detail` is True and the model
                has no gain.
        """
        if detail is None:
            detail = self._detail is not None
        if boolean("detail", detail) and self._detail is None:
            raise ValueError(
                "`detail=True` needs a gain for each pixel, but this model has none. "
                "Call `model.fit_detail(held_out_groups)` first."
            )
        coherent_from, coherent_mask = self._accepted(coherent_from, coherent_mask)
        nuisance_from, nuisance_mask = self._accepted(nuisance_from, nuisance_mask)
        sizes = coherent_from.shape[0], nuisance_from.shape[0]
        if not (may_equal(sizes[:1], sizes[1:]) or 1 in sizes):
            raise ValueError(
                "`coherent_from` and `nuisance_from` must hold the same number of "
                "groups, or one of them a single group, which is used for all. "
                f"Received: {sizes[0]} and {sizes[1]}"
            )
        if sizes[0] == sizes[1] and not detail:
            given = coherent_from, nuisance_from, coherent_mask, nuisance_mask
            return self._compiled("_redatumed", (2, 2, 2, 2), *given)
        both = 2, 2
        states = coherent_from, coherent_mask
        if detail:
            own = Codes(*self._compiled("_encoded", both, *states))
            coherent = own.coherent
        else:
            coherent = self._compiled("_coherent_code", both, *states)
        nuisance = self._compiled("_nuisance_code", both, nuisance_from, nuisance_mask)
        if sizes[0] != sizes[1] and None not in sizes:
            rows = sizes[0] * sizes[1]  # one of them is 1
            coherent = ops.broadcast_to(coherent, (rows, *ops.shape(coherent)[1:]))
            nuisance = ops.broadcast_to(nuisance, (rows, *ops.shape(nuisance)[1:]))
        virtual = self.decode(coherent, nuisance)
        if not detail:
            return virtual
        missed = self._missed(coherent_from, coherent_mask, own)[:, None]
        return ops.cast(ops.cast(virtual, missed.dtype) + missed, virtual.dtype)

    def _redatumed(
        self,
        coherent_from: Tensor,
        nuisance_from: Tensor,
        coherent_mask: Tensor | None,
        nuisance_mask: Tensor | None,
    ) -> Tensor:
        coherent = self._coherent_code(coherent_from, coherent_mask)
        return self._decoded(
            coherent, self._nuisance_code(nuisance_from, nuisance_mask)
        )

    # === Detail of the state ===

    @property
    def detail(self) -> npt.NDArray[Any] | None:
        """Reliability of the residual of one instance, for each pixel, or `None`.

        A float32 array of shape `instance_shape` with values `q` from 0 to 1: the share
        of the residual variance that all instances of a group have in common.
        `redatum` multiplies the mean residual of `T` instances by the gain
        `T q / (1 + (T - 1) q)`. `fit_detail` estimates the array, and `None` (the
        default) switches it off. Files of models and of weights contain it, but
        `get_weights` does not.
        """
        return self._detail

    @detail.setter
    def detail(self, value: npt.ArrayLike | None) -> None:
        if value is not None:
            array = np.asarray(value, "float32")
            # NaN fails every comparison.
            inside = np.all((array >= 0.0) & (array <= 1.0))
            if array.shape != self.instance_shape or not inside:
                expected = f"None or numbers from 0 to 1 of shape {self.instance_shape}"
                found = f"an array of shape {array.shape}"
                if array.size:
                    found += f" with values from {array.min()} to {array.max()}"
                raise invalid("detail", expected, found)
            value = array
        self._detail = value

    def fit_detail(self, groups: Any, mask: npt.ArrayLike | None = None) -> bool:
        """Estimate how much of the mean residual of a group is detail of its state.

        Residuals of one group have in common the part of its state that the codes do
        not contain. The rest is noise and detail of nuisances; its mean decreases with
        the number of instances. An analysis of variance separates the two for each
        pixel. The gain in `redatum` is the best linear gain. It is shrunk towards a
        common value if there are few groups, and multiplied by a factor of at most 1,
        which leave-one-out cross-validation over groups determines. The gain is 0 if
        the error does not decrease by at least one standard error. See "Detail of the
        state" in the documentation.

        Call it after training, with groups that were not used for training, because
        residuals of training groups are smaller. `symae_keras.training.train` calls it
        with its `validation` groups. Like all redatuming, it assumes that nuisances are
        independent of groups.

        Args:
            groups: `symae_keras.data.GroupedData` with its masks, or an array
                `(groups, instances, *instance_shape)`. With fewer than five groups, the
                result is always False.
            mask: Mask of an array, see `encode`. Defaults to `None`.

        Returns:
            Whether the detail helps. If True, `detail` is set and `redatum` uses it
            from now on. Otherwise, `detail` is `None`.

        Raises:
            InputError: Residuals are NaN or infinite.

        Example:
        >>> import numpy as np
        >>> from symae_keras.models import SymAE
        >>> rng = np.random.default_rng(0)
        >>> noise, state = rng.normal(size=(40, 6, 32)), rng.normal(size=(40, 1, 32))
        >>> model = SymAE(instance_shape=(32,), coherent_dim=2, nuisance_dim=2)
        >>> model.fit_detail(noise), model.fit_detail(state + noise)
        (False, True)
        >>> bool(0.35 < model.detail.mean() < 0.65)
        True
        """
        x, mask = self._arrays(groups, mask)
        if mask is not None:
            mask = np.asarray(ops.convert_to_numpy(mask), bool)
        some = _detail.some_groups(ops.convert_to_numpy(x), mask)
        found = _detail.residuals(self, *some)
        if not np.isfinite(found.squares).all():
            raise InputError(
                "fit_detail expects finite residuals, but these groups have residuals "
                "that are NaN or infinite in unmasked pixels. Mask these pixels."
            )
        fitted = _detail.fit_reliability(found)
        self.detail = None if fitted is None else fitted.reshape(self.instance_shape)
        return fitted is not None

    def _missed(self, x: Tensor, mask: Tensor | None, codes: Codes) -> Tensor:
        """Return the detail of each group, `(batch, *instance_shape)`."""
        residual = x - ops.cast(self.decode(*codes), x.dtype)
        good = ops.ones_like(residual, dtype="bool")
        if mask is not None:
            mask = ops.cast(mask, "bool")
            if len(mask.shape) == 2:
                mask = _over_pixels(mask, len(self.instance_shape))
            good = ops.logical_and(good, mask)
        count = ops.sum(ops.cast(good, residual.dtype), axis=1)
        # Bad pixels may be NaN, which a weight of 0 would not remove.
        total = ops.sum(ops.where(good, residual, ops.zeros_like(residual)), axis=1)
        count = ops.maximum(count, 1.0)
        reliability = ops.convert_to_tensor(self._detail, dtype=residual.dtype)
        return _detail.gain(reliability, count) * total / count

    # === Keras protocol ===

    def save_own_variables(self, store: Any) -> None:
        """Save the weights of the model itself, and `detail` if there is one."""
        super().save_own_variables(store)
        if self._detail is not None:
            store[_DETAIL] = self._detail

    def load_own_variables(self, store: Any) -> None:
        """Load the weights of the model itself, and their `detail`.

        Files of older versions have no `detail`.
        """
        own = {key: store[key] for key in store.keys()}
        detail = own.pop(_DETAIL, None)
        super().load_own_variables(own)
        self.detail = None if detail is None else np.asarray(detail)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Tensor | None:
        """Return the mask of the reconstruction, so that losses skip absent instances.

        Its axes of length 1 correspond to the pixel axes. Keras removes the last one,
        which losses reduce.
        """
        mask = self._unpack(inputs)[1]
        if mask is None:
            return None
        present = self._present(ops.cast(mask, "bool"))
        return _over_pixels(present, len(self.instance_shape))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        if isinstance(input_shape, Mapping):
            input_shape = input_shape["instances"]
        return (*input_shape[:2], *self.instance_shape)


class _CarryMask(keras.Layer):
    """Layer that attaches a mask to a tensor, as Keras does for the output of a layer.

    On JAX, `fit` only calls `call` of the outermost model and never its
    `compute_mask`. Without this layer, losses would include padding.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # tensors keep their dtype
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor, mask: Tensor) -> Tensor:
        return inputs


def join(coherent: Tensor, per_instance: Tensor) -> Tensor:
    """Join the group code and the code of each instance to one vector per instance."""
    batch, instances = ops.shape(per_instance)[:2]
    coherent = coherent[:, None, :]
    repeated = ops.broadcast_to(coherent, (batch, instances, coherent.shape[-1]))
    return ops.concatenate([repeated, per_instance], axis=-1)


def n_present(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the number of present instances in a batch, at least 1, in float32."""
    if mask is None:
        return ops.cast(ops.prod(ops.shape(x)[:2]), "float32")
    return ops.maximum(ops.sum(ops.cast(mask, "float32")), 1.0)


def _over_pixels(mask: Tensor, axes: int) -> Tensor:
    return ops.reshape(mask, (*ops.shape(mask), *(1,) * axes))


def flat(features: Tensor) -> Tensor:
    """Reshape features of any shape to one vector per instance."""
    size = math.prod(features.shape[2:])
    return ops.reshape(features, (*ops.shape(features)[:2], size))
