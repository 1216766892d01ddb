"""A hotel connects Stripe, a guest pays, the desk sees it paid: two hotels at once, in a real browser."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.async_api import async_playwright

from flask_valetpro_stripe import PaymentStatus
from sample_app.extensions import db
from sample_app.models import Payment, Tenant, Ticket
from tests.story.people import Hotel, whole_way
from tests.story.served import Served, served

pytestmark = [pytest.mark.browser, pytest.mark.oldest]

#: Set it to look at every page of the story: `make screenshots`.
PICTURES = Path(os.environ["SCREENSHOTS"]) if "SCREENSHOTS" in os.environ else None


def hotels(simulator: Any) -> tuple[Hotel, Hotel]:
    plaza = simulator.create_account("Plaza Hotel SAS").id
    seaside = simulator.create_account("Seaside Resort SARL").id
    return (
        Hotel("Plaza Hotel", "admin@plaza.example", "staff@plaza.example", plaza, "Ada Lovelace", "AB-123-CD", "25"),
        Hotel("Seaside", "admin@seaside.example", "admin@seaside.example", seaside, "Grace Hopper", "XY-987-Z", "40"),
    )


@pytest.mark.both
@pytest.mark.slow("starts Chromium, and two hotels walk through the whole way")
def test_two_hotels_at_once_are_each_paid_on_their_own_account(
    database_url: str, browser_type_launch_args: dict[str, Any]
) -> None:
    with served(database_url) as desk:
        plaza, seaside = hotels(desk.simulator)

        async def both() -> None:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(**browser_type_launch_args)
                await asyncio.gather(*(whole_way(browser, desk.desk_url, each, PICTURES) for each in (plaza, seaside)))
                await browser.close()

        asyncio.run(both())

        for hotel, amount in ((plaza, 2500), (seaside, 4000)):
            assert paid_at_stripe(desk, hotel.account_id) == [amount]
        assert paid_at_the_desk(desk) == {
            ("Plaza Hotel", "Ada Lovelace", plaza.account_id, PaymentStatus.COMPLETED, 2500),
            ("Seaside Resort", "Grace Hopper", seaside.account_id, PaymentStatus.COMPLETED, 4000),
        }
        assert nothing_of_one_reached_the_other(desk, plaza, seaside)


def paid_at_stripe(desk: Served, account_id: str) -> list[int]:
    """Return what Stripe says that guests paid on one account, in minor units."""
    events = desk.simulator.events_of(account_id)
    return [event["data"]["object"]["amount"] for event in events if event["type"] == "charge.succeeded"]


def paid_at_the_desk(desk: Served) -> set[tuple[Any, ...]]:
    with desk.app.app_context():
        rows = db.session.execute(
            sa.select(Tenant.name, Ticket.guest_name, Payment.stripe_account_id, Payment.status, Payment.amount)
            .join(Ticket, Ticket.tenant_id == Tenant.id)
            .join(Payment, Ticket.payment_id == Payment.id)
            .where(Payment.tenant_id == Tenant.id)
        )
        return {tuple(row) for row in rows}


def nothing_of_one_reached_the_other(desk: Served, *told: Hotel) -> bool:
    """Every request for a hotel's ticket went to that hotel's account, and to no other."""
    for request in desk.simulator.requests:
        for hotel in told:
            if hotel.guest in str(request.params) or hotel.plate in str(request.params):
                assert request.stripe_account == hotel.account_id
    used = {request.stripe_account for request in desk.simulator.requests if request.path == "/v1/payment_links"}
    return used == {hotel.account_id for hotel in told}
