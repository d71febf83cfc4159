"""Execute the tutorials, or write the notebooks that are paired with them.

Each tutorial is a script in jupytext's percent format, `NN_name.py`. Usage:

    python tutorials/run.py                     execute all, write to docs/tutorials
    python tutorials/run.py --quick --jobs 2    use small sizes, run two at a time
    python tutorials/run.py --only 01 04        execute only these
    python tutorials/run.py --times docs/tutorials_times.json
                                                also save the running times
    python tutorials/run.py --solutions         also execute the solutions of exercises;
                                                write nothing
    python tutorials/run.py --pair              write NN_name.ipynb, without outputs,
                                                and the table of the overview page
    python tutorials/run.py --check             fail if --pair would change a file

Each tutorial runs in a new kernel and in an empty folder that is deleted afterwards.
With --quick, the tutorials of a job share one kernel, which is cleared in between.
Exit codes: 0 success, 1 failed tutorial or outdated notebook, 2 invalid arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

TUTORIALS = Path(__file__).resolve().parent
DOCS = TUTORIALS.parent / "docs"
TESTS = TUTORIALS.parent / "tests"
LIST = DOCS / "tutorials_list.md"
CELL_LIMIT = 900  # seconds, after which a cell counts as failed
ANSI = re.compile(r"\x1b\[[0-9;]*m")
PYTHON = {"name": "python", "pygments_lexer": "ipython3"}
# Messages of TensorFlow at its start, with times and process numbers
CHATTER = re.compile(r"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:\d")
#: Tutorials that set up TensorFlow before its first operation.
OWN_KERNEL = {"11"}
#: Moves a kernel to an empty folder, and removes what an earlier tutorial left in it.
CLEAR = """
import os, sys
os.chdir({work!r})
if "keras" in sys.modules:
    sys.modules["keras"].utils.clear_session()
if "matplotlib.pyplot" in sys.modules:
    sys.modules["matplotlib.pyplot"].close("all")
    sys.modules["matplotlib"].rcdefaults()
%reset -f
"""
#: Start of kernels in quick mode. Garbage is not collected, and figures are drawn once,
#: because arranging their parts takes half of the time. Optimising graphs takes longer
#: than their few steps gain.
QUICK_START = """
import gc
import importlib
import tensorflow
layouts = importlib.import_module("matplotlib.layout_engine")
layouts.ConstrainedLayoutEngine.execute = lambda engine, figure: None
backend = importlib.import_module("matplotlib_inline.config")
backend.InlineBackend.instance().print_figure_kwargs = {"bbox_inches": None}
tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
importlib.import_module("symae_keras.evaluation")
gc.disable()
gc.freeze()
del backend, gc, importlib, layouts, tensorflow
"""
#: Start of shared kernels: also short probes of leakage, errors from one swap, and
#: nothing is traced.
SHARED_START = f"""
import functools
import importlib
import sys
import keras
sys.path.append({str(TESTS)!r})
importlib.import_module("fast_adam").use()
sys.path.pop()
estimate = importlib.import_module("symae_keras.evaluation").estimate_redatuming_error
estimate.__defaults__ = 1, *estimate.__defaults__[1:]
importlib.import_module("symae_keras.evaluation.leakage")._MOST_EPOCHS = 5
importlib.import_module("symae_keras._utils.compiled").CALLS_BEFORE = 8
keras.Model.compile = functools.partialmethod(keras.Model.compile, run_eagerly=True)
del estimate, functools, importlib, keras, sys
"""
FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)


def sources(only: Sequence[str] = ()) -> list[Path]:
    """Return the tutorials in order, or those whose names start with one of `only`."""
    found = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))
    for start in only:
        if not any(path.stem.startswith(start) for path in found):
            names = ", ".join(path.stem for path in found) or "none"
            _unusable(
                f"No tutorial starts with '{start}'. Available tutorials: {names}."
            )
    return [p for p in found if not only or p.stem.startswith(tuple(only))]


def notebook(source: Path) -> NotebookNode:
    """Convert a tutorial to a notebook without outputs, identical on every machine.

    The id of a cell is the hash of its text, so an edit changes only one id. The
    notebook contains nothing that depends on the versions of Jupyter's tools.
    """
    read = jupytext.read(source, fmt="py:percent")
    seen: dict[str, int] = {}
    cells = []
    for cell in read.cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cells.append(cell)
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    result: NotebookNode = nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "jupytext": {"formats": "ipynb,py:percent"},
            "kernelspec": python,
            "language_info": dict(PYTHON),
        },
    )
    result["nbformat_minor"] = 5
    nbformat.validate(result)
    return result


def as_text(book: NotebookNode) -> str:
    """Return the notebook as the text of its file."""
    text: str = nbformat.writes(book, indent=1, sort_keys=True, ensure_ascii=False)
    return text.rstrip("\n") + "\n"


def title_of(source: Path) -> str:
    """Return the title, such as "NN Subject", from the first cell."""
    head = _head(source)
    match = re.match(r"#\s+(.+)", head)
    if match is None:
        _unusable(f"{source.name}: the first cell has no title. Add '# NN Title'.")
    return match[1].strip()


def said(source: Path, what: str) -> str:
    """Return the first cell's paragraph that starts with **what**, without links."""
    match = re.search(
        rf"\*\*{what}[.:]?\*\*[.:]?\s*(.+?)(?=\n\s*\n|\n[-*\s]*\*\*|\Z)",
        _head(source),
        re.DOTALL,
    )
    if match is None:
        _unusable(f"{source.name}: the first cell has no **{what}** paragraph.")
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", match[1])
    return " ".join(text.split())


def _unusable(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


def _head(source: Path) -> str:
    cells = jupytext.read(source, fmt="py:percent").cells
    markdown = (c.source for c in cells if c.cell_type == "markdown")
    return next(markdown, "")


def overview(paths: Sequence[Path]) -> str:
    """Return the table of all tutorials, with the first sentence of each aim."""
    rows = ["| | Aim | Prerequisites |", "|---|---|---|"]
    for path in paths:
        number, _, title = title_of(path).partition(" ")
        link = f"[{number}&nbsp;{title}](tutorials/{path.stem}.ipynb)"
        aim = re.split(r"(?<=[.:;])\s(?=[A-Z])", said(path, "Aim"), maxsplit=1)[0]
        cells = (link, aim, said(path, "Prerequisites"))
        rows.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(rows) + "\n"


def pairs() -> Iterator[tuple[Path, str]]:
    """Yield all files that are generated from the tutorials, with their text."""
    for source in sources():
        yield source.with_suffix(".ipynb"), as_text(notebook(source))
    yield LIST, overview(sources())


def stale() -> list[Path]:
    """Return outdated generated files, and notebooks without a tutorial."""
    wanted = dict(pairs())
    changed = [
        path
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    return changed + [p for p in TUTORIALS.glob("*.ipynb") if p not in wanted]


def solutions(book: NotebookNode) -> list[str]:
    """Return the Python code in the folded solutions of the exercises."""
    folded = re.compile(r"<details>.*?</details>", re.DOTALL)
    fenced = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
    markdown = (c.source for c in book.cells if c.cell_type == "markdown")
    return [
        code
        for source in markdown
        for block in folded.findall(source)
        for code in fenced.findall(block)
    ]


@contextlib.contextmanager
def _kernel(quick: bool, shared: bool, threads: int) -> Iterator[NotebookClient]:
    """Start a kernel without user settings, and stop it afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as ipython:
        if quick:
            startup = Path(ipython, "profile_default", "startup")
            startup.mkdir(parents=True)
            code = QUICK_START + SHARED_START * shared
            (startup / "quick.py").write_text(code, encoding="utf-8")
        client = NotebookClient(
            nbformat.v4.new_notebook(),
            timeout=CELL_LIMIT,
            kernel_name="python3",
            record_timing=False,
        )
        environment = _environment(quick, threads, Path(ipython))
        with client.setup_kernel(env=environment, stderr=subprocess.DEVNULL):
            yield client


def execute(client: NotebookClient, source: Path, out: Path | None) -> str:
    """Run one tutorial in a kernel and write it, with outputs, to `out`.

    If `out` is `None`, also run the solutions of its exercises, and write nothing.

    Returns:
        An error message, which is empty on success.
    """
    book = notebook(source)
    if out is None:
        book.cells += [nbformat.v4.new_code_cell(code) for code in solutions(book)]
    error = ""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        clear = nbformat.v4.new_code_cell(CLEAR.format(work=work))
        try:
            _run_cells(client, nbformat.v4.new_notebook(cells=[clear]), counted=False)
            _run_cells(client, book)
        except FAILURES as problem:
            error = _describe(source, book, problem)
    if not error and any(map(_is_hidden_figure, _outputs(book))):
        error = (
            f"{source.name}: a figure was not drawn. Add %matplotlib inline after the "
            "imports, or move the figure to the end of its cell."
        )
    if out is not None and not error:
        out.mkdir(parents=True, exist_ok=True)
        # The metadata of the kernel differs between machines.
        book.metadata["language_info"] = dict(PYTHON)
        _silence(book)
        (out / f"{source.stem}.ipynb").write_text(as_text(book), encoding="utf-8")
    return error


def _run_cells(
    client: NotebookClient, book: NotebookNode, *, counted: bool = True
) -> None:
    client.nb, client.store_history = book, counted
    client.execute(cleanup_kc=False)


def _outputs(book: NotebookNode) -> Iterator[NotebookNode]:
    for cell in book.cells:
        yield from cell.get("outputs", ())


def _is_hidden_figure(output: NotebookNode) -> bool:
    data = output.get("data", {})
    return "<Figure size" in data.get("text/plain", "") and "image/png" not in data


def _silence(book: NotebookNode) -> None:
    """Remove messages of TensorFlow from the outputs, but keep warnings of Python."""
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                lines = output.text.splitlines(keepends=True)
                output.text = "".join(x for x in lines if not CHATTER.match(x))
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("text") != ""]


def _environment(quick: bool, threads: int, ipython: Path) -> dict[str, str]:
    """Return the environment of the kernel: no user settings, a share of the cores."""
    environment = {
        **os.environ,
        "IPYTHONDIR": str(ipython),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONHASHSEED": "0",
        "SYMAE_QUICK": "1" if quick else "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        environment.setdefault(name, str(threads))
    return environment


def _describe(source: Path, book: NotebookNode, problem: Exception) -> str:
    """Describe the error of a tutorial: the cell, its text, and the traceback."""
    failed = 0
    for number, cell in enumerate(book.cells, start=1):
        if cell.cell_type == "code" and cell.execution_count is not None:
            failed = number
        if any(o.output_type == "error" for o in cell.get("outputs", ())):
            failed = number
            break
    where = f"{source.name}, cell {failed} of {len(book.cells)}"
    lines = ANSI.sub("", str(problem)).strip().splitlines()
    return "\n".join([f"{where}:", *(x for x in lines if not CHATTER.match(x))])


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    paths: Sequence[Path], out: Path | None, quick: bool, jobs: int
) -> dict[str, float]:
    """Execute tutorials, `jobs` at a time, and print failures immediately.

    Returns:
        The running times of the tutorials that passed, in seconds.
    """
    threads = max(1, cores() // jobs)
    seconds: dict[str, float] = {}

    def alone(path: Path) -> bool:
        return not quick or path.stem[:2] in OWN_KERNEL

    # All jobs take their next tutorial from here.
    left = iter(sorted(paths, key=alone, reverse=True))

    def work() -> None:
        with contextlib.ExitStack() as kernel:
            client = None
            for path in left:
                start = time.perf_counter()
                if client is None:
                    client = kernel.enter_context(
                        _kernel(quick, not alone(path), threads)
                    )
                error = execute(client, path, out)
                if error or alone(path):
                    kernel.close()
                    client = None
                took = time.perf_counter() - start
                if error:
                    print(f"FAILED {error}\n", file=sys.stderr, flush=True)
                else:
                    seconds[path.stem] = took
                end = "  FAILED" * bool(error)
                print(f"{path.stem:<44} {took:7.1f} s{end}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        for worker in [pool.submit(work) for _ in range(jobs)]:
            worker.result()
    return seconds


def keep_times(file: Path, seconds: dict[str, float], quick: bool, jobs: int) -> None:
    """Add the running times to `file`, and write them as a Markdown table, too."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    mode = kept.setdefault("quick" if quick else "full", {"seconds": {}})
    mode["cores"], mode["jobs"] = cores(), jobs
    mode["seconds"].update({name: round(s, 1) for name, s in seconds.items()})
    existing = {path.stem: path for path in sources()}
    for each in kept.values():
        each["seconds"] = {
            name: each["seconds"][name] for name in existing if name in each["seconds"]
        }
    file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    heads = [m for m in ("full", "quick") if m in kept]
    rows = [
        "| |" + "".join(f" {m}, s |" for m in heads),
        "|---|" + "---:|" * len(heads),
    ]
    for name, path in existing.items():
        cells = (f"{kept[m]['seconds'].get(name, '–')}" for m in heads)
        rows.append(f"| {title_of(path)} | " + " | ".join(cells) + " |")
    machine = "; ".join(
        f"{m} mode on {_count(kept[m]['cores'], 'CPU core')}, "
        f"{_count(kept[m]['jobs'], 'tutorial')} at a time"
        for m in heads
    )
    note = f"Seconds, including the start of the kernel: {machine}."
    table = "\n".join(rows) + f"\n\n{note}\n"
    file.with_suffix(".md").write_text(table, encoding="utf-8")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="use small sizes")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="parallel jobs"
    )
    parser.add_argument("--out", type=Path, default=DOCS / "tutorials", metavar="DIR")
    parser.add_argument("--times", type=Path, metavar="FILE.json")
    parser.add_argument("--solutions", action="store_true", help="also run solutions")
    parser.add_argument("--pair", action="store_true", help="only write notebooks")
    parser.add_argument("--check", action="store_true", help="fail if outdated")
    given = parser.parse_args()
    if given.jobs < 1:
        parser.error(f"--jobs must be at least 1; received {given.jobs}.")
    if given.times and given.times.suffix != ".json":
        parser.error(f"--times must be a .json file; received {given.times}.")
    return given


def main() -> int:
    """Run the command that the arguments select."""
    given = _arguments()
    if given.pair:
        wanted = dict(pairs())
        for path in stale():
            if path in wanted:
                path.write_text(wanted[path], encoding="utf-8")
            else:
                path.unlink()
            print(f"{'wrote' if path in wanted else 'removed'} {path.name}")
        return 0
    if given.check:
        names = ", ".join(path.name for path in stale())
        if names:
            print(f"Outdated: {names}. Run: python tutorials/run.py --pair")
        return int(bool(names))
    paths = sources(given.only)
    out = None if given.solutions else given.out
    seconds = run(paths, out, given.quick, given.jobs)
    if given.times and not given.solutions:
        keep_times(given.times, seconds, given.quick, given.jobs)
    failed = [path.stem for path in paths if path.stem not in seconds]
    print(f"{len(seconds)} passed, {sum(seconds.values()):.0f} s in total", end="")
    print(f"; failed: {', '.join(failed)}" if failed else "")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
