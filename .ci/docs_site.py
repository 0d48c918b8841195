"""Hook of mkdocs.yml: links of the pages that lead out of docs/ to files of the repository become the file's path in words.

The pages are read in a checkout as well, where these links work; the site has no such files. One that is not there ends the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)([^)#\s]+)(#[^)]*)?\)")


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

    return _LINK.sub(replaced, markdown)
