"""The page of `symae compare --sets`: self-contained, with sortable tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import symae_keras as sk
from symae_keras._utils.text import one_line
from symae_keras.cli._html import Html, figure, join, page, section, table, tag

if TYPE_CHECKING:
    from symae_keras.evaluation import Leaderboard, LeaderboardEntry

_log = logging.getLogger("symae_keras")

_STYLE: Final = Html("""<style>
main { max-width: 76rem; }
.verdict { margin: 1rem 0; }
.verdict ul { max-width: none; }
.wide th[scope="row"] {
  position: sticky; left: 0; background: var(--page);
  min-width: min(13rem, 35vw);
}
tr.this > *, .wide tr.this th[scope="row"] { background: var(--card); }
th button {
  all: unset; cursor: pointer; text-decoration: underline dotted;
  text-underline-offset: 0.2em;
}
th button:hover { color: var(--link); }
th button:focus-visible, .wide:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px;
}
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
.lost { --grade: var(--poor); }
.won { --grade: var(--good); }
</style>""")

# Without scripts, tables are sorted by the error. What is unknown stays last.
_SCRIPT: Final = Html("""<script>
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  heads.forEach((head, place) => {
    if (["rank", "mean rank"].includes(head.textContent.trim())) {
      head.setAttribute("aria-sort", "ascending");
    }
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const isNumber = head.classList.contains("number");
    const value = (row) => {
      const text = row.cells[place].textContent.trim();
      if (!isNumber) return text.toLowerCase();
      return parseFloat(text.replaceAll(",", ""));
    };
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (!isNumber) return (down ? -1 : 1) * x.localeCompare(y);
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return down ? y - x : x - y;
      });
      body.append(...rows);
    });
  });
}
</script>""")


def leaderboard_page(
    board: Leaderboard, environment: Mapping[str, str], command: str
) -> str:
    """Return the page: sets where peers beat SymAE, other sets, and all tables."""
    body = [_STYLE, _verdicts(board)]
    body.append(tag("p", "Select the heading of a column to sort the table by it."))
    headings, lines = board.table()
    body.append(section("All sets", _table("Errors on all sets", headings, lines)))
    body += [_set(name, entry) for name, entry in board.entries.items()]
    body.append(section("Reproduction", tag("pre", tag("code", command))))
    body.append(_SCRIPT)
    names = ("symae_keras", "keras", "backend", "numpy", "python", "platform")
    made_by = ", ".join(f"{each} {environment[each]}" for each in names)
    sets = ", ".join(entry.title for entry in board.entries.values())
    return page(
        title="Leaderboard",
        subtitle=f"{len(board.models)} methods on: {sets}",
        body=join(body),
        footer=tag("p", f"Made with {made_by}."),
        version=sk.__version__,
    )


def _verdicts(board: Leaderboard) -> Html:
    """Return losses of SymAE, then wins, then undecided sets."""
    from symae_keras.evaluation.leaderboard import RANKED_BY

    decided = len(board.losses) + len(board.wins)
    boxes = [
        tag(
            "section",
            tag("h2", title),
            tag("ul", *(tag("li", board.entries[each].verdict) for each in names)),
            class_=f"verdict {kind}",
        )
        for title, names, kind in (
            (board.headline, board.losses, "lost"),
            (f"SymAE leads on {len(board.wins)} of {decided}", board.wins, "won"),
            ("Not decided", board.undecided, "unknown"),
        )
        if names
    ]
    if not board.losses:
        boxes.insert(0, tag("p", f"{board.headline}."))
    return join([*boxes, tag("p", RANKED_BY)])


def _set(name: str, entry: LeaderboardEntry) -> Html:
    """Return the section of one set."""
    headings, lines = entry.table()
    ours = [line[0] for line in lines if line[1] == "SymAE"]
    content = [tag("p", entry.settings)]
    caption = f"{entry.title}; the best form of SymAE is emphasised"
    mark = [line[0] for line in lines].index(ours[0]) if ours else None
    content.append(_table(caption, headings, lines, mark))
    if entry.missing:
        content.append(tag("ul", *(tag("li", each) for each in entry.missing)))
    try:
        drawn = entry.comparison.plot()
        if drawn is not None:
            what = "Redatuming against reconstruction error of each method"
            caption = f"{what}, without methods that reconstruct exactly."
            content.append(figure(drawn, f"set-{name}", what, caption))
    # Matplotlib may raise any error; it must not prevent writing the tables.
    except Exception as error:
        _log.warning("no figure of the set %s: %s", name, one_line(error))
    return section(entry.title, *content)


def _table(
    caption: str,
    headings: Sequence[str],
    lines: Sequence[Sequence[str]],
    marked: int | None = None,
) -> Html:
    rows = [[None if cell == "-" else cell for cell in line] for line in lines]
    return table(caption, headings, rows, marked)
