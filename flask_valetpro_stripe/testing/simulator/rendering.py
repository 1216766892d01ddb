"""The simulator's HTML pages."""

from pathlib import Path
from typing import Any

import jinja2
from werkzeug import Response

from .amounts import display

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_TEMPLATES.filters["money"] = lambda amount, currency: display(amount, currency)


def render(template: str, status: int = 200, **context: Any) -> Response:
    """Return a page; nothing of it may be cached."""
    html = _TEMPLATES.get_template(template).render(**context)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
    return Response(html, status, headers, content_type="text/html; charset=utf-8")
