"""Split of groups into a training set and a held-out set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from symae_keras.data._arrays import Array, metadata
from symae_keras.errors import InputError


class KnownGroups:
    """Base class of containers of groups with metadata.

    A subclass defines a length, indexing by a boolean array, and the attributes below.
    """

    #: The name of the state of each group, or `None`.
    ids: Any
    #: Present instances of each group, `(groups,)`.
    counts: Any
    #: Instances of the largest group, or instances per group including padding.
    n_instances: Any
    #: Shape of one instance.
    instance_shape: Any

    @property
    def known(self) -> Mapping[str, Array]:
        """State and metadata of each group, by name."""
        raise NotImplementedError

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self)

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: Any) -> Self:
        raise NotImplementedError

    def called(self, number: int, first: int = 0) -> str:
        """Return the name of a group for messages: its number, and its id if present.

        Args:
            number: Index of the group in this object.
            first: Number of the first group of this object in the data of the user.

        Example:
        >>> from symae_keras.data import group_by
        >>> group_by(np.ones((3, 4)), ["sun", "moon", "sun"]).called(1)
        "group 1 (id 'sun')"
        """
        ids = self.ids
        return group_name(first + number, None if ids is None else ids[number])

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        """Raise an error instead of converting groups to an array.

        Without this method, NumPy and Keras would convert one group after another. Each
        group is again a set of groups, so the conversion would never end.
        """
        name = type(self).__name__
        raise InputError(
            f"{name} is a set of groups with masks and cannot be converted to an "
            "array. Use its field `x` (for shards, `shards.load().x`). The methods "
            "`encode`, `reconstruct` and `redatum` of models, and "
            "`symae_keras.training.train`, accept the object itself."
        )

    def classes(self, key: str | npt.ArrayLike) -> Array:
        """Return the class of each group, for balancing or stratification.

        Args:
            key: A name in `known`, or an array `(groups,)`. Missing values form a
                class.

        Raises:
            InputError: The groups have no state parameter or metadata of that name.
        """
        if not isinstance(key, str):
            return metadata("the array of classes", key)
        known = self.known
        if key not in known:
            raise InputError(
                f"The groups have no state parameter or metadata {key!r}; they have "
                f"{', '.join(sorted(known)) or 'none'}."
            )
        return known[key]

    def split(
        self,
        train: float = 0.8,
        seed: int = 0,
        stratify: str | npt.ArrayLike | None = None,
    ) -> tuple[Self, Self]:
        """Split groups by state; the instances of a group stay together.

        Groups with the same id stay together, too.

        Args:
            train: Fraction of the states in the first part, between 0 and 1.
            seed: Seed of the permutation.
            stratify: The class of each group: a name in `known`, or an array
                `(groups,)`. Both parts then have the same share of each class. Defaults
                to `None`: one draw from all states.

        Returns:
            Two objects of the same type, neither of them empty.

        Raises:
            InputError: `train` is not between 0 and 1, there are fewer than two states,
                or `stratify` does not give one class to each state.
        """
        if not 0.0 < train < 1.0:
            raise InputError(f"train must be between 0 and 1; received {train}.")
        names = np.arange(len(self)) if self.ids is None else np.asarray(self.ids)
        states, first_group, which = np.unique(
            names, return_index=True, return_inverse=True
        )
        if len(states) < 2:
            raise InputError(
                f"A split needs at least two states; received {len(states)}."
            )
        order = np.random.default_rng(seed).permutation(len(states))
        kind_of_state = np.zeros(len(states), int)
        if stratify is not None:
            classes = self.classes(stratify)
            kind_of_state = _class_numbers(names, classes, first_group, which)
        # A class with one state cannot be on both sides; it goes to the first part.
        chosen = [
            members[: _share(len(members), train)]
            for members in (
                order[kind_of_state[order] == kind] for kind in np.unique(kind_of_state)
            )
        ]
        first = np.isin(which, np.concatenate(chosen))
        return self[first], self[~first]


def group_name(number: int, name: Any = None) -> str:
    """Return the group number, and the id if present, for messages."""
    return f"group {number}" if name is None else f"group {number} (id {str(name)!r})"


def _class_numbers(
    names: Array, classes: Array, first_group: Array, which: Array
) -> Array:
    """Return the class number of each state, and check that it is unique."""
    if classes.shape != names.shape:
        raise InputError(
            f"stratify must give a class to each of the {len(names)} groups; received "
            f"shape {classes.shape}."
        )
    # Compare class numbers, because NaN can be a class, but is not equal to itself.
    number = np.unique(classes, return_inverse=True)[1]
    of_state: Array = number[first_group]
    other = of_state[which] != number
    if other.any():
        group = int(np.argmax(other))
        raise InputError(
            f"Groups of the state {names[group]} are in the classes "
            f"{classes[first_group][which][group]} and {classes[group]}; all groups of "
            "a state must be in the same class."
        )
    if np.bincount(of_state).max() < 2:
        raise InputError(
            f"stratify gives each of the {len(of_state)} states a different class; at "
            "least one class must contain two or more states."
        )
    return of_state


def _share(count: int, fraction: float) -> int:
    """Return the size of the first part; neither part is empty if `count` >= 2."""
    return min(max(round(fraction * count), 1), max(count - 1, 1))
