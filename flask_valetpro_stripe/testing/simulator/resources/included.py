"""Fields that an object shows only when they are expanded."""

from ..checkout import items_of
from ..lists import Included
from .charges import refunds_of

INCLUDED: dict[tuple[str, str], Included] = {
    ("payment_link", "line_items"): items_of,
    ("checkout.session", "line_items"): items_of,
    ("charge", "refunds"): refunds_of,
}
