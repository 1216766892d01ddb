"""Past-tense facts that a host app can listen to. The sender is the real Flask app; receivers' answers mean nothing.

Each is sent after the fact is committed, with keywords: ``tenant`` and what the fact is about (``connection``,
``payment``, ``event``, ``refund``).
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

#: A tenant got a connection that takes payments (``tenant``, ``connection``).
tenant_connected = _signals.signal("tenant_connected")
#: A tenant's connection ended, by its admin, the operator, or at Stripe (``tenant``, ``connection``).
tenant_disconnected = _signals.signal("tenant_disconnected")
#: A payment exists, and Stripe has the object for it (``tenant``, ``payment``).
payment_created = _signals.signal("payment_created")
#: A payment changed by what Stripe told us (``tenant``, ``payment``).
payment_updated = _signals.signal("payment_updated")
#: A refund changed (``tenant``, ``refund``).
refund_updated = _signals.signal("refund_updated")
#: A genuine event was handled for the first time (``event``).
webhook_received = _signals.signal("webhook_received")
#: A genuine event was kept without running a handler (``event``; its ``error`` says why).
webhook_parked = _signals.signal("webhook_parked")
#: A handler raised; Stripe will deliver the event again (``event_id``, ``type``, ``error``).
webhook_failed = _signals.signal("webhook_failed")
#: A tenant's credentials were exchanged for newer ones (``tenant``, ``connection``).
secret_rotated = _signals.signal("secret_rotated")
#: A payout to a tenant's bank failed (``tenant``, ``event``). Not sent yet.
payout_failed = _signals.signal("payout_failed")
