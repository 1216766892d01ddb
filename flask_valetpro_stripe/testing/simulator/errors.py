"""Stripe's error answers: status, code, wording."""

from typing import Any


class ApiError(Exception):
    """An answer other than 200, raised anywhere below a request."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.error: dict[str, Any] = {"message": message, "type": type, **more}
        if code is not None:
            self.error |= {"code": code, "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"}
        if param is not None:
            self.error["param"] = param

    def body(self) -> dict[str, Any]:
        return {"error": self.error}


def missing(kind: str, id: str, *, param: str = "id", other_mode: bool | None = None) -> ApiError:
    """Return the answer for an id that this account does not have in this mode."""
    hint = ""
    if other_mode is not None:
        there, here = ("live", "test") if other_mode else ("test", "live")
        hint = f"; a similar object exists in {there} mode, but a {here} mode key was used to make this request."
    return ApiError(404, f"No such {kind}: '{id}'{hint}", code="resource_missing", param=param)


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def missing_param(param: str) -> ApiError:
    return invalid(f"Missing required param: {param}.", param, "parameter_missing")


def unexpected_state(kind: str, message: str, **more: Any) -> ApiError:
    return ApiError(400, message, code=f"{kind}_unexpected_state", **more)


def no_access(key: str, account: str) -> ApiError:
    message = (
        f"The provided key '{masked(key)}' does not have access to account '{account}' (or that account does not "
        "exist). Application access may have been revoked."
    )
    return ApiError(403, message, code="account_invalid")


def masked(key: str) -> str:
    """Return a key as Stripe shows it in messages: its prefix and last four characters."""
    head = "_".join(key.split("_")[:2]) if key.count("_") >= 2 else key[:3]
    return f"{head}_{'*' * 24}{key[-4:]}"


class CardDeclined(Exception):
    """The card was refused; ``code`` and ``decline_code`` are Stripe's, ``session`` is the session that stays open."""

    def __init__(self, error: dict[str, Any], session: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: str | None = error.get("code")
        self.decline_code: str | None = error.get("decline_code")
        self.error = error
        self.session = session


class LinkInactive(Exception):
    """The payment link or session can't be paid: it is deactivated, used up, completed or expired."""
