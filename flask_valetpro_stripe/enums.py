"""The words of this extension, each stored in the database as its own value."""

from __future__ import annotations

from enum import StrEnum


class AccountType(StrEnum):
    """How a connection reaches Stripe."""

    PLATFORM = "PLATFORM"
    CONNECT_STANDARD = "CONNECT_STANDARD"
    CONNECT_EXPRESS = "CONNECT_EXPRESS"
    CONNECT_CUSTOM = "CONNECT_CUSTOM"
    RAW_KEYS = "RAW_KEYS"


class OnboardingStatus(StrEnum):
    """How far a connection is: only CONNECTED takes payments."""

    NOT_CONNECTED = "NOT_CONNECTED"
    PENDING = "PENDING"
    CONNECTED = "CONNECTED"
    REVOKED = "REVOKED"


class Mode(StrEnum):
    """Stripe's two worlds. An object of one never exists in the other."""

    test = "test"
    live = "live"

    @property
    def livemode(self) -> bool:
        """Return Stripe's own flag for this mode."""
        return self is Mode.live

    @classmethod
    def of(cls, livemode: bool) -> Mode:
        """Return the mode for Stripe's ``livemode`` flag."""
        return cls.live if livemode else cls.test


class PaymentStatus(StrEnum):
    """Where a payment stands. Money wins: a COMPLETED payment never goes back to an earlier word."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"
    DISPUTED = "DISPUTED"


class CaptureMethod(StrEnum):
    """When a guest's money is taken: at once, or held on the card until it is captured."""

    automatic = "automatic"
    manual = "manual"


class CollectedVia(StrEnum):
    """Whose Stripe account took the money."""

    PLATFORM = "PLATFORM"
    TENANT = "TENANT"


class EventStatus(StrEnum):
    """Where a row of the inbox stands.

    ``received`` and ``failed`` wait for somebody to take them, ``processing`` is somebody's until its lease ends,
    ``dead`` failed too often and waits for a person. ``parked`` is genuine, kept for audit, and has no handler's work
    to do.
    """

    received = "received"
    processing = "processing"
    processed = "processed"
    failed = "failed"
    dead = "dead"
    parked = "parked"


class OperationState(StrEnum):
    """Where a mutating call to Stripe stands. ``unknown`` means that the answer did not arrive."""

    new = "new"
    unknown = "unknown"
    done = "done"
    failed = "failed"
