"""A hook of MkDocs: links to files of the repository outside of `docs/`, which the site lacks, become their text."""

from __future__ import annotations

import posixpath
import re
from typing import Any


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page without links that leave `docs/`."""
    folder = posixpath.dirname(page.file.src_uri)

    def linked(link: re.Match[str]) -> str:
        is_outside = posixpath.normpath(posixpath.join(folder, link["target"])).startswith("..")
        return link["text"] if is_outside else link[0]

    return re.sub(r"\[(?P<text>[^\]]+)\]\((?P<target>(?!\w+:)[^)#]+)[^)]*\)", linked, markdown)
