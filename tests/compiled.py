"""Statements that one engine has compiled, for the engines of all later tests: compiling them is most of a test."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

#: With any other option, an engine may need other statements.
_USUAL = {"url", "echo", "echo_pool"}


def keep_compiled(patch: pytest.MonkeyPatch) -> None:
    """Let all engines of one kind of database share a dialect, and what was compiled for it; nothing else."""
    make_engine, first = SQLAlchemy._make_engine, dict[str, tuple[Any, Any]]()

    def make_and_share(db: SQLAlchemy, bind_key: str | None, options: dict[str, Any], app: Flask) -> sa.Engine:
        engine: Any = make_engine(db, bind_key, options, app)
        if options.keys() <= _USUAL:
            ours = engine.dialect, engine._compiled_cache
            engine.dialect, engine._compiled_cache = first.setdefault(f"{engine.name}+{engine.driver}", ours)
            engine.pool._dialect = engine.dialect
        return engine

    patch.setattr(SQLAlchemy, "_make_engine", make_and_share)
