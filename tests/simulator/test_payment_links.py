"""Payment links: made, changed, used up."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import LinkInactive, Simulator
from tests.simulator.helpers import Browser, link_params

ONCE: Any = {"completed_sessions": {"limit": 1}}


def test_metadata_of_the_link_stays_off_the_payment(
    simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    intent_data = {"metadata": {"ticket": "12"}, "description": "Ticket 12"}
    link = plaza_client.v1.payment_links.create(
        link_params(metadata={"link": "yes"}, payment_intent_data=intent_data)
    )

    session = simulator.pay(link.url)

    intent = plaza_client.v1.payment_intents.retrieve(session["payment_intent"], {"expand": ["latest_charge"]})
    assert session["metadata"] == {"link": "yes"}
    assert intent.metadata.to_dict() == {"ticket": "12"}
    assert intent.latest_charge.metadata.to_dict() == {"ticket": "12"}
    assert intent.latest_charge.description == "Ticket 12"


def test_one_off_link_is_inactive_after_one_payment(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    link = plaza_client.v1.payment_links.create(link_params(restrictions=ONCE, inactive_message="Paid already."))

    simulator.pay(link.id)

    after = plaza_client.v1.payment_links.retrieve(link.id)
    assert after.active is False
    assert after.restrictions.completed_sessions.count == 1
    with pytest.raises(LinkInactive, match=r"Paid already\."):
        simulator.pay(link.url)


def test_two_open_pages_of_a_one_off_link_take_one_payment(
    simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    link = plaza_client.v1.payment_links.create(link_params(restrictions=ONCE))
    browser = Browser(simulator)
    here, there = browser.open_link(link.url), browser.open_link(link.url)

    simulator.pay(here)

    with pytest.raises(LinkInactive):
        simulator.pay(there)
    sessions = plaza_client.v1.checkout.sessions.list({"payment_link": link.id})
    assert sorted(session.payment_status for session in sessions) == ["paid", "unpaid"]


def test_deactivated_link_takes_nothing_and_can_be_activated_again(
    simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    link = plaza_client.v1.payment_links.create(link_params())
    plaza_client.v1.payment_links.update(link.id, {"active": False})

    with pytest.raises(LinkInactive):
        simulator.pay(link.url)

    plaza_client.v1.payment_links.update(link.id, {"active": True})
    assert simulator.pay(link.url)["payment_status"] == "paid"


def test_update_says_what_it_was_before(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    link = plaza_client.v1.payment_links.create(link_params(metadata={"a": "1", "b": "2"}))

    updated = plaza_client.v1.payment_links.update(link.id, {"active": False, "metadata": {"a": "", "c": "3"}})

    assert updated.metadata.to_dict() == {"b": "2", "c": "3"}
    event = simulator.events[-1]
    assert event["type"] == "payment_link.updated"
    assert event["data"]["previous_attributes"] == {"active": True, "metadata": {"a": "1", "b": "2"}}


def test_line_items_and_prices_can_be_read_back(plaza_client: stripe.StripeClient) -> None:
    product = plaza_client.v1.products.create({"name": "Night valet"})
    price = plaza_client.v1.prices.create({"product": product.id, "currency": "jpy", "unit_amount": 3000})
    link = plaza_client.v1.payment_links.create(
        {"line_items": [{"price": price.id, "quantity": 2}], "expand": ["line_items"]}
    )

    items = plaza_client.v1.payment_links.line_items.list(link.id)

    assert [(item.description, item.amount_total, item.currency) for item in items] == [("Night valet", 6000, "jpy")]
    assert link.line_items is not None
    assert [item.id for item in link.line_items] == [item.id for item in items]


def test_lists_come_newest_first_a_page_at_a_time(plaza_client: stripe.StripeClient) -> None:
    made = [plaza_client.v1.payment_links.create(link_params()).id for _ in range(5)]

    first = plaza_client.v1.payment_links.list({"limit": 2})
    everything = [link.id for link in plaza_client.v1.payment_links.list({"limit": 2}).auto_paging_iter()]
    before = plaza_client.v1.payment_links.list({"limit": 2, "ending_before": made[0]})

    assert ([link.id for link in first], first.has_more) == ([made[4], made[3]], True)
    assert everything == made[::-1]
    assert [link.id for link in before] == [made[2], made[1]]
    with pytest.raises(stripe.InvalidRequestError, match="less than or equal to 100"):
        plaza_client.v1.payment_links.list({"limit": 101})
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_link: 'plink_none'"):
        plaza_client.v1.payment_links.list({"starting_after": "plink_none"})
