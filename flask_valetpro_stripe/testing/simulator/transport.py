"""The SDK's HTTP client over the simulator, without sockets."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe
from requests.structures import CaseInsensitiveDict
from werkzeug.test import EnvironBuilder, run_wsgi_app


class InProcessClient(stripe.HTTPClient):
    """Answers every request, whatever its host, from a WSGI app. Safe to share between threads."""

    name = "simulator"

    def __init__(self, wsgi_app: Any) -> None:
        super().__init__()
        self._app = wsgi_app

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        body, status, answer_headers = self._send(method, url, headers, post_data)
        return body.decode(), status, answer_headers

    def request_stream(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Iterable[bytes], int, Mapping[str, str]]:
        body, status, answer_headers = self._send(method, url, headers, post_data)
        return [body], status, answer_headers

    def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any
    ) -> tuple[bytes, int, Mapping[str, str]]:
        parts = urlsplit(url)
        data = post_data.encode() if isinstance(post_data, str) else post_data
        builder = EnvironBuilder(
            method=method.upper(),
            path=parts.path,
            query_string=parts.query,
            base_url=f"{parts.scheme}://{parts.netloc}",
            headers=list((headers or {}).items()),
            data=data,
        )
        try:
            chunks, status, answer_headers = run_wsgi_app(self._app, builder.get_environ(), buffered=True)
        except ConnectionError as error:
            # The simulator drops a connection by raising; the SDK must see what it sees on a real wire.
            message = f"Unexpected error communicating with Stripe. (Network error: {error})"
            raise stripe.APIConnectionError(message, should_retry=True) from error  # type: ignore[no-untyped-call]
        return b"".join(chunks), int(status.split()[0]), CaseInsensitiveDict(answer_headers.items())

    def close(self) -> None:
        """Nothing is open."""
