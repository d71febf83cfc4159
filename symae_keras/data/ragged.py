"""Groups of unequal size without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Self

import numpy as np

from symae_keras.data._rows import pad_rows
from symae_keras.data.describe import Description, describe, sizes
from symae_keras.data.groups import Array, GroupedData, Parameters
from symae_keras.data.split import KnownGroups
from symae_keras.errors import InputError

#: Padded arrays may take this much memory, or `PADDED_TIMES` the memory of the data.
PADDED_BYTES: Final = 1 << 30
PADDED_TIMES: Final = 4
#: Memory that `sample` fills by default.
SAMPLE_BYTES: Final = 256 << 20
#: Memory that `describe` fills; it needs several times as much.
DESCRIBED_BYTES: Final = 64 << 20


class UnevenGroups(InputError):
    """Error for groups whose padding would take too much memory.

    Args:
        sentence: The message: the largest group, its size, and what to do.
        groups: The groups without padding; `batches` and `train` accept them.
    """

    def __init__(self, sentence: str, groups: RaggedGroups) -> None:
        super().__init__(sentence)
        self.groups = groups


class RaggedGroups(KnownGroups):
    """Base class of groups without padding: `Shards` on disk, `RaggedRows` in memory.

    They replace `GroupedData` in `batches` and training. Selecting groups copies
    nothing. A subclass sets the attributes below, calls `_choose`, and defines
    `_record`, `_rows_of` and `ids`.
    """

    axis: Array | None
    axis_label: str
    #: Shape of one instance.
    instance_shape: tuple[int, ...]
    #: Bytes of one instance, including its pixel mask and weights.
    instance_bytes: int
    #: Whether there are pixel masks, and weights.
    has_pixel_mask: bool
    has_weights: bool
    #: Instances of all groups, including groups that are not selected.
    _counts: Array

    def _record(self, group: int) -> dict[str, Array]:
        """Return `x`, `pixel_mask` and `weights` of all instances of one group."""
        raise NotImplementedError

    def _rows_of(
        self, counts: Array, place: Array
    ) -> tuple[dict[str, Array], Parameters]:
        """Return the fields of `_record` and the metadata of some instances.

        The arrays `(rows, ...)` hold `counts (groups,)` instances of each selected
        group, one group after the other. `place (rows,)` is the index of each instance
        in its group.
        """
        raise NotImplementedError

    def _choose(self, chosen: Array) -> None:
        """Select groups, and compute the attributes that batches use repeatedly."""
        self._chosen = chosen
        #: Instances of each group, `(groups,)`.
        self.counts: Array = self._counts[chosen]
        #: Instances of the largest group.
        self.n_instances = int(self.counts.max(initial=0))
        #: 0 if nothing is masked, 1 if instances are masked, 2 if pixels are masked.
        self.masks = 2
        if not (self.has_pixel_mask or self.has_weights):
            self.masks = int((self.counts < self.n_instances).any())

    def __repr__(self) -> str:
        return (
            f"{len(self)} groups of {sizes(self.counts, self.n_instances)} of shape "
            f"{self.instance_shape}"
        )

    # === Sizes and masks ===

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def present(self) -> Array:
        """True = present, `(groups, instances)`; padding comes last."""
        return np.arange(self.n_instances) < self.counts[:, None]

    @property
    def mean_weight(self) -> float | None:
        """Mean weight of good pixels in a sample, or `None` without weights."""
        return self.sample().mean_weight if self.has_weights else None

    @property
    def group_metadata(self) -> Parameters:
        """Metadata of each group."""
        return {}

    @property
    def known(self) -> Parameters:
        """Metadata of each group."""
        return self.group_metadata

    def describe(self) -> Description:
        """Compute sizes of all groups, and missing values and variances of a sample."""
        return describe(self, self.sample(DESCRIBED_BYTES))

    # === Selection ===

    def __getitem__(self, index: Any) -> Self:
        """Select groups by slice, index array or boolean array; nothing is read."""
        if isinstance(index, (int, np.integer)):
            index = [range(len(self))[index]]
        part = object.__new__(type(self))
        part.__dict__ |= self.__dict__
        part._choose(self._chosen[index])
        return part

    # === Reading ===

    def gather(self, group: Array, place: Array) -> tuple[Array, Array, Array | None]:
        """Return selected instances of selected groups; see `GroupedData.gather`."""
        shape = (*place.shape, *self.instance_shape)
        x = np.zeros(shape, "float32")
        good = np.zeros(shape if self.masks == 2 else place.shape, bool)
        weights = np.zeros(shape, "float32") if self.has_weights else None
        for row, (each, places) in enumerate(zip(group, place, strict=True)):
            record = self._record(int(self._chosen[each]))
            there = places < len(record["x"])
            chosen = places[there]
            x[row, there] = record["x"][chosen]
            good[row, there] = True
            if "pixel_mask" in record:
                good[row, there] &= record["pixel_mask"][chosen]
            if weights is not None:
                weights[row, there] = record["weights"][chosen]
                good[row, there] &= weights[row, there] > 0
        return x, good.reshape(good.shape + (1,) * (x.ndim - good.ndim)), weights

    def load(self) -> GroupedData:
        """Load all selected groups into memory, padded and masked if sizes differ.

        Raises:
            UnevenGroups: Padding would take much more memory than the groups.
        """
        rows = int(self.counts.sum())
        padded = len(self) * self.n_instances * self.instance_bytes
        if padded > max(PADDED_BYTES, PADDED_TIMES * rows * self.instance_bytes):
            largest = int(self.counts.argmax())
            raise UnevenGroups(
                f"{self.called(largest)} has {self.n_instances} instances, but the "
                f"median of the {len(self)} groups is {np.median(self.counts):g}; "
                f"padding to one size would take {_in_units(padded)}, "
                f"{padded / (rows * self.instance_bytes):.0f} times the size of the "
                "data. Split that group or leave out some of its instances; symae "
                "train, symae data describe and symae data convert accept the data "
                "without changes.",
                self,
            )
        return self._padded()

    def sample(self, n_bytes: int = SAMPLE_BYTES, seed: int = 0) -> GroupedData:
        """Load randomly drawn groups that fit into a given amount of memory.

        From very large groups, only some evenly spaced instances are taken, because
        padding the other groups to their size would take most of the memory.

        Args:
            n_bytes: Approximate memory to fill.
            seed: Seed of the draw.
        """
        fit = max(1, n_bytes // self.instance_bytes)
        order = np.random.default_rng(seed).permutation(len(self))
        # All instances of groups of typical size; as many as fit of larger groups.
        usual = int(4 * np.median(self.counts)) if len(self) else 0
        most = min(self.n_instances, max(usual, fit // max(len(self), 1), 1))
        count = min(len(self), max(2, fit // max(most, 1)))
        return self[np.sort(order[:count])]._padded(most)

    def parts(self, n_bytes: int) -> Iterator[tuple[int, GroupedData]]:
        """Iterate over padded parts of consecutive groups; see `GroupedData.parts`."""
        first, largest = 0, 0
        limit = n_bytes // max(1, self.instance_bytes)
        for number, count in enumerate(self.counts.tolist()):
            largest = max(largest, count)
            if number > first and (number + 1 - first) * largest > limit:
                yield first, self[first:number]._padded()
                first, largest = number, count
        if first < len(self):
            yield first, self[first:]._padded()

    def _padded(self, most: int | None = None) -> GroupedData:
        """Return the selected groups, padded, with at most `most` instances each."""
        counts = self.counts if most is None else np.minimum(self.counts, most)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        # Evenly spaced places, or all places if all instances are taken.
        place = within * np.repeat(self.counts, counts) // np.repeat(counts, counts)
        mask = np.arange(counts.max(initial=0)) < counts[:, None]
        rows, known = self._rows_of(counts, place)
        pixels = {key: pad_rows(values, mask) for key, values in rows.items()}
        return GroupedData(
            pixels["x"],
            pixel_mask=pixels.get("pixel_mask"),
            weights=pixels.get("weights"),
            mask=None if mask.all() else mask,
            ids=self.ids,
            group_metadata=self.group_metadata,
            instance_metadata={
                k: pad_rows(values, mask) for k, values in known.items()
            },
            axis=self.axis,
            axis_label=self.axis_label,
        )


class RaggedRows(RaggedGroups):
    """Groups in memory, one row per instance.

    Args:
        x: Instances, shape `(rows, *instance_shape)`, sorted by group.
        counts: Instances of each group, `(groups,)`.
        ids: The name of each group, or `None`.
        pixel_mask: True = good, of the shape of `x`, or `None`.
        weights: Weight of each pixel, of the shape of `x`, or `None`.
        metadata: Metadata of each row, arrays `(rows, ...)`.
        group_metadata: Metadata of each group, arrays `(groups, ...)`.
        axis: Physical value of each pixel.
        axis_label: Name and unit of the axis.

    Raises:
        InputError: An array cannot be used; see `GroupedData`.
    """

    def __init__(
        self,
        x: Array,
        counts: Array,
        ids: Array | None = None,
        *,
        pixel_mask: Array | None = None,
        weights: Array | None = None,
        metadata: Parameters | None = None,
        group_metadata: Parameters | None = None,
        axis: Array | None = None,
        axis_label: str = GroupedData.axis_label,
    ) -> None:
        # Each row is a group of one instance, so that the same checks apply.
        self._rows = rows = GroupedData(
            x[:, None],
            pixel_mask=None if pixel_mask is None else pixel_mask[:, None],
            weights=None if weights is None else weights[:, None],
            instance_metadata={k: v[:, None] for k, v in (metadata or {}).items()},
            axis=axis,
            axis_label=axis_label,
        )
        self._ids = ids
        self._known = dict(group_metadata or {})
        self._counts = counts
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.axis, self.axis_label = rows.axis, axis_label
        self.instance_shape = rows.instance_shape
        self.has_pixel_mask = rows.pixel_mask is not None
        self.has_weights = rows.weights is not None
        self.instance_bytes = max(1, sum(v[0].nbytes for v in self._fields().values()))
        self._choose(np.arange(len(counts)))

    @property
    def ids(self) -> Array | None:
        """The name of each group, `(groups,)`, if they have names."""
        return None if self._ids is None else self._ids[self._chosen]

    @property
    def group_metadata(self) -> Parameters:
        """Metadata of each group."""
        return {key: values[self._chosen] for key, values in self._known.items()}

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._rows.x.dtype

    def _fields(self) -> dict[str, Array]:
        names = ("x", "pixel_mask", "weights")
        fields = {name: getattr(self._rows, name) for name in names}
        return {key: v[:, 0] for key, v in fields.items() if v is not None}

    def _record(self, group: int) -> dict[str, Array]:
        own = slice(self._starts[group], self._starts[group + 1])
        return {key: values[own] for key, values in self._fields().items()}

    def _rows_of(
        self, counts: Array, place: Array
    ) -> tuple[dict[str, Array], Parameters]:
        rows = np.repeat(self._starts[self._chosen], counts) + place
        known = self._rows.instance_metadata
        return (
            {key: values[rows] for key, values in self._fields().items()},
            {key: values[rows, 0] for key, values in known.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[GroupedData]) -> Self:
        """Join padded parts without true parameters, and remove the padding."""
        first = parts[0]

        def join(select: Any) -> Any:
            if select(first) is None:
                return None
            return np.concatenate([select(each)[each.present] for each in parts])

        return cls(
            join(lambda each: each.x),
            np.concatenate([each.present.sum(axis=1) for each in parts]),
            None if first.ids is None else np.concatenate([each.ids for each in parts]),
            pixel_mask=join(lambda each: each.pixel_mask),
            weights=join(lambda each: each.weights),
            metadata={
                key: join(lambda each, key=key: each.instance_metadata[key])
                for key in first.instance_metadata
            },
            group_metadata={
                key: np.concatenate([each.group_metadata[key] for each in parts])
                for key in first.group_metadata
            },
            axis=first.axis,
            axis_label=first.axis_label,
        )


def _in_units(n_bytes: float) -> str:
    """Return a number of bytes as text with a suitable unit."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.3g} {unit}"
