"""The project's documents, and the code in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent


def text_of(page: str) -> str:
    return (PROJECT / page).read_text(encoding="utf-8")


def blocks_of(page: str, mark: str, language: str = "python") -> list[str]:
    """Return the blocks of a page that follow the comment ``mark``."""
    found = re.findall(rf"<!-- {re.escape(mark)} -->\n```{language}\n(.*?)```", text_of(page), re.DOTALL)
    assert found, f"{page} has no block marked {mark!r}."
    return found


def run(blocks: list[str], names: dict[str, Any]) -> None:
    for block in blocks:
        exec(block, names)
