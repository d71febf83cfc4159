"""Add the tutorials to the site, with their outputs and without scripts."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

log = logging.getLogger("mkdocs.hooks.notebooks")

TUTORIALS = Path(__file__).resolve().parent.parent / "tutorials"
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
_LINK = re.compile(r'href="((?!\w+:)[^"#]*?)\.(ipynb|md)(#[^"]*)?"')
# A code cell with the tag `hide-input`: its toolbar of tags, and its code with a title
_FOLDED = re.compile(
    r'(celltag_hide-input" id="(?:(?!<div class="celltoolbar">).)*)'
    r'<div class="celltoolbar">.*?(<div class="CodeMirror.*?)'
    r'(<div class="highlight-ipynb hl-python"><pre>)((?:(?!</pre>).)*?)'
    r'<span class="c1"># @title ([^<]*)</span>\n(.*?</pre>\s*</div>)',
    re.DOTALL,
)
_NOTE = (
    '<div class="admonition note"><p class="admonition-title">Without outputs</p>'
    "<p>This copy was not executed. <code>python tutorials/run.py</code> does so.</p>"
    "</div>"
)


def on_config(config: Any) -> Any:
    """Add all tutorials after the overview, in order."""
    for entry in config.nav:
        if "Tutorials" in entry:
            entry["Tutorials"] += [f"tutorials/{pair.name}" for pair in _pairs()]
    return config


@event_priority(100)  # before the plugin that turns the notebooks into pages
def on_files(files: Files, config: Any) -> Files:
    """Use the notebook without outputs if it was not executed since it changed."""
    for pair in _pairs():
        uri = f"tutorials/{pair.name}"
        executed = files.get_file_from_path(uri)
        if executed is not None and executed.abs_src_path is not None:
            if _cells(Path(executed.abs_src_path)) == _cells(pair):
                continue
            files.remove(executed)
        log.info(f"{uri} is shown without outputs")
        where = str(TUTORIALS.parent), config.site_dir, config.use_directory_urls
        files.append(File(uri, *where))
    return files


def on_page_content(content: str, page: Any, files: Files, **kwargs: Any) -> str:
    """Remove scripts from the page of a notebook, and adapt its links."""
    if not page.file.src_uri.endswith(".ipynb"):
        return content
    if Path(page.file.abs_src_path).parent == TUTORIALS:
        content = _NOTE + content

    def link(found: re.Match[str]) -> str:
        # Notebooks link to each other and to pages, relative to their own folder.
        path = found[1].removeprefix("../docs/")
        uri = f"tutorials/{path}.ipynb" if found[2] == "ipynb" else f"{path}.md"
        target = files.get_file_from_path(uri)
        if target is None:
            log.warning(f"{page.file.src_uri} links to '{uri}', which does not exist")
            return found[0]
        return f'href="{target.url_relative_to(page.file)}{found[3] or ""}"'

    content = _FOLDED.sub(
        r"\1\2<details><summary>Code: \5</summary>\3\4\6</details>",
        _SCRIPT.sub("", content),
    )
    return _LINK.sub(link, content)


def _pairs() -> list[Path]:
    return sorted(TUTORIALS.glob("[0-9][0-9]_*.ipynb"))


def _cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells]
