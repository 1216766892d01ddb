"""What the v2 API does differently: JSON bodies, ISO times, and errors of its own form."""

import json
from datetime import UTC, datetime

from werkzeug import Request

from .errors import ApiError, invalid
from .ledger import Json

# Every v2 error has a code. What Stripe says where v1 has none is assumed.
_CODES = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 429: "rate_limit", 500: "internal_error"}
_SHOWN = ("message", "type", "code", "doc_url", "user_message")


def is_v2(request: Request) -> bool:
    return request.path.startswith("/v2/")


def read_body(request: Request) -> Json:
    """Return the JSON object of a request's body, or raise a 400."""
    text = request.get_data(as_text=True)
    if not text:
        return {}
    if request.mimetype != "application/json":
        message = f"Unsupported Content-Type: {request.mimetype or 'none'}. The v2 API takes application/json."
        raise ApiError(400, message, code="invalid_content_type")
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise invalid("The request body is not a JSON object.", code="invalid_json")
    return {name: value for name, value in body.items() if value is not None}


def error_body(error: ApiError) -> Json:
    """Return the answer to a refused v2 request: no ``param``, and always a code."""
    shown = {name: error.error[name] for name in _SHOWN if name in error.error}
    return {"error": {"code": _CODES.get(error.status, "invalid_request"), **shown}}


def iso(moment: float) -> str:
    """Return a time as v2 writes it: ``2026-10-28T09:30:00.000Z``."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
