"""Progress display of all commands."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds of work before the remaining time is estimated.
_TIMED: Final = 5.0


class ProgressDisplay:
    """A progress bar on a terminal; otherwise one line per 10 % of the work.

    Both show the remaining time; the lines show it once.

    Use it as a context manager, so that the bar also ends if the work fails.
    """

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._tenth = -1
        self._timed: tuple[float, int] | None = None
        self._estimated = False
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            # Steps may take longer than the default of 30 s.
            speed_estimate_period=3600.0,
        )

    def __enter__(self) -> Self:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._bar.disable:
            self._bar.stop()

    def start(self, done: int = 0) -> None:
        """Show the work that earlier processes completed, unless already shown."""
        if not self._bar.tasks:
            self._tenth = done * 10 // self._total
            self._bar.add_task(self._title, total=self._total, completed=done, text="")

    def update(self, done: int, text: str, title: str | None = None) -> None:
        """Show the completed share and state of work, and the step if it changes."""
        self.start(done)
        title, tenth = title or self._title, done * 10 // self._total
        if not self._bar.disable:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=done, text=text, description=title)
        elif title != self._title or tenth > self._tenth:
            print(f"{title}: {text}", file=sys.stderr, flush=True)
        self._title, self._tenth = title, tenth
        self._estimate(done)

    def _estimate(self, done: int) -> None:
        """Print the remaining time once; the first part is slower than the others."""
        if not self._bar.disable or self._estimated:
            return
        now = monotonic()
        start, first = self._timed = self._timed or (now, done)
        if now - start < _TIMED or not first < done < self._total:
            return
        left = (now - start) * (self._total - done) / (done - first)
        self._estimated = True
        print(
            f"{self._title}: about {duration(left)} left", file=sys.stderr, flush=True
        )


def duration(seconds: float) -> str:
    """Return a duration in words, rounded.

    Example:
    >>> duration(41.0), duration(170.0), duration(9000.0)
    ('41 s', '3 min', '2.5 h')
    """
    if seconds < 60.0:
        return f"{max(seconds, 1.0):.0f} s"
    if seconds < 5400.0:
        return f"{seconds / 60.0:.0f} min"
    return f"{seconds / 3600.0:.1f} h"
