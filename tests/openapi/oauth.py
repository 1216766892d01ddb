"""Connect's OAuth endpoints, which Stripe's description leaves out; written by hand from its OAuth reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string", "maxLength": 5000}
_ERROR_CODES = [
    "invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "access_denied",
    "unsupported_grant_type", "unsupported_response_type",
]  # fmt: skip
_SCOPES: Schema = {"type": "string", "enum": ["read_write", "read_only"]}
_ERROR: Schema = {
    "type": "object",
    "required": ["error", "error_description"],
    "properties": {"error": {"type": "string", "enum": _ERROR_CODES}, "error_description": _TEXT, "state": _TEXT},
    "additionalProperties": False,
}
_TOKEN: Schema = {
    "type": "object",
    "required": [
        "access_token", "livemode", "refresh_token", "scope", "stripe_publishable_key", "stripe_user_id", "token_type",
    ],
    "properties": {
        "access_token": {**_TEXT, "pattern": "^(sk|rk)_(test|live)_"},
        "livemode": {"type": "boolean"},
        "refresh_token": {**_TEXT, "pattern": "^rt_"},
        "scope": _SCOPES,
        "stripe_publishable_key": {**_TEXT, "pattern": "^pk_(test|live)_"},
        "stripe_user_id": {**_TEXT, "pattern": "^acct_"},
        "token_type": {"type": "string", "enum": ["bearer"]},
    },
    "additionalProperties": False,
}  # fmt: skip


def _body(required: list[str], properties: Mapping[str, Schema]) -> Schema:
    schema = {"type": "object", "required": required, "properties": properties, "additionalProperties": False}
    return {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}


def _answers(success: Schema) -> Schema:
    return {
        status: {"content": {"application/json": {"schema": schema}}}
        for status, schema in (("200", success), ("default", _ERROR))
    }


def _query(name: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"in": "query", "name": name, "required": required, "schema": schema}


PATHS: Mapping[str, Mapping[str, Schema]] = {
    "/oauth/authorize": {
        "get": {
            "parameters": [
                _query("client_id", {**_TEXT, "pattern": "^ca_"}, required=True),
                _query("response_type", {"type": "string", "enum": ["code"]}, required=True),
                _query("redirect_uri", _TEXT),
                _query("scope", _SCOPES),
                _query("state", _TEXT),
                _query("stripe_landing", {"type": "string", "enum": ["login", "register"]}),
                _query("always_prompt", {"type": "boolean"}),
                _query("stripe_user", {"type": "object", "additionalProperties": _TEXT}),
            ],
        }
    },
    "/oauth/token": {
        "post": {
            "requestBody": _body(
                ["grant_type", "code"],  # we never refresh: the platform's own key is what we act with
                {
                    "grant_type": {"type": "string", "enum": ["authorization_code"]},
                    "code": {**_TEXT, "pattern": "^ac_"},
                    "scope": _SCOPES,
                    "client_secret": _TEXT,
                },
            ),
            "responses": _answers(_TOKEN),
        }
    },
    "/oauth/deauthorize": {
        "post": {
            "requestBody": _body(
                ["client_id", "stripe_user_id"],
                {"client_id": {**_TEXT, "pattern": "^ca_"}, "stripe_user_id": {**_TEXT, "pattern": "^acct_"}},
            ),
            "responses": _answers(
                {
                    "type": "object",
                    "required": ["stripe_user_id"],
                    "properties": {"stripe_user_id": {**_TEXT, "pattern": "^acct_"}},
                    "additionalProperties": False,
                }
            ),
        }
    },
}
