"""The tenant's payments on the settings pages: its own, in words, and a form that gives one back."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.connections import disconnect
from flask_valetpro_stripe.testing import Simulator
from flask_valetpro_stripe.ui.payments import PAGE as ON_A_PAGE
from tests.connections.admin import PAGE, Admin, text_of
from tests.hosts import KEYS, make_host
from tests.payments.desk import Desk, rows

LIST = f"{PAGE}/payments"


def admin_of(desk: Desk, **who: Any) -> Admin:
    return Admin.of(desk.host, desk.tenant, **who)


def paid(desk: Desk, **asked: Any) -> Any:
    payment = desk.make(**asked)
    desk.simulator.pay(payment.stripe_payment_link_url)
    desk.hear()
    return desk.now(payment)


def give_back(admin: Admin, payment: Any, **form: str) -> Any:
    return post(admin, payment.id, **{"once": "once-1", **form})


def post(admin: Admin, key: Any, **form: str) -> Any:
    token = admin.host.csrf_token(admin.browser)
    return admin.browser.post(f"{LIST}/{key}/refund", data={"csrf_token": token, **form})


def refunds_of(desk: Desk) -> list[Any]:
    return rows(desk.host, desk.host.valetpro.models.Refund, tenant_id=desk.tenant.id)


def test_a_tenant_sees_its_own_payments_in_words(plaza: Desk, seaside: Desk) -> None:
    paid(plaza, description="Parking, ticket 7", reference="T-7")
    plaza.make(description="Not paid")
    seaside.make(description="Somebody else's")
    held = plaza.make_intent(capture_method="manual", description="A deposit")
    plaza.confirm(held)
    plaza.hear()

    page = text_of(admin_of(plaza).browser.get(LIST))
    for words in ("Parking, ticket 7", "T-7", "€25.00", "Paid", "Not paid yet", "Held on the card", "Receipt"):
        assert words in page
    assert "Somebody else" not in page
    assert page.count("Empty: all that is left") == 1
    assert "No payment was made in live mode yet" in text_of(admin_of(plaza).browser.get(f"{LIST}?mode=live"))


@pytest.mark.parametrize("key", sorted(KEYS))
def test_an_admin_gives_a_part_back_and_then_the_rest(database_url: str, simulator: Simulator, key: str) -> None:
    with make_host(database_url, simulator=simulator, key=key) as host:
        plaza = Desk.of(host, "Plaza")
        payment, admin = paid(plaza), admin_of(plaza)
        answer = give_back(admin, payment, amount="10.00", reason="duplicate")

        assert (answer.status_code, answer.location) == (303, f"{LIST}?done=refunded&mode=test&page=1")
        assert "The refund is made" in text_of(admin.browser.get(answer.location))
        assert [(row.amount, row.reason) for row in refunds_of(plaza)] == [(1000, "duplicate")]
        give_back(admin, payment, once="once-2")
        assert plaza.now(payment).status == "REFUNDED"
        assert [row.amount for row in refunds_of(plaza)] == [1000, 1500]
        entries = rows_of_audit(plaza)
        asked = [entry.detail["amount"] for entry in entries if entry.action == "refund_asked"]
        assert asked == [1000, None]
        page = text_of(admin.browser.get(f"{PAGE}/history"))
        assert "Asked for a refund: €10.00" in page
        assert "Asked for a refund: all that was left" in page


def rows_of_audit(desk: Desk) -> list[Any]:
    model = desk.host.valetpro.models.AuditEntry
    with desk.host.app.app_context():
        found = list(desk.host.db.session.scalars(sa.select(model).order_by(model.sequence)))
        desk.host.db.session.expunge_all()
        return found


@pytest.mark.both
def test_a_second_click_is_the_same_refund(plaza: Desk) -> None:
    payment, admin = paid(plaza), admin_of(plaza)
    for _ in range(3):
        assert give_back(admin, payment, amount="10.00").status_code == 303
    assert [row.amount for row in refunds_of(plaza)] == [1000]
    assert [entry.action for entry in rows_of_audit(plaza)].count("refund_asked") == 1


@pytest.mark.parametrize("amount", ["10.005", "1e3", "NaN", "-5", "abc", "0", "25.01", "0.1+0.2"])
def test_an_amount_that_cannot_be_is_told_on_the_page(plaza: Desk, amount: str) -> None:
    payment, admin = paid(plaza), admin_of(plaza)
    answer = give_back(admin, payment, amount=amount)

    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    # As it was typed; it has been used for nothing.
    assert f'value="{amount}"' in answer.text
    assert 'value="once-1"' not in answer.text
    assert refunds_of(plaza) == []


def test_another_tenants_payment_does_not_exist_here(plaza: Desk, seaside: Desk) -> None:
    payment, stranger = paid(plaza), admin_of(seaside)
    for key in (payment.id, "999999", "no-key", "9" * 60, "%00"):
        answer = post(stranger, key, once="x")
        assert answer.status_code == 422
        assert "There is no such payment." in text_of(answer)
    assert plaza.now(payment).amount_refunded == 0


def test_only_an_admin_may(plaza: Desk) -> None:
    payment, member = paid(plaza), admin_of(plaza, role="member")
    assert member.browser.get(LIST).status_code == 403
    assert give_back(member, payment).status_code == 403
    assert refunds_of(plaza) == []


def test_what_stripe_refuses_is_told_in_plain_words(plaza: Desk, simulator: Simulator) -> None:
    payment, admin = paid(plaza), admin_of(plaza)
    dispute = simulator.dispute(payment.stripe_charge_id)
    answer = give_back(admin, payment)

    assert answer.status_code == 422
    assert "disputes this payment at the bank" in text_of(answer)
    plaza.hear()
    page = text_of(admin.browser.get(LIST))
    assert "wants €25.00 back; it can be answered" in page
    assert "Disputed" in page

    simulator.settle_dispute(dispute, "lost")
    plaza.hear()
    assert "took €25.00 back." in text_of(admin.browser.get(LIST))


def test_what_a_disconnected_account_took_has_no_refund_until_it_is_connected_again(plaza: Desk) -> None:
    payment, admin = paid(plaza), admin_of(plaza)
    assert "Empty: all that is left" in text_of(admin.browser.get(LIST))
    with plaza.host.app.app_context():
        disconnect(plaza.host.state, plaza.host.tenant(plaza.tenant.id), Mode.test, actor="tests")

    page = text_of(admin.browser.get(LIST))
    assert "Its Stripe account is disconnected." in page
    assert "Empty: all that is left" not in page

    plaza.simulator.connect(str(plaza.account))
    plaza.host.connect(plaza.tenant, plaza.account, Mode.test)
    assert "Empty: all that is left" in text_of(admin.browser.get(LIST))
    assert give_back(admin, payment).status_code == 303


def make_many(desk: Desk, count: int) -> None:
    """Make payments with the descriptions "Ticket 0", "Ticket 1" and so on; only the first is at Stripe."""
    first = desk.make(description="Ticket 0")
    table = sa.inspect(type(first)).local_table
    own = {"stripe_payment_link_id": None, "stripe_payment_link_url": None}
    with desk.host.app.app_context():
        session = desk.host.db.session
        like = dict(session.execute(sa.select(table).where(table.c.id == first.id)).mappings().one())
        del like["id"]
        for number in range(1, count):
            later = first.created_at + timedelta(seconds=number)
            session.execute(sa.insert(table), {**like, **own, "description": f"Ticket {number}", "created_at": later})
        session.commit()


@pytest.mark.both
def test_the_list_is_paged_and_is_a_fragment_for_htmx(plaza: Desk) -> None:
    make_many(plaza, 2 * ON_A_PAGE + 1)
    admin = admin_of(plaza)
    pages = [text_of(admin.browser.get(f"{LIST}?page={page}")) for page in (1, 2, 3)]
    shown = [{int(number) for number in re.findall(r"Ticket (\d+)", page)} for page in pages]

    assert shown == [set(range(ON_A_PAGE + 1, 2 * ON_A_PAGE + 1)), set(range(1, ON_A_PAGE + 1)), {0}]
    assert "There is nothing older." in text_of(admin.browser.get(f"{LIST}?page=4"))
    assert admin.browser.get(f"{LIST}?page=0;drop").status_code == 200
    fragment = admin.browser.get(LIST, headers={"HX-Request": "true"}).text
    assert "<html" not in fragment
    assert f"Ticket {2 * ON_A_PAGE}" in fragment


def test_the_form_of_an_unknown_outcome_is_shown_again_and_makes_one_refund(
    plaza: Desk, simulator: Simulator
) -> None:
    payment, admin = paid(plaza), admin_of(plaza)
    simulator.faults.add("POST", "/v1/refunds", "drop_after", times=3)
    answer = give_back(admin, payment, amount="10.00", reason="duplicate")

    assert answer.status_code == 422
    assert "Send the same form once more" in text_of(answer)
    assert 'name="once" value="once-1"' in answer.text
    assert 'value="10.00"' in answer.text
    changed = give_back(admin, payment, amount="15.00", reason="duplicate")
    assert changed.status_code == 422
    assert "This form has asked for a refund before: €10.00." in text_of(changed)
    assert "Stripe has not answered yet whether it is made." in text_of(changed)
    assert 'name="once" value="once-1"' in changed.text
    assert give_back(admin, payment, amount="10.00", reason="duplicate").status_code == 303
    assert [row.amount for row in refunds_of(plaza)] == [1000]
    assert [entry.action for entry in rows_of_audit(plaza)].count("refund_asked") == 1

    again = give_back(admin, payment, amount="15.00", reason="duplicate")
    assert "Look at what was given back." in text_of(again)
    assert 'name="once" value="once-1"' not in again.text
    assert [row.amount for row in refunds_of(plaza)] == [1000]
