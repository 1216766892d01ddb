"""Several processes, through sockets: one key makes one link, and no more is given back than was paid."""

from __future__ import annotations

from typing import Any

import pytest

from flask_valetpro_stripe import errors, payments
from flask_valetpro_stripe.testing import Simulator
from tests.children import run_children
from tests.hosts import make_host
from tests.payments.desk import Desk, in_parallel, links_at
from tests.payments.serving import served
from tests.servers import free_port

pytestmark = [pytest.mark.both, pytest.mark.slow("starts processes that import the app")]

PROCESSES, THREADS = 2, 10
#: Of 10.00 each, at once, of a payment of 100.00.
REFUNDS = 50


def make_many(database_url: str, config: dict[str, Any], tenant_id: int) -> list[Any]:
    """Run in a process of its own: the same call from many threads, each as one request."""
    with make_host(database_url, config=config) as host:
        with host.app.app_context():
            tenant = host.tenant(tenant_id)
        desk = Desk(host, tenant, None)
        answers = in_parallel(THREADS, lambda: desk.make(idempotency_key="ticket-7"))
        return [repr(a) if isinstance(a, Exception) else (a.id, a.stripe_payment_link_id) for a in answers]


def test_two_processes_with_ten_threads_each_make_one_link(database_url: str) -> None:
    port = free_port()
    simulator = Simulator(base_url=f"http://127.0.0.1:{port}")
    host = make_host(database_url, simulator=simulator)
    desk = Desk.of(host, "Plaza")
    with served(simulator, port):
        made = run_children(PROCESSES, make_many, database_url, simulator.config(), desk.tenant.id)
        answers = [answer for share in made for answer in share]

    (payment,) = desk.payments() or [None]
    assert payment is not None, answers
    assert set(answers) == {(payment.id, payment.stripe_payment_link_id)}
    assert len(answers) == PROCESSES * THREADS
    assert len(links_at(simulator, desk.account)) == 1
    host.close()


def give_back_many(database_url: str, config: dict[str, Any], tenant_id: int, payment_id: int) -> list[str]:
    """Run in a process of its own: many refunds at once, each as one request with no key."""
    with make_host(database_url, config=config) as host:
        with host.app.app_context():
            desk = Desk(host, host.tenant(tenant_id), None)
            payment = host.db.session.get_one(host.Payment, payment_id)
            host.db.session.expunge_all()
        return in_parallel(REFUNDS // PROCESSES, lambda: give_back(desk, payment))


def give_back(desk: Desk, payment: Any) -> str:
    """Give 10.00 back, and return the error's name, or what Stripe calls the refund."""
    with desk.open():
        try:
            refund = payments.refund(desk.host.db.session.get_one(desk.host.Payment, payment.id), amount=1000)
        except errors.ValetProStripeError as error:
            return type(error).__name__
        return str(refund.stripe_refund_id)


def test_fifty_refunds_from_two_processes_give_back_what_was_paid(database_url: str) -> None:
    port = free_port()
    simulator = Simulator(base_url=f"http://127.0.0.1:{port}")
    with make_host(database_url, simulator=simulator) as host, served(simulator, port):
        desk = Desk.of(host, "Plaza")
        payment = desk.make(amount=10_000)
        simulator.pay(payment.stripe_payment_link_url)
        payment = desk.sync(payment)
        known = (database_url, simulator.config(), desk.tenant.id, payment.id)
        answers = [answer for share in run_children(PROCESSES, give_back_many, *known) for answer in share]

        made = {answer for answer in answers if answer.startswith("re_")}
        assert (len(answers), len(made), answers.count("RefundError")) == (REFUNDS, 10, 40), answers
        assert simulator.object(payment.stripe_charge_id)["amount_refunded"] == 10_000
        assert (desk.now(payment).status, desk.now(payment).amount_refunded) == ("REFUNDED", 10_000)
