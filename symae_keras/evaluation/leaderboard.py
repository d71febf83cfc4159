"""Ranking of models over several data sets; sets where SymAE loses come first."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from symae_keras.data.groups import GroupedData
from symae_keras.evaluation.comparison import COLUMNS, Comparison, shown
from symae_keras.evaluation.contenders import CONTENDERS, Sizes
from symae_keras.training import Budget, Training

#: The family that is compared with the others.
OURS: Final = "SymAE"
#: Further columns in the table of a set.
_BEHIND: Final = (
    "reconstruction",
    "state_from_nuisance",
    "nuisance_from_coherent",
    "state_from_coherent",
    "parameters",
    "seconds",
)


@dataclasses.dataclass(frozen=True)
class LeaderboardEntry:
    """One data set of a leaderboard.

    title: Its name.
    comparison: Results of the models on it.
    settings: Data and training, in sentences.
    failures: For each model that is missing or lacks seeds, the reason.
    """

    title: str
    comparison: Comparison
    settings: str = ""
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def error(self, model: str) -> float | None:
        """Return the median error for the ranking, see `Comparison.error`."""
        return self.comparison.error(model)

    @property
    def ranking(self) -> list[str]:
        """Models with a known error, the lowest error first."""
        known = self.comparison.errors()
        return sorted(known, key=lambda m: (known[m], m))

    def rank(self, model: str) -> int | None:
        """Return the rank of a model, from 1; models with equal errors share a rank."""
        error = self.error(model)
        if error is None:
            return None
        errors = (self.error(each) for each in self.ranking)
        return 1 + sum(each is not None and each < error for each in errors)

    @property
    def ours(self) -> str | None:
        """The form of SymAE with the lowest error, `None` if there is none."""
        return next((m for m in self.ranking if _is_ours(m)), None)

    @property
    def peers(self) -> list[str]:
        """All other models, the lowest error first."""
        return [m for m in self.ranking if not _is_ours(m)]

    @property
    def ahead(self) -> list[str]:
        """Peers with a lower error than every form of SymAE."""
        if self.ours is None:
            return []
        limit = self.error(self.ours)
        return [m for m in self.peers if self.error(m) < limit]  # type: ignore[operator]

    @property
    def verdict(self) -> str:
        """One or two sentences on the best SymAE and the best peer."""
        ours, peers = self.ours, self.peers
        if ours is None or not peers:
            missing = "no SymAE" if ours is None else "no peer"
            return f"{self.title}: not decided, because {missing} was measured."
        first, second = (peers[0], ours) if self.ahead else (ours, peers[0])
        errors = [self.error(each) or 0.0 for each in (first, second)]
        text = f"{self.title}: {self._called(first)}, {self._called(second)}"
        if errors[0] > 0.0:
            text += f", {errors[1] / errors[0]:.2f} times as much"
        text += "."
        if self.ahead:
            verb = "has" if len(self.ahead) == 1 else "have"
            text += f" {len(self.ahead)} of {len(peers)} peers {verb} a lower error"
            text += " than SymAE."
        values = [self._finite(each) for each in (first, second)]
        if max(values[0]) >= min(values[1]) and min(map(len, values)) > 1:
            text += " The ranges over seeds overlap."
        return text

    @property
    def missing(self) -> list[str]:
        """Sentences on the models that have no rank, are missing or lack seeds."""
        there = self.comparison.models
        return self.comparison.notes() + [
            f"{CONTENDERS[name].title}: "
            f"{'some seeds failed' if name in there else 'not compared'}. {reason}."
            for name, reason in self.failures.items()
        ]

    def _called(self, model: str) -> str:
        return f"{CONTENDERS[model].title} has {self.error(model):.4f}"

    def _finite(self, model: str) -> list[float]:
        values = self.comparison.values(model, self.comparison.judged_by)
        return [each for each in values if math.isfinite(each)]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings, and one text row per model, the best first.

        Models without a rank come last.
        """
        judged_by, models = self.comparison.judged_by, self.comparison.models
        behind = [
            each
            for each in ("estimated", *_BEHIND)
            if each != judged_by
            and any(self.comparison.values(m, each) for m in models)
        ]
        best = self.error(self.ours) if self.ours else None
        lines = []
        for m in (*self.ranking, *(m for m in models if self.error(m) is None)):
            rank, error = self.rank(m), self.error(m)
            values = self.comparison.values(m, judged_by)
            known = shown(judged_by, values)
            if error is None and values and m not in self.comparison.not_estimable:
                known = "not finite"
            factor = "-" if not best or error is None else f"{error / best:.2f}"
            lines.append(
                [
                    CONTENDERS[m].title,
                    CONTENDERS[m].family,
                    "-" if rank is None else str(rank),
                    known,
                    factor,
                    *(shown(each, self.comparison.values(m, each)) for each in behind),
                    str(sum(row.model == m for row in self.comparison.rows)),
                    CONTENDERS[m].settings_text,
                ]
            )
        headings = ["model", "family", "rank", COLUMNS[judged_by], "times SymAE"]
        headings += [*(COLUMNS[each] for each in behind), "seeds", "settings"]
        return headings, lines


@dataclasses.dataclass(frozen=True)
class Leaderboard:
    """Comparisons on several data sets.

    Models are ranked on each set by the median redatuming error over seeds, or by its
    estimate where the ground truth is unknown; never by the reconstruction error.

    Attributes:
        entries: By the name of the set.

    Example:
    >>> from symae_keras.evaluation import Row
    >>> rows = [Row("symae", 0, 1, 0.1, 0.1, 0.2, None, None, None, None)]
    >>> rows += [Row("pca", 0, None, None, 0.1, 0.1, None, None, None, None)]
    >>> board = Leaderboard({"mine": LeaderboardEntry("Mine", Comparison(tuple(rows)))})
    >>> board.losses
    ['mine']
    >>> print(board.entries["mine"].verdict[:51])
    Mine: PCA of means and deviations has 0.1000, SymAE
    """

    entries: Mapping[str, LeaderboardEntry]

    @property
    def models(self) -> list[str]:
        """Models of all sets, the lowest mean rank first."""
        every = [m for entry in self.entries.values() for m in entry.comparison.models]
        ranks = {m: self.mean_rank(m) for m in dict.fromkeys(every)}
        return sorted(ranks, key=lambda m: (ranks[m] is None, ranks[m] or 0.0))

    def mean_rank(self, model: str) -> float | None:
        """Return the mean rank over all sets; `None` for a model that lacks one."""
        ranks = [entry.rank(model) for entry in self.entries.values()]
        known = [rank for rank in ranks if rank is not None]
        return float(np.mean(known)) if known and len(known) == len(ranks) else None

    @property
    def losses(self) -> list[str]:
        """Sets on which a peer has a lower error than every form of SymAE."""
        return [name for name, entry in self.entries.items() if entry.ahead]

    @property
    def wins(self) -> list[str]:
        """Sets on which no peer has a lower error than the best form of SymAE."""
        return [
            name
            for name, entry in self.entries.items()
            if entry.ours and entry.peers and not entry.ahead
        ]

    @property
    def undecided(self) -> list[str]:
        """Sets without a result of SymAE or of a peer."""
        decided = {*self.losses, *self.wins}
        return [name for name in self.entries if name not in decided]

    @property
    def headline(self) -> str:
        """Sentence with the number of sets on which a peer is better than SymAE."""
        decided = len(self.losses) + len(self.wins)
        if not decided:
            return "No set has both SymAE and a peer"
        return f"A peer beats SymAE on {len(self.losses)} of {decided} sets"

    def verdicts(self) -> list[str]:
        """Return a verdict on each set: losses of SymAE first, then wins."""
        names = (*self.losses, *self.wins, *self.undecided)
        return [self.entries[name].verdict for name in names]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings, and one text row per model: its error on every set."""
        lines = []
        for m in self.models:
            rank = self.mean_rank(m)
            cells = [
                shown(each.comparison.judged_by, values)
                for each in self.entries.values()
                for values in [each.comparison.values(m, each.comparison.judged_by)]
            ]
            mean = "-" if rank is None else f"{rank:.1f}"
            lines.append([CONTENDERS[m].title, CONTENDERS[m].family, mean, *cells])
        titles = [
            each.title + (", estimated" if _is_estimated(each) else "")
            for each in self.entries.values()
        ]
        return ["model", "family", "mean rank", *titles], lines

    def to_markdown(self) -> str:
        """Return verdicts, the table of all sets and one table for each set."""
        parts = [f"# Leaderboard\n\n{self.headline}.\n"]
        parts.append("".join(f"- {each}\n" for each in self.verdicts()))
        parts += [f"{RANKED_BY}\n", f"## All sets\n\n{_markdown(*self.table())}"]
        for entry in self.entries.values():
            parts.append(f"## {entry.title}\n\n{entry.settings}\n")
            parts.append(_markdown(*entry.table()))
            parts.append("".join(f"- {each}\n" for each in entry.missing))
        return "\n".join(each for each in parts if each)

    def to_csv(self) -> str:
        """Return CSV rows per set and model: median, lowest and highest of columns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        first = ["set", "ranked_by", "rank", "family", "settings"]
        for number, (name, entry) in enumerate(self.entries.items()):
            rows = list(csv.reader(io.StringIO(entry.comparison.to_csv())))
            if number == 0:
                writer.writerow([*first, *rows[0]])
            by_model = {row[0]: row for row in rows[1:]}
            ranked = [*entry.ranking, *(m for m in by_model if not entry.rank(m))]
            for m in ranked:
                rank: Any = entry.rank(m)
                facts = [name, entry.comparison.judged_by, "" if rank is None else rank]
                known = CONTENDERS[m]
                facts += [known.family, known.settings_text]
                writer.writerow([*facts, *by_model[m]])
        return text.getvalue()


#: Explanation of the tables.
RANKED_BY: Final = (
    "Models are ranked by the redatuming error: the mean squared error of virtual "
    "instances over the variance of the truth, as median over seeds [lowest-highest]. "
    "Where the ground truth is unknown, the estimated error is used instead. The best "
    "form of SymAE on each set is compared with the peers, which favours SymAE. "
    "Times in seconds are those of one training on this machine."
)


def described(
    groups: GroupedData, test: GroupedData, training: Training, sizes: Sizes
) -> str:
    """Return sentences on the data and the training of a comparison.

    Example:
    >>> from symae_keras.data import simulate_exposures
    >>> groups = simulate_exposures(n_states=24, n_instances=4)
    >>> described(groups, groups[:5], Training(), Sizes())[:54]
    'Training: 24 groups of 4 instances of shape (256,). Ev'
    """
    encoder = sizes.encoder if isinstance(sizes.encoder, str) else "given"
    shape = f"{groups.n_instances} instances of shape {groups.instance_shape}"
    sentences = (
        f"Training: {len(groups):,} groups of {shape}.",
        f"Evaluation: {len(test):,} groups of {test.n_instances}.",
        f"Models of groups: {Budget.of(groups, training)}.",
        f"Adam at {training.learning_rate:g}; codes of {sizes.coherent_dim} and",
        f"{sizes.nuisance_dim} numbers; {encoder} networks.",
    )
    return " ".join(sentences)


def _is_ours(model: str) -> bool:
    return CONTENDERS[model].family == OURS


def _is_estimated(entry: LeaderboardEntry) -> bool:
    return entry.comparison.judged_by == "estimated"


def _markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    texts = ("model", "family", "settings")
    rule = ["---" if each in texts else "---:" for each in headings]
    return "".join(f"| {' | '.join(each)} |\n" for each in (headings, rule, *lines))
