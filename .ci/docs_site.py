"""Hook of mkdocs.yml: links of the pages that lead out of docs/ to files of the repository become the file's path in words.

The pages are read in a checkout as well, where these links work; the site has no such files. One that is not there ends the build.
Where `make recording` left a picture of a run, the first page shows it: it is made in CI and not committed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)([^)#\s]+)(#[^)]*)?\)")
_RECORDING = Path(__file__).parents[1] / "build" / "recording"
_PICTURE = "pictures/terminal.svg"
_FIRST_PAGE = "README.md"


def on_files(files: Any, config: Any, **_others: Any) -> Any:
    """With the recording, if there is one."""
    if (_RECORDING / "terminal.svg").exists():
        files.append(File.generated(config, _PICTURE, abs_src_path=str(_RECORDING / "terminal.svg")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_others: Any) -> str:
    """The page's text with those links replaced."""
    docs = Path(config.docs_dir).resolve()
    source = docs / page.file.src_uri

    def replaced(match: re.Match[str]) -> str:
        text, link = match[1], match[2]
        path = (source.parent / link).resolve()
        if path.is_relative_to(docs) and path.suffix != ".py" and not path.is_dir():
            return match[0]
        if not path.exists():
            raise PluginError(f"{page.file.src_uri}: the link to {link} leads nowhere")
        shown = path.relative_to(docs.parent).as_posix()
        return text if text.strip("`") == shown else f"{text} (`{shown}`)"

    shown = _LINK.sub(replaced, markdown)
    return _with_recording(shown) if page.file.src_uri == _FIRST_PAGE else shown


def _with_recording(markdown: str) -> str:
    """The picture below the title and the paragraph after it."""
    if not (_RECORDING / "terminal.svg").exists():
        return markdown
    title, introduction, rest = markdown.split("\n\n", 2)
    caption = (_RECORDING / "caption.txt").read_text(encoding="utf-8").strip()
    picture = f"![A terminal: from a table to a prediction, in four commands]({_PICTURE})\n\n*{caption}*"
    return "\n\n".join((title, introduction, picture, rest))
