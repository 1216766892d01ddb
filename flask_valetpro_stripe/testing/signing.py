"""Signatures as Stripe puts them on webhook deliveries."""

import hashlib
import hmac
import time
from collections.abc import Iterable


def sign(body: bytes, secret: str, *, timestamp: int | None = None) -> str:
    """Return a ``Stripe-Signature`` header for ``body``, dated now unless ``timestamp`` says otherwise."""
    return sign_with_all(body, [secret], timestamp=int(time.time()) if timestamp is None else timestamp)


def sign_with_all(body: bytes, secrets: Iterable[str], *, timestamp: int) -> str:
    """Return a header with one ``v1`` for each secret, as Stripe sends it while a secret is being rolled."""
    signed = f"{timestamp}.".encode() + body
    digests = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={digest}" for digest in digests)])
