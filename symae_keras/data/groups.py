"""The container that every reader, simulator and evaluation in this package shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from symae_keras.errors import InputError

Array = npt.NDArray[Any]
Parameters = Mapping[str, Array]
Render = Callable[[Parameters, Parameters], Array]


# eq=False: comparing arrays field by field has no single truth value.
@dataclasses.dataclass(frozen=True, eq=False)
class GroupedData:
    """Instances gathered in groups; the instances of a group share one hidden state.

    Args:
        x: Instances, shape `(groups, instances, *instance_shape)`, channels last.
            Integer data are converted to float32, unscaled.
        mask: Shape `(groups, instances)`, True = present. `None` means that all are.
        state: True parameters of each group, arrays `(groups, ...)`; simulators only.
        nuisance: True parameters of each instance, arrays `(groups, instances, ...)`;
            simulators only.
        ids: The name of each group, shape `(groups,)`.
        axis: Physical value of each pixel, shape `(pixels,)`.
        axis_label: What the axis is, with its unit: "wavelength (nm)".
        render: Function of state and nuisance parameters (dicts of arrays with one
            common leading axis) that returns the exact noiseless instances.

    Raises:
        InputError: An array has the wrong rank or does not fit the others.

    Example:
    >>> groups = GroupedData(np.zeros((3, 5, 64), "float32"))
    >>> groups.n_groups, groups.n_instances, groups.instance_shape
    (3, 5, (64,))
    >>> groups[:2].n_groups
    2
    """

    x: Array
    mask: Array | None = None
    state: Parameters = dataclasses.field(default_factory=dict)
    nuisance: Parameters = dataclasses.field(default_factory=dict)
    ids: Array | None = None
    axis: Array | None = None
    axis_label: str = "pixel"
    render: Render | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        x = np.asarray(self.x)
        if x.ndim < 3:
            raise InputError(
                "x must have the axes (groups, instances, *instance_shape), at least "
                f"three; received shape {x.shape}. Flat data go through "
                "`group_by(x, ids)`."
            )
        if x.dtype.kind not in "buif":
            raise InputError(f"x must hold real numbers; received dtype {x.dtype}.")
        if x.dtype.kind != "f":
            x = x.astype("float32")
        object.__setattr__(self, "x", x)
        if self.mask is not None:
            mask = np.asarray(self.mask)
            if mask.shape != x.shape[:2]:
                raise InputError(
                    "mask must have the shape (groups, instances) of x, here "
                    f"{x.shape[:2]}; received {mask.shape}."
                )
            # astype(bool) alone would turn the text "False" and NaN into True.
            if mask.dtype.kind not in "buif" or not np.isin(mask, (0, 1)).all():
                raise InputError(
                    "mask must hold True (present) and False, or 1 and 0; received "
                    f"other values of dtype {mask.dtype}."
                )
            object.__setattr__(self, "mask", mask.astype(bool))
        for name, leading in (("state", 1), ("nuisance", 2)):
            for key, value in getattr(self, name).items():
                if np.shape(value)[:leading] != x.shape[:leading]:
                    raise InputError(
                        f"{name}[{key!r}] must start with the axes "
                        f"{x.shape[:leading]}; received shape {np.shape(value)}."
                    )
        if self.ids is not None and len(self.ids) != len(x):
            raise InputError(
                f"ids must name each of the {len(x)} groups; received {len(self.ids)}."
            )
        if self.axis is not None and np.shape(self.axis) != x.shape[2:3]:
            raise InputError(
                f"axis must have the shape (pixels,), here {x.shape[2:3]}; received "
                f"{np.shape(self.axis)}."
            )

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.x.shape[0])

    @property
    def n_instances(self) -> int:
        """Instances a group, padding included."""
        return int(self.x.shape[1])

    @property
    def instance_shape(self) -> tuple[int, ...]:
        """Shape of one instance."""
        return tuple(int(n) for n in self.x.shape[2:])

    @property
    def present(self) -> Array:
        """The mask, all True where there is none; shape `(groups, instances)`."""
        if self.mask is None:
            return np.ones(self.x.shape[:2], bool)
        return self.mask

    @property
    def present_pixels(self) -> Array:
        """`present` with an axis of length 1 for each pixel axis, to go with `x`."""
        axes = (1,) * len(self.instance_shape)
        return self.present.reshape(self.present.shape + axes)

    def __len__(self) -> int:
        return self.n_groups

    def __getitem__(self, index: Any) -> GroupedData:
        """Select groups by slice, index array or boolean array."""
        if isinstance(index, (int, np.integer)):
            # IndexError past the end is also what stops a `for` loop over the groups.
            index = [range(self.n_groups)[index]]
        return dataclasses.replace(
            self,
            x=self.x[index],
            mask=None if self.mask is None else self.mask[index],
            state={k: v[index] for k, v in self.state.items()},
            nuisance={k: v[index] for k, v in self.nuisance.items()},
            ids=None if self.ids is None else np.asarray(self.ids)[index],
        )

    def take_instances(self, index: Any) -> GroupedData:
        """Select along the instance axis, the same places in every group.

        Args:
            index: Slice, index array or boolean array over the instances.

        Returns:
            The same groups with fewer (or reordered) instances.
        """
        return dataclasses.replace(
            self,
            x=self.x[:, index],
            mask=None if self.mask is None else self.mask[:, index],
            nuisance={k: v[:, index] for k, v in self.nuisance.items()},
        )

    def split(
        self, train: float = 0.8, seed: int = 0
    ) -> tuple[GroupedData, GroupedData]:
        """Split by state, never by row: a group is on one side as a whole.

        Groups that carry the same id stay together.

        Args:
            train: Fraction of the states in the first part, between 0 and 1.
            seed: Seed of the permutation.

        Returns:
            Two `GroupedData`, neither of them empty.

        Raises:
            InputError: `train` is not inside (0, 1) or there are fewer than two states.
        """
        if not 0.0 < train < 1.0:
            raise InputError(f"train must be between 0 and 1; received {train}.")
        names = np.arange(self.n_groups) if self.ids is None else np.asarray(self.ids)
        states, which = np.unique(names, return_inverse=True)
        if len(states) < 2:
            raise InputError(
                f"A split needs at least two states; received {len(states)}."
            )
        order = np.random.default_rng(seed).permutation(len(states))
        n_train = min(max(round(train * len(states)), 1), len(states) - 1)
        first = np.isin(which.reshape(-1), order[:n_train])
        return self[first], self[~first]

    def virtual(self, state: Any, group: Any, instance: Any) -> Array:
        """Exact noiseless instance: a state under the nuisance of a given exposure.

        Args:
            state: Group index whose state is shown.
            group: Group index whose nuisance is used.
            instance: Instance index, inside `group`, whose nuisance is used.
                The three index arrays broadcast against each other.

        Returns:
            float32 array of the broadcast shape followed by `instance_shape`.

        Raises:
            InputError: The data were measured, not simulated, so there is no truth.
        """
        if self.render is None:
            raise InputError(
                "These groups have no exact virtual instances: only simulated data do."
            )
        state, group, instance = np.broadcast_arrays(state, group, instance)
        rows = self.render(
            {k: v[state.ravel()] for k, v in self.state.items()},
            {k: v[group.ravel(), instance.ravel()] for k, v in self.nuisance.items()},
        )
        return rows.reshape(*state.shape, *self.instance_shape)


def check_counts(n_states: int, n_instances: int) -> None:
    """Refuse to simulate fewer than one state or one instance."""
    if n_states < 1 or n_instances < 1:
        raise InputError(
            "n_states and n_instances must be at least 1; "
            f"received {n_states} and {n_instances}."
        )
