"""The handlers of events: ours in one table, the host's by ``@valetpro.on``, called in the order of registration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .models import WebhookEvent

Handler = Callable[[WebhookEvent], object]


@dataclass
class Registry:
    """The handlers of one ValetProStripe, by event type."""

    _handlers: dict[str, list[Handler]] = field(default_factory=dict)

    def add(self, event_type: str, handler: Handler) -> None:
        """Call ``handler`` for events of ``event_type``; ``"*"`` is every type."""
        self._handlers.setdefault(event_type, []).append(handler)

    def handlers_of(self, event_type: str) -> Iterator[Handler]:
        """Yield the handlers of one type, then those of every type."""
        yield from self._handlers.get(event_type, ())
        yield from self._handlers.get("*", ())

    @property
    def types(self) -> frozenset[str]:
        """Return every type that somebody handles; ``"*"`` among them if somebody handles all."""
        return frozenset(self._handlers)
