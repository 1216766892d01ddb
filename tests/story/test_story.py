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

pytestmark = [pytest.mark.browser, pytest.mark.oldest, pytest.mark.both]

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

        amounts = {plaza.account_id: 2500, seaside.account_id: 4000}
        assert {account_id: paid_at_stripe(desk, account_id) for account_id in amounts} == {
            account_id: [amount] for account_id, amount in amounts.items()
        }
        assert paid_at_the_desk(desk) == {
            ("Plaza Hotel", "Ada Lovelace", plaza.account_id, PaymentStatus.COMPLETED, 2500),
            ("Seaside Resort", "Grace Hopper", seaside.account_id, PaymentStatus.COMPLETED, 4000),
        }
        assert links_asked_for(desk) == amounts, "Each hotel's payment link is made on that hotel's account."


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


def links_asked_for(desk: Served) -> dict[str | None, int]:
    """Return the amount of the one payment link that was asked for on each account."""
    asked = [each for each in desk.simulator.requests if (each.method, each.path) == ("POST", "/v1/payment_links")]
    accounts = [each.stripe_account for each in asked]
    assert len(accounts) == len(set(accounts))
    return {each.stripe_account: int(each.params["line_items"][0]["price_data"]["unit_amount"]) for each in asked}
