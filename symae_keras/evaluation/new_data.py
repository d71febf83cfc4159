"""Detection of groups and instances outside the training distribution."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np

from symae_keras._utils.arrays import in_batches, to_numpy
from symae_keras._utils.validation import number
from symae_keras.data.check import clean
from symae_keras.data.groups import Array, GroupedData
from symae_keras.data.split import group_name
from symae_keras.errors import InputError
from symae_keras.evaluation._conformal import p_values

#: Names of the reasons in messages.
REASONS: Final = {
    "state": "new state",
    "nuisance": "new nuisance",
    "shift": "shift along the axis",
    "gain": "gain",
    "grouping": "wrong grouping",
}
#: With fewer groups, no p-value can reach 0.05.
MIN_GROUPS: Final = 19
_MOST_GROUPS: Final = 512
_MOST_CODES: Final = 4096
_NEIGHBOURS: Final = 5
#: Shrinkage of correlations, which makes them invertible for collapsed latents.
_SHRINKAGE: Final = 1e-3
_MOST_NAMED: Final = 5
#: Below this share of the variance, residuals are rounding errors.
_ROUNDING: Final = 1e-10
_OF_RESIDUALS: Final = ("shift", "gain", "residual")
#: Reasons of unusual groups and instances.
_CAUSES: Final = ("state", "nuisance", "grouping", "shift", "gain")
#: Divisor of the scores of shift and gain that explain little of the residual: any
#: other change also looks a little like them.
_DOUBT: Final = 5.0
#: Scores that exceed all held-out ones by this factor are reported even if there are
#: too few groups for a small p-value.
_FAR: Final = 3.0
#: Below this share, a residual is not called a shift or a gain.
_EXPLAINED: Final = 0.25
#: Below this probability, the number of small p-values is not due to chance.
_CHANCE: Final = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class NewDataCheck:
    """Conformal p-values of groups and instances, with reasons.

    A p-value is the share of held-out groups that are at least as unusual. Flagging `p
    <= 0.05` therefore raises a false alarm for about 5 % of the groups, if they are
    drawn from the same distribution as the held-out groups.

    Attributes:
        group_p: p-value of each group, `(groups,)`.
        instance_p: p-value of each instance, `(groups, instances)`, NaN where absent.
        group_score: Unusualness of each group, 1 for the most unusual held-out group.
        odd_instance: The instance that makes the group unusual, or -1 if all of them
            do, `(groups,)`.
        group_reason: `"state"`, `"nuisance"`, `"shift"`, `"gain"` or `"grouping"` for
            each group, `(groups,)`. It is meaningful where the p-value is small.
        instance_reason: The same for each instance, `(groups, instances)`.
        group_p_of: p-values of the groups by test, see `NewData`.
        instance_p_of: p-values of the instances by test; there are none for the state.
        shift: Shift of each instance along the axis that would minimise its residual,
            in pixels, `(groups, instances, axes)`.
        gain: Factor that would minimise its residual, `(groups, instances)`.
        explained: Share of the squared residual that shift and gain explain,
            `(groups, instances)`.
        floor: Smallest p-value that is possible with the held-out groups, `1 / (n +
            1)`.
        ids: Names of the groups, or `None`.
    """

    group_p: Array
    instance_p: Array
    group_score: Array
    odd_instance: Array
    group_reason: Array
    instance_reason: Array
    group_p_of: dict[str, Array]
    instance_p_of: dict[str, Array]
    shift: Array
    gain: Array
    explained: Array
    floor: float
    ids: Array | None = None

    def warnings(self, limit: float = 0.01) -> list[str]:
        """Describe unusual groups and instances in sentences.

        Nothing is reported if chance can explain the number of small p-values, unless a
        score is more than three times the largest score of the held-out groups.

        Args:
            limit: Largest p-value that is reported. If `floor` is larger, it is used
                instead. Defaults to 0.01.

        Returns:
            One sentence per group, at most five, and one that compares their number
            with the number expected by chance. An empty list if nothing is unusual.
        """
        number("limit", limit, "0 < limit < 1", lambda value: 0.0 < value < 1.0)
        limit = max(limit, self.floor)
        n, strange = int(np.isfinite(self.group_p).sum()), self.group_p <= limit
        found = int(strange.sum())
        if _by_chance(found, n, limit) > _CHANCE:
            strange = strange & (self.group_score > _FAR)
        chosen = np.flatnonzero(strange)
        order = np.argsort(-self.group_score[chosen], kind="stable")[:_MOST_NAMED]
        sentences = [self._sentence(int(i)) for i in chosen[order]]
        if sentences and n > 1:
            sentences.append(
                f"{found} of {n} groups have p <= {limit:.2g}; {limit * n:.1f} are "
                "expected by chance."
            )
        return sentences

    def _sentence(self, i: int) -> str:
        reason, there = str(self.group_reason[i]), np.isfinite(self.instance_p[i])
        if self.odd_instance[i] >= 0:
            there = np.arange(len(there)) == self.odd_instance[i]
        text = REASONS[reason]
        explained = float(self.explained[i][there].mean())
        if reason in ("shift", "gain") and self._is_unlike(i, explained):
            text = (
                f"another shape, of which shift and gain explain only {explained:.0%}"
            )
        elif reason == "shift":
            mean = self.shift[i][there].mean(axis=0)
            text += f" by about {', '.join(f'{each:+.2g}' for each in mean)} pixels"
        elif reason == "gain":
            text += f" of about {self.gain[i][there].mean():.3g}"
        if self.odd_instance[i] >= 0:
            text += f" in instance {self.odd_instance[i]}"
        name = group_name(i, None if self.ids is None else self.ids[i])
        least = ", the smallest possible" if self.group_p[i] <= self.floor else ""
        return (
            f"{name} is unlike the held-out groups: {text} "
            f"(p = {self.group_p[i]:.2g}{least})."
        )

    def _is_unlike(self, i: int, explained: float) -> bool:
        """Return whether shift and gain leave most of an unusually large residual."""
        return explained < _EXPLAINED and self.group_p_of["residual"][i] <= self.floor


class NewData:
    """Detector of data outside the training distribution.

    It is calibrated on held-out groups. For each group and each instance, the detector
    computes six scores of unusualness:

    - `"state"`: distance of the coherent code to its nearest neighbours.
    - `"nuisance"`: the same for nuisance codes.
    - `"shift"`: shift along the axis that would minimise the residual, by least squares
      with the derivative of the reconstruction.
    - `"gain"`: factor that would minimise the residual, by least squares.
    - `"grouping"`: distance between the coherent code of one instance alone and those
      of the other instances of its group.
    - `"residual"`: the residual after correction of shift and gain, split into the part
      that all instances of the group share and the remainder.

    Each score is divided by its scale among the held-out groups, and the largest is
    compared with the largest of each held-out group. The result is a conformal p-value,
    which is valid for any distribution if the held-out groups are new to the model.
    Groups are exchangeable, but instances of one group are not, so that the smallest
    p-value for `n` held-out groups is `1 / (n + 1)`. The reason for a small p-value is
    the largest of the first five scores; a residual can have any of these reasons.
    Those of shift and gain are divided by 5 if both together explain less than a
    quarter of the residual, because other changes also look a little like them.

    A model can absorb a part of a shift or gain into its codes, so that both may be
    underestimated.

    Attributes:
        n_groups: Number of held-out groups.

    Reference:
        - [Laxhammar & Falkman, Conformal prediction for distribution-independent
          anomaly detection in streaming vessel data,
          2010](https://doi.org/10.1145/1833280.1833287)
        - [Lee, Barber & Willett, Distribution-free inference with hierarchical data,
          2023](https://arxiv.org/abs/2306.06342)

    Example:
    >>> from symae_keras.classical import GroupedPCA
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=240, n_instances=4, seed=0)
    >>> train, held_out, new = groups[:100], groups[100:220], groups[220:]
    >>> detector = NewData.fit(GroupedPCA().fit(train), held_out)
    >>> brighter = GroupedData(1.3 * new.x)
    >>> check = detector.check(brighter)
    >>> check.group_reason[0].item(), bool(check.group_p.max() < 0.05)
    ('gain', True)
    """

    def __init__(self, model: Any, groups: GroupedData) -> None:
        self._model = model
        self.n_groups = len(groups)
        x, good = groups.x, np.broadcast_to(groups.good_pixels, groups.x.shape)
        residual = in_batches(model.reconstruct, x, groups.model_mask) - x
        squares = (residual**2).sum(axis=(0, 1), where=good, dtype="float64")
        counts = good.sum(axis=(0, 1))
        variance = squares / counts.clip(1)
        seen = variance[counts > 0].mean()
        # The floor prevents infinite weights of pixels without residual.
        smallest = max(1e-3 * seen, np.finfo("float32").tiny)
        self._variance = np.where(counts > 0, variance, seen).clip(smallest)
        # The residuals of a model that copies instances are only rounding errors.
        mean = x.sum(axis=(0, 1), where=good, dtype="float64")
        mean /= counts.clip(1)
        self._has_residual = seen > _ROUNDING * np.mean((x - mean) ** 2, where=good)
        found = self._measured(groups)
        present = groups.present
        self._states = _Neighbours(found["coherent"], np.arange(len(groups)))
        codes, of_group = found["nuisance"][present], np.nonzero(present)[0]
        few = np.arange(len(codes))
        if len(codes) > _MOST_CODES:
            few = np.random.default_rng(0).permutation(len(codes))[:_MOST_CODES]
        self._nuisances = _Neighbours(codes[few], of_group[few])
        self._alone = _Whitening(found["alone"], present)
        scores = self._scores(groups, found, own=True)
        self._scales = {name: _scale(values) for name, values in scores.items()}
        self._calibration = _by_size(self._standardized(scores))

    @classmethod
    def fit(cls, model: Any, groups: GroupedData) -> Self:
        """Calibrate a detector.

        Args:
            model: A model with `encode`, `decode` and `reconstruct` for groups, such as
                `SymAE`.
            groups: Held-out groups: normal data that the model was not trained on. If
                there are more than 512 groups, 512 are drawn.

        Returns:
            The detector.

        Raises:
            InputError: There are fewer than 19 groups, so no p-value can be 0.05.
        """
        if len(groups) < MIN_GROUPS:
            raise InputError(
                f"The detection of new data needs at least {MIN_GROUPS} held-out "
                f"groups, so that p-values can reach 0.05; received {len(groups)}; "
                "hold out more groups."
            )
        if len(groups) > _MOST_GROUPS:
            rng = np.random.default_rng(0)
            groups = groups[np.sort(rng.permutation(len(groups))[:_MOST_GROUPS])]
        return cls(model, groups)

    def check(self, groups: GroupedData) -> NewDataCheck:
        """Compute p-values of groups and instances.

        Args:
            groups: Any groups of instances of the shape that the model takes.

        Returns:
            A `NewDataCheck`.

        Raises:
            InputError: A value is NaN or infinite; mask it.
        """
        groups = clean(groups, "the new data")
        found = self._measured(groups)
        scores = self._scores(groups, found)
        of_groups, of_instances = _by_size(self._standardized(scores))
        group_z, instance_z = _largest(of_groups), _largest(of_instances)
        of_group, of_instance = map(_largest, self._calibration)
        explained = found["explained"]
        shares = np.where(groups.present, explained, 0.0).sum(axis=1)
        shares /= groups.present.sum(axis=1).clip(1)
        group_reason, group_test, odd = _reasons(of_groups, shares)
        place = np.full(len(groups), -1)
        for (test, _), z in of_instances.items():
            here = odd & (group_test == test)
            place[here] = np.nan_to_num(z[here], nan=-np.inf).argmax(axis=1)
        return NewDataCheck(
            group_p=p_values(of_group[:, None], group_z),
            instance_p=p_values(of_instance, instance_z),
            group_score=group_z / np.nanmax(of_group),
            odd_instance=place,
            group_reason=group_reason,
            instance_reason=_reasons(of_instances, explained)[0],
            group_p_of=self._p_of(0, of_groups),
            instance_p_of=self._p_of(1, of_instances),
            shift=found["shift"],
            gain=1.0 + found["gain"],
            explained=explained,
            floor=1.0 / (1.0 + self.n_groups),
            ids=groups.ids,
        )

    def _p_of(self, which: int, z: dict[tuple[str, str], Array]) -> dict[str, Array]:
        """Return p-values by test."""
        tests = dict.fromkeys(test for test, _ in z)

        def largest(of: dict[tuple[str, str], Array], test: str) -> Array:
            return _largest({k: v for k, v in of.items() if k[0] == test})

        known = self._calibration[which]
        return {
            test: p_values(
                largest(known, test).reshape(self.n_groups, -1), largest(z, test)
            )
            for test in tests
        }

    # === Statistics ===

    def _measured(self, groups: GroupedData) -> dict[str, Array]:
        """Return codes and properties of residuals."""
        names = (
            *("coherent", "nuisance", "alone", "gain", "shift", "explained"),
            *("common", "rest"),
        )
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)
        values = in_batches(self._batch, groups.x, groups.model_mask, good)
        return dict(zip(names, values, strict=True))

    def _batch(self, x: Array, mask: Array | None, good: Array) -> tuple[Array, ...]:
        n_groups, n_instances = x.shape[:2]
        coherent, nuisance = map(to_numpy, self._model.encode(x, mask))
        decoded = to_numpy(self._model.decode(coherent, nuisance))
        singles = None
        if mask is not None:
            singles = mask.reshape(-1, 1, *mask.shape[2:])
        alone = self._model.encode(x.reshape(-1, 1, *x.shape[2:]), singles)[0]
        alone = to_numpy(alone).reshape(n_groups, n_instances, -1)

        weights = (good / self._variance).reshape(n_groups, n_instances, -1)
        residual = np.where(good, x - decoded, 0.0).reshape(weights.shape)
        changes = [decoded, *_shifts(decoded)]
        columns = np.stack([each.reshape(weights.shape) for each in changes], axis=2)
        weighted = columns * weights[:, :, None]
        normal = np.einsum("gtkp,gtlp->gtkl", weighted, columns, optimize=True)
        right = np.einsum("gtkp,gtp->gtk", weighted, residual, optimize=True)
        fit = _solve(normal, right)
        rest = residual - np.einsum("gtk,gtkp->gtp", fit, columns, optimize=True)
        rest = rest * np.sqrt(weights)
        total = (residual**2 * weights).sum(axis=2).clip(np.finfo("float32").tiny)
        explained = 1.0 - (rest**2).sum(axis=2) / total

        present = good.reshape(weights.shape).any(axis=2)
        counts = present.sum(axis=1).clip(1)
        pixels = (weights > 0).sum(axis=2).clip(1)
        mean = rest.sum(axis=1) / counts[:, None]
        common = counts * (mean**2).sum(axis=1) / pixels.max(axis=1)
        others = (rest - mean[:, None]) ** 2 * (weights > 0)
        free = counts / (counts - 1.0).clip(1.0)
        individual = free[:, None] * others.sum(axis=2) / pixels
        individual[counts < 2] = np.nan
        found = (coherent, nuisance, alone, fit[..., 0], fit[..., 1:], explained)
        return tuple(
            np.asarray(each, "float32") for each in (*found, common, individual)
        )

    def _scores(
        self, groups: GroupedData, found: dict[str, Array], own: bool = False
    ) -> dict[tuple[str, str], Array]:
        """Return the unusualness of groups and instances, by test and property."""
        present = groups.present
        counts = present.sum(axis=1).clip(1)

        def masked(values: Array) -> Array:
            return np.where(present, values, np.nan)

        def mean(values: Array) -> Array:
            extra = (1,) * (values.ndim - 2)
            there = present.reshape(*present.shape, *extra)
            total = np.where(there, values, 0.0).sum(axis=1, dtype="float64")
            return np.asarray(total / counts.reshape(-1, *extra))

        place = np.arange(len(groups))
        of_group = np.broadcast_to(place[:, None], present.shape)
        state = self._states.distances(found["coherent"], place if own else None)
        nuisance = np.full(present.shape, np.nan)
        nuisance[present] = self._nuisances.distances(
            found["nuisance"][present], of_group[present] if own else None
        )
        shift, gain = found["shift"], found["gain"]
        apart = masked(self._alone.disagreement(found["alone"], present))
        apart[counts < 2] = np.nan
        root = np.sqrt(counts)
        single = {
            "nuisance": nuisance,
            "residual": masked(np.sqrt(found["rest"])),
            "shift": masked(np.linalg.norm(shift, axis=-1)),
            "gain": masked(np.abs(gain)),
            "grouping": apart,
        }
        scores = {
            ("state", "code"): state,
            ("nuisance", "mean"): mean(nuisance),
            ("residual", "shared"): np.sqrt(found["common"]),
            ("residual", "mean"): np.sqrt(mean(found["rest"])),
            ("shift", "mean"): root * np.linalg.norm(mean(shift), axis=-1),
            ("gain", "mean"): root * np.abs(mean(gain)),
            **{(test, "worst"): _worst(values) for test, values in single.items()},
            **{(test, "own"): values for test, values in single.items()},
        }
        if self._has_residual:
            return scores
        return {k: v for k, v in scores.items() if k[0] not in _OF_RESIDUALS}

    def _standardized(
        self, scores: dict[tuple[str, str], Array]
    ) -> dict[tuple[str, str], Array]:
        """Return scores in units of their spread among the held-out groups."""
        return {
            name: (values - self._scales[name][0]) / self._scales[name][1]
            for name, values in scores.items()
        }


def _by_size(
    z: dict[tuple[str, str], Array],
) -> tuple[dict[tuple[str, str], Array], dict[tuple[str, str], Array]]:
    """Return the scores of groups and those of instances."""
    groups = {name: values for name, values in z.items() if values.ndim == 1}
    return groups, {name: values for name, values in z.items() if values.ndim == 2}


def _by_chance(found: int, n: int, p: float) -> float:
    """Return the probability of at least `found` events out of `n`."""
    fewer = (math.comb(n, k) * p**k * (1.0 - p) ** (n - k) for k in range(found))
    return 1.0 - sum(fewer) if n < 1000 else float(found <= n * p + 2 * (n * p) ** 0.5)


def _worst(values: Array) -> Array:
    """Return the largest value of each group, NaN if there is none."""
    largest = np.where(np.isfinite(values), values, -np.inf).max(axis=1)
    return np.where(np.isfinite(largest), largest, np.nan)


def _scale(values: Array) -> tuple[float, float]:
    """Return the median, and the distance from it to the 90 % quantile."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    middle, high = np.quantile(known, (0.5, 0.9))
    return float(middle), float(max(high - middle, 1e-6 * abs(middle), 1e-12))


def _largest(of: dict[tuple[str, str], Array]) -> Array:
    """Return the largest score, NaN if there is none."""
    z = np.stack(list(of.values()))
    best = np.where(np.isfinite(z), z, -np.inf).max(axis=0)
    return np.where(np.isfinite(best), best, np.nan)


def _reasons(
    of: dict[tuple[str, str], Array], explained: Array
) -> tuple[Array, Array, Array]:
    """Return reason, test of the largest score, and if it is of one instance."""
    z = np.stack(list(of.values()))
    first = np.where(np.isfinite(z), z, -np.inf).argmax(axis=0)
    tests, whats = np.array(list(of)).T
    causes = np.array([name for name in _CAUSES if name in tests])
    doubt = np.where(explained < _EXPLAINED, _DOUBT, 1.0)
    largest = [
        _largest({k: v for k, v in of.items() if k[0] == name})
        / (doubt if name in ("shift", "gain") else 1.0)
        for name in causes
    ]
    cause = np.nan_to_num(np.stack(largest), nan=-np.inf).argmax(axis=0)
    return causes[cause], tests[first], whats[first] == "worst"


class _Neighbours:
    """Distances to the nearest codes of held-out groups, in standardised units."""

    def __init__(self, codes: Array, of_group: Array) -> None:
        scale = codes.std(axis=0, dtype="float64")
        self._scale = np.where(scale > 1e-6 * scale.max(initial=0.0), scale, np.inf)
        self._codes = codes / self._scale
        self._of_group = of_group

    def distances(self, codes: Array, of_group: Array | None) -> Array:
        """Return mean distances to neighbours in groups other than `of_group`."""
        found = []
        squares = (self._codes**2).sum(axis=1)
        for start in range(0, len(codes), 1024):
            part = codes[start : start + 1024] / self._scale
            squared = (
                (part**2).sum(axis=1)[:, None] + squares - 2 * part @ self._codes.T
            )
            if of_group is not None:
                own = of_group[start : start + 1024, None] == self._of_group
                squared[own] = np.inf
            nearest = np.partition(squared, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS]
            found.append(np.sqrt(nearest.clip(0.0)).mean(axis=1))
        return np.concatenate(found)


class _Whitening:
    """Distances between coherent codes of single instances of one group."""

    def __init__(self, codes: Array, present: Array) -> None:
        apart, _ = _deviations(codes, present)
        rows = apart[present & (present.sum(axis=1) > 1)[:, None]]
        scale = (
            rows.std(axis=0, dtype="float64") if len(rows) else np.ones(apart.shape[2])
        )
        self._scale = np.where(scale > 1e-6 * scale.max(initial=0.0), scale, np.inf)
        rows = rows / self._scale
        correlation = rows.T @ rows / max(len(rows), 1)
        correlation += _SHRINKAGE * np.eye(len(correlation))
        self._inverse = np.linalg.inv(correlation)

    def disagreement(self, codes: Array, present: Array) -> Array:
        """Return distances from the mean of the other instances."""
        apart, counts = _deviations(codes, present)
        apart = apart / self._scale
        squared = np.einsum(
            "gtk,kl,gtl->gt", apart, self._inverse, apart, optimize=True
        )
        free = counts / (counts - 1.0).clip(1.0)
        return np.asarray(np.sqrt(squared * free[:, None]))


def _deviations(codes: Array, present: Array) -> tuple[Array, Array]:
    codes = np.where(present[..., None], codes, 0.0)
    counts = present.sum(axis=1).clip(1)
    mean = codes.sum(axis=1, dtype="float64") / counts[:, None]
    return codes - mean[:, None], counts


def _shifts(decoded: Array) -> Sequence[Array]:
    """Return changes of `(groups, instances, *instance_shape)` per pixel of shift."""
    axes = range(2, max(3, decoded.ndim - 1))
    return [
        -np.gradient(decoded, axis=axis) for axis in axes if decoded.shape[axis] > 1
    ]


def _solve(normal: Array, right: Array) -> Array:
    """Solve small normal equations; singular ones have coefficients near 0."""
    trace = np.einsum("...kk->...k", normal)
    scale = np.sqrt(trace.clip(1e-30))
    scaled = normal / (scale[..., None] * scale[..., None, :])
    scaled += 1e-6 * np.eye(normal.shape[-1])
    solution = np.linalg.solve(scaled, (right / scale)[..., None])[..., 0]
    return np.asarray(solution / scale)
