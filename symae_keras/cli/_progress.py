"""The progress display of all commands."""

from __future__ import annotations

import sys
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressDisplay:
    """A progress bar on a terminal; elsewhere a line for every tenth of the work.

    Use it as a context, so that the bar also ends when the work fails.
    """

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._tenth = -1
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            # Steps may take longer than the default, half a minute.
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
        """Show how much was done before this process began, unless it is shown."""
        if not self._bar.tasks:
            self._tenth = done * 10 // self._total
            self._bar.add_task(self._title, total=self._total, completed=done, text="")

    def update(self, done: int, text: str, title: str | None = None) -> None:
        """Show how much is done, the state of the work, and the step if it changes."""
        self.start(done)
        title, tenth = title or self._title, done * 10 // self._total
        if not self._bar.disable:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=done, text=text, description=title)
        elif title != self._title or tenth > self._tenth:
            print(f"{title}: {text}", file=sys.stderr, flush=True)
        self._title, self._tenth = title, tenth
