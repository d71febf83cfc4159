"""Linear mixed model of groups, the optimal linear estimate of the state."""

from __future__ import annotations

import dataclasses
import math
from typing import Final, Self

import numpy as np

from symae_keras._utils.arrays import Codes
from symae_keras._utils.validation import is_integer, is_number
from symae_keras.classical._base import CodedReference, check_finite
from symae_keras.data.groups import Array, GroupedData
from symae_keras.errors import InputError

#: Shrinkages to choose from.
_SHRINKAGES: Final = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3)
_FOLDS: Final = 5
#: Instances per group that are predicted, each from the others.
_MOST_LEFT_OUT: Final = 4
#: EM steps between exact maximisations over the mean.
_MEAN_EVERY: Final = 5
#: Maximum number of pixels; larger covariances take gigabytes.
_MOST_PIXELS: Final = 4096


class LinearMixedModel(CodedReference):
    """Sum of Gaussian states and nuisances, estimated by maximum likelihood.

    It is the linear-Gaussian form of redatuming, known as probabilistic linear
    discriminant analysis (PLDA) and as a multivariate random-effects model:

        x_i[t] = mean + s_i + n_i[t]      s ~ N(0, between)      n ~ N(0, within)

    The coherent code is the posterior mean of the state, and the nuisance code is the
    rest of each instance. For a group of `T` complete instances,

        C_i = mean + between (between + within / T)^-1 (mean_t x_i[t] - mean)
        N_i[t] = x_i[t] - C_i                             D(C, N[t]) = C + N[t]

    With bad pixels, both codes are the exact conditional means. `fit` maximises the
    likelihood of groups of any sizes by expectation-maximization (EM), with exact
    maximisations over the mean between EM steps. Both covariances are shrunk towards
    multiples of the identity, so that few groups of many pixels are sufficient. This is
    the maximum of a posterior with inverse-Wishart priors:

        covariance <- (1 - shrinkage) covariance + shrinkage scale I

    where `scale` is the initial mean variance of a pixel. The time of an EM step is
    proportional to the cube of the number of pixels, once for each group size, and once
    for each pattern of bad pixels.

    Args:
        shrinkage: `0 <= shrinkage < 1`; 0 is maximum likelihood, which needs more
            deviations within groups than pixels. `None` (default) chooses one of 7
            values from 1e-6 to 0.3 by 5-fold cross-validation over groups: the value
            that best predicts up to 4 instances of each group, each from the other
            instances of the group.
        max_iter: Maximum number of EM steps. Defaults to 100.
        tol: The EM stops when a step increases the objective per good pixel by less
            than this. Defaults to 1e-6.

    Attributes:
        instance_shape_: Shape of one instance.
        mean_: Mean instance, `(pixels,)`.
        between_: Covariance of states, `(pixels, pixels)`.
        within_: Covariance of nuisances, `(pixels, pixels)`.
        shrinkage_: The shrinkage used.
        objective_: Logarithm of the likelihood and of the priors, in nats, before each
            EM step.

    Reference:
        - [Prince & Elder, Probabilistic linear discriminant analysis for inferences
          about identity, 2007](https://doi.org/10.1109/ICCV.2007.4409052)
        - [Laird & Ware, Random-effects models for longitudinal data,
          1982](https://doi.org/10.2307/2529876)

    Example:
    >>> rng = np.random.default_rng(0)
    >>> state, nuisance = rng.normal(size=(200, 1, 8)), rng.normal(size=(200, 4, 8))
    >>> groups = GroupedData(state + nuisance)
    >>> model = LinearMixedModel().fit(groups)
    >>> error = model.encode(groups.x).coherent - state[:, 0]
    >>> mean_error = groups.x.mean(axis=1) - state[:, 0]
    >>> bool((error**2).mean() < 0.85 * (mean_error**2).mean())
    True
    """

    mean_: Array
    between_: Array
    within_: Array
    shrinkage_: float
    objective_: list[float]

    def __init__(
        self, shrinkage: float | None = None, max_iter: int = 100, tol: float = 1e-6
    ) -> None:
        if shrinkage is not None and not (
            is_number(shrinkage) and 0.0 <= shrinkage < 1.0
        ):
            raise InputError(
                "shrinkage must be a number, 0 <= shrinkage < 1, or None to choose it "
                f"by cross-validation over groups; received {shrinkage}."
            )
        if not is_integer(max_iter, 1):
            raise InputError(
                f"max_iter must be a positive integer; received {max_iter}."
            )
        if not is_number(tol) or tol < 0.0:
            raise InputError(f"tol must be a finite number >= 0; received {tol}.")
        self.shrinkage = shrinkage
        self.max_iter, self.tol = int(max_iter), float(tol)

    def fit(self, groups: GroupedData) -> Self:
        """Estimate the mean and both covariances.

        Args:
            groups: Training groups, with any number of instances and bad pixels.

        Returns:
            The object itself.

        Raises:
            InputError: Fewer than two groups have two or more instances, an instance is
                not finite, there are more than 4096 pixels, or `shrinkage` is 0 and
                there are too few instances.
        """
        pixels = math.prod(groups.instance_shape)
        if pixels > _MOST_PIXELS:
            raise InputError(
                f"LinearMixedModel supports up to {_MOST_PIXELS} pixels; received "
                f"{pixels}. Bin the pixels, or fit the model to components of "
                "GroupedPCA."
            )
        good = np.broadcast_to(groups.good_pixels, groups.x.shape)
        check_finite(np.where(good, groups.x, 0.0))
        counts = good.reshape(*groups.x.shape[:2], -1).any(axis=2).sum(axis=1)
        if (counts > 1).sum() < 2:
            raise InputError(
                "LinearMixedModel needs at least two groups of two or more instances; "
                f"received {len(groups)} groups, of which {(counts > 1).sum()} have "
                "two or more."
            )
        groups = groups[counts > 0]
        data = _Data.of(groups)
        self.shrinkage_ = (
            _best_shrinkage(groups) if self.shrinkage is None else float(self.shrinkage)
        )
        law, scales = _Moments.of(data).start(self.shrinkage_)
        self.objective_ = []
        values = int(data.good.sum())
        for step in range(self.max_iter):
            of_mean = step % _MEAN_EVERY == 0
            expected = _expect(data, law, curvature=of_mean, moments=not of_mean)
            objective = expected.log_likelihood + law.log_prior(
                data, self.shrinkage_, scales
            )
            self.objective_.append(float(objective))
            if of_mean:
                law = expected.best_mean()
                continue
            law = expected.maximum(data, self.shrinkage_, scales)
            if step % _MEAN_EVERY > 1:
                gain = self.objective_[-1] - self.objective_[-2]
                if gain <= self.tol * values:
                    break
        self.mean_, self.between_, self.within_ = law.mean, law.between, law.within
        self.instance_shape_ = groups.instance_shape
        return self

    def _law(self) -> _Law:
        return _Law(self.mean_, self.between_, self.within_)

    def posterior(self, x: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """Return the Gaussian posterior of the state of each group.

        Args:
            x: `(batch, instances, *instance_shape)`; any number of instances.
            mask: Boolean `(batch, instances)`, or of the shape of `x`. Defaults to
                `None`.

        Returns:
            The means, `(batch, *instance_shape)`, which include `mean_`, and the
            covariances, `(batch, pixels, pixels)`.
        """
        groups = self._gather(x, mask)
        expected = _expect(_Data.of(groups), self._law(), covariances=True)
        means = (self.mean_ + expected.states).reshape(-1, *self.instance_shape_)
        return means, expected.covariances

    def log_likelihood(self, groups: GroupedData) -> float:
        """Return the logarithm of the density of groups, in nats.

        Args:
            groups: Groups of instances of the fitted shape.

        Returns:
            The sum of the log densities of the groups.
        """
        groups = self._gather(groups.x, groups.model_mask)
        return _expect(_Data.of(groups), self._law()).log_likelihood

    def expected_error(self, n_instances: int) -> float:
        """Return the expected redatuming error of the model.

        If the data follow the model, the states of both groups of a swap have the
        posterior variance. Then the error is

            2 trace(between - between (between + within / T)^-1 between)
            / trace(between + within)

        Args:
            n_instances: Instances `T` per group.

        Returns:
            Mean squared error divided by the variance of the data.
        """
        self._check_fitted()
        if not is_integer(n_instances, 1):
            raise InputError(
                f"n_instances must be a positive integer; received {n_instances}."
            )
        between, within = self.between_, self.within_
        gain = np.linalg.solve(between + within / n_instances, between)
        left = np.trace(between) - (between * gain).sum()
        return float(2.0 * left / np.trace(between + within))

    def _code_sizes(self) -> tuple[int, int]:
        return self.mean_.size, self.mean_.size

    def _encode(self, groups: GroupedData) -> Codes:
        data = _Data.of(groups)
        nuisance = np.zeros((*groups.x.shape[:2], self.mean_.size))
        states, nuisance[data.group, data.place] = _posterior_means(data, self._law())
        return Codes(self.mean_ + states, nuisance)

    def _decode(self, coherent: Array, nuisance: Array) -> Array:
        return coherent[:, None] + nuisance


@dataclasses.dataclass(frozen=True)
class _Data:
    """Present instances as rows.

    Groups are of the same kind if they have the same number of instances of every
    pattern of good pixels. Their states have the same posterior covariance.
    """

    n_groups: int
    x: Array
    good: Array
    group: Array
    place: Array
    pattern: Array
    kind: Array
    """Kind of each group."""
    counts: Array
    """Number of instances of each pattern, `(kinds, patterns)`."""
    patterns: Array
    """Good pixels, `(patterns, pixels)`."""

    @classmethod
    def of(cls, groups: GroupedData) -> _Data:
        rows = (*groups.x.shape[:2], -1)
        good = np.broadcast_to(groups.good_pixels, groups.x.shape).reshape(rows)
        group, place = np.nonzero(good.any(axis=2))
        good = good[group, place]
        x = groups.x.reshape(rows)[group, place].astype("float64")
        if good.all():
            patterns, pattern = good[:1], np.zeros(len(good), int)
        else:
            patterns, pattern = np.unique(good, axis=0, return_inverse=True)
            pattern = pattern.reshape(-1)
        counts = np.zeros((len(groups), len(patterns)), int)
        np.add.at(counts, (group, pattern), 1)
        kinds, kind = np.unique(counts, axis=0, return_inverse=True)
        x = np.where(good, x, 0.0)
        kind = kind.reshape(-1)
        return cls(len(groups), x, good, group, place, pattern, kind, kinds, patterns)


@dataclasses.dataclass(frozen=True)
class _Law:
    """Parameters of the model."""

    mean: Array
    between: Array
    within: Array

    def log_prior(
        self, data: _Data, shrinkage: float, scales: tuple[float, float]
    ) -> float:
        """Return the log prior of shrinkage, up to a constant."""
        total = 0.0
        if shrinkage > 0.0:
            odds = shrinkage / (1.0 - shrinkage)
            for matrix, scale, count in (
                (self.between, scales[0], data.n_groups),
                (self.within, scales[1], len(data.x)),
            ):
                inverse, log_det = _precision(matrix, np.ones(len(matrix), bool))
                total -= 0.5 * odds * count * (log_det + scale * np.trace(inverse))
        return total


@dataclasses.dataclass
class _Expected:
    """Conditional moments of states and nuisances, given data and parameters."""

    law: _Law
    states: Array
    nuisances: Array
    log_likelihood: float
    covariances: Array
    between: Array
    """Sum over groups of the second moments of states."""
    within: Array
    """Sum over instances of the second moments of nuisances."""
    gradient: Array
    """Derivative of the log likelihood with respect to the mean."""
    information: Array
    """Minus its second derivative."""

    def best_mean(self) -> _Law:
        """Return the parameters with the most likely mean, given the covariances.

        The EM converges to the same mean, but slowly in directions of large state
        variance.
        """
        shift = np.linalg.lstsq(self.information, self.gradient, rcond=None)[0]
        return dataclasses.replace(self.law, mean=self.law.mean + shift)

    def maximum(
        self, data: _Data, shrinkage: float, scales: tuple[float, float]
    ) -> _Law:
        """Return the most likely parameters given these moments."""
        shift = self.nuisances.mean(axis=0)
        between = self.between / data.n_groups
        within = self.within / len(data.x) - np.outer(shift, shift)
        return _Law(
            self.law.mean + shift,
            _shrunk(between, shrinkage, scales[0]),
            _shrunk(within, shrinkage, scales[1]),
        )


def _expect(
    data: _Data,
    law: _Law,
    moments: bool = False,
    curvature: bool = False,
    covariances: bool = False,
) -> _Expected:
    """Compute posteriors of states and nuisances, and what else is asked for."""
    from scipy.linalg import lu_factor, lu_solve

    pixels = law.mean.size
    result = _Expected(
        law,
        np.zeros((data.n_groups, pixels)),
        np.zeros_like(data.x),
        0.0,
        np.zeros((data.n_groups, pixels, pixels) if covariances else 0),
        np.zeros((pixels, pixels)),
        np.zeros((pixels, pixels)),
        np.zeros(pixels),
        np.zeros((pixels, pixels)),
    )
    precisions: dict[int, tuple[Array, float]] = {}
    apart = np.where(data.good, data.x - law.mean, 0.0)
    kind_of_row = data.kind[data.group]
    for kind in np.unique(data.kind):
        members = np.flatnonzero(data.kind == kind)
        shown = np.flatnonzero(data.counts[kind])
        # Many kinds can share one pattern; several patterns often belong to one kind.
        here = {
            k: precisions.get(k) or _precision(law.within, data.patterns[k])
            for k in shown.tolist()
        }
        if len(shown) == 1:
            precisions.update(here)
        rows = np.flatnonzero(kind_of_row == kind)
        weighted = np.zeros((len(rows), pixels))
        precision = np.zeros((pixels, pixels))
        for k, (matrix, log_det) in here.items():
            precision += data.counts[kind, k] * matrix
            of_pattern = data.pattern[rows] == k
            weighted[of_pattern] = apart[rows[of_pattern]] @ matrix
            constant = data.patterns[k].sum() * np.log(2.0 * np.pi) + log_det
            result.log_likelihood -= 0.5 * of_pattern.sum() * constant
        place = np.searchsorted(members, data.group[rows])
        pull = _sums(weighted, place, len(members))
        factors = lu_factor(np.eye(pixels) + law.between @ precision)
        covariance = _symmetric(lu_solve(factors, law.between))
        states = pull @ covariance
        result.states[members] = states
        result.log_likelihood += 0.5 * float(
            (pull * states).sum()
            - (weighted * apart[rows]).sum()
            - len(members) * np.log(np.abs(np.diag(factors[0]))).sum()
        )
        if covariances:
            result.covariances[members] = covariance
        if moments:
            result.between += states.T @ states + len(members) * covariance
        if curvature:
            result.gradient += (pull - states @ precision).sum(axis=0)
            known = precision - precision @ covariance @ precision
            result.information += len(members) * known
        for k, (matrix, _) in here.items():
            of_pattern = data.pattern[rows] == k
            own = rows[of_pattern]
            residual = apart[own] - states[place[of_pattern]]
            if data.patterns[k].all():
                spread = covariance
            else:
                # Predict bad pixels of the nuisance from good pixels.
                predict = law.within @ matrix
                residual = residual @ predict.T
                spread = predict @ covariance @ predict.T
                spread = spread + law.within - predict @ law.within
            result.nuisances[own] = residual
            if moments:
                result.within += residual.T @ residual + len(own) * spread
    return result


def _posterior_means(data: _Data, law: _Law) -> tuple[Array, Array]:
    """Return posterior means of states, without `law.mean`, and of nuisances.

    Those of complete instances need no inverse of a covariance, which takes most of the
    time of `_expect`.
    """
    from scipy.linalg import cho_factor, cho_solve

    if not data.good.all():
        expected = _expect(data, law)
        return expected.states, expected.nuisances
    apart = data.x - law.mean
    counts = np.bincount(data.group, minlength=data.n_groups)
    totals = _sums(apart, data.group, data.n_groups)
    states = np.zeros_like(totals)
    for count in np.unique(counts[counts > 0]):
        members = counts == count
        factor = cho_factor(law.between + law.within / count, lower=True)
        weighted = cho_solve(factor, totals[members].T / count)
        states[members] = weighted.T @ law.between
    return states, apart - states[data.group]


def _precision(within: Array, good: Array) -> tuple[Array, float]:
    """Return inverse covariance (0 at bad pixels) and log determinant."""
    from scipy.linalg import cho_solve, cholesky

    matrix = np.zeros_like(within)
    kept = np.ix_(good, good)
    factor = cholesky(within[kept], lower=True)
    matrix[kept] = _symmetric(cho_solve((factor, True), np.eye(len(factor))))
    return matrix, 2.0 * float(np.log(np.diag(factor)).sum())


@dataclasses.dataclass(frozen=True)
class _Moments:
    """Moments of means of groups, and of deviations from them, to start from.

    Bad pixels are replaced by the mean of their group, or of all groups.
    """

    mean: Array
    apart: Array
    """Means of groups minus their mean, `(groups, pixels)`."""
    within: Array
    """Covariance of deviations."""
    free: int
    """Degrees of freedom of deviations."""
    by_chance: float
    """Variance of group means that is due to nuisances, in units of `within`."""

    @classmethod
    def of(cls, data: _Data) -> _Moments:
        total, seen = (
            _sums(each, data.group, data.n_groups) for each in (data.x, data.good)
        )
        overall = total.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        means = np.where(seen > 0, total / np.maximum(seen, 1), overall)
        deviations = np.where(data.good, data.x - means[data.group], 0.0)
        counts = np.bincount(data.group, minlength=data.n_groups)
        free = len(data.x) - data.n_groups
        mean = means.mean(axis=0)
        within = deviations.T @ deviations / free
        # Equal instances have a small variance because of rounding errors.
        if not np.trace(within) > 1e-24 * np.square(data.x).mean() * len(mean):
            raise InputError(
                "All instances of each group are equal, so no covariance within groups "
                "can be estimated; is the grouping right?"
            )
        return cls(mean, means - mean, within, free, float(np.mean(1.0 / counts)))

    def start(self, shrinkage: float) -> tuple[_Law, tuple[float, float]]:
        """Return initial parameters, and mean variances of states and nuisances."""
        from scipy.linalg import cholesky, solve_triangular

        pixels = len(self.mean)
        scale = float(np.trace(self.within)) / pixels
        within = _shrunk(self.within, shrinkage, scale)
        try:
            factor = cholesky(within, lower=True)
        except np.linalg.LinAlgError:
            raise InputError(
                f"The covariance of {pixels} pixels within groups is singular with "
                f"{self.free} deviations; use a shrinkage above 0, or add more "
                "instances."
            ) from None
        # In units of the nuisances, the initial variance of states is at least a tenth
        # of the variance that nuisances add to group means, because the EM cannot
        # increase a variance of 0.
        least = 0.1 * self.by_chance
        whitened = solve_triangular(factor, self.apart.T, lower=True)
        whitened /= math.sqrt(len(self.apart))
        if len(self.apart) < pixels:
            vectors, roots, _ = np.linalg.svd(whitened, full_matrices=False)
            values = roots**2
        else:
            values, vectors = np.linalg.eigh(whitened @ whitened.T)
        more = np.maximum(values - self.by_chance - least, 0.0)
        root = factor @ (vectors * np.sqrt(more))
        between = root @ root.T + least * within
        scales = float(np.trace(between)) / pixels, scale
        between = _shrunk(between, shrinkage, scales[0])
        return _Law(self.mean, between, within), scales


def _best_shrinkage(groups: GroupedData) -> float:
    """Return the shrinkage that best predicts instances from the rest of their group.

    The groups are left out of the fit, in folds. The prediction error is the error of
    the state plus the nuisance of the instance, which does not depend on the shrinkage.
    """
    good = np.broadcast_to(groups.good_pixels, groups.x.shape)
    present = np.asarray(good.reshape(*groups.x.shape[:2], -1).any(axis=2))
    counts = present.sum(axis=1)
    # Distribute the groups with several instances evenly over the folds.
    fold = np.empty(len(groups), int)
    n_folds = min(_FOLDS, int((counts > 1).sum()))
    fold[np.argsort(counts < 2, kind="stable")] = np.arange(len(groups)) % n_folds
    number = np.cumsum(present, axis=1) - 1
    totals = np.zeros(len(_SHRINKAGES))
    for each in range(n_folds):
        kept = _Moments.of(_Data.of(groups[fold != each]))
        laws = [kept.start(shrinkage)[0] for shrinkage in _SHRINKAGES]
        held = [
            np.flatnonzero((fold == each) & (counts > max(k, 1)))
            for k in range(min(_MOST_LEFT_OUT, int(counts.max())))
        ]
        left_out = np.repeat(np.arange(len(held)), [len(rows) for rows in held])
        # A group appears once for each of its instances that is left out: factorising a
        # covariance takes longer than all groups that need it.
        rows = np.concatenate(held)
        single = present[rows] & (number[rows] == left_out[:, None])
        truth = _Data.of(dataclasses.replace(groups[rows], mask=single))
        rest = _Data.of(dataclasses.replace(groups[rows], mask=present[rows] & ~single))
        for n, law in enumerate(laws):
            guess = law.mean + _posterior_means(rest, law)[0]
            totals[n] += ((truth.x - guess) ** 2).sum(where=truth.good)
    return _SHRINKAGES[int(totals.argmin())]


def _shrunk(matrix: Array, shrinkage: float, scale: float) -> Array:
    identity = np.eye(len(matrix))
    return _symmetric((1.0 - shrinkage) * matrix + shrinkage * scale * identity)


def _sums(rows: Array, group: Array, n_groups: int) -> Array:
    """Sum rows by group, `(groups, pixels)`; rows are sorted by group."""
    total = np.zeros((n_groups, rows.shape[1]))
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    if len(starts):
        total[group[starts]] = np.add.reduceat(rows, starts, axis=0, dtype="float64")
    return total


def _symmetric(matrix: Array) -> Array:
    return 0.5 * (matrix + matrix.T)
