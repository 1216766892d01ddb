"""What one app has compiled, for the apps of all later tests: SQL statements and URL rules are most of a small test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from werkzeug.routing import Rule

#: With any other option, an engine may need other statements.
_USUAL = {"url", "echo", "echo_pool"}


def keep_compiled(patch: pytest.MonkeyPatch) -> None:
    """Share compiled statements and URL rules between the apps of this process."""
    _keep_statements(patch)
    _keep_url_builders(patch)


def _keep_statements(patch: pytest.MonkeyPatch) -> None:
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


def _keep_url_builders(patch: pytest.MonkeyPatch) -> None:
    """Werkzeug compiles two functions for each rule; one that is written the same builds the same URLs."""
    compile_builder, kept = Rule._compile_builder, dict[tuple[Any, ...], Callable[..., Any]]()

    def compile_once(rule: Rule, append_unknown: bool = True) -> Callable[..., Any]:
        if rule.defaults:  # These are converted while compiling.
            return compile_builder(rule, append_unknown)
        written = rule.rule, tuple(rule._trace), append_unknown
        if written not in kept:
            kept[written] = compile_builder(rule, append_unknown)
        return kept[written]

    patch.setattr(Rule, "_compile_builder", compile_once)
