"""An archived key is destroyed: gone from its store before its row forgets where it was, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_valetpro_stripe import custody, errors, rekey
from flask_valetpro_stripe.custody import API_KEY, WEBHOOK_SECRET
from tests.hosts import ENCRYPTION_KEY, Host
from tests.raw_keys.dying import Die, by_commit, by_commit_done, by_store
from tests.raw_keys.owner import Crash, Owner, Shelf


def exchanged(host: Host, name: str = "Plaza", exchanges: int = 1) -> Owner:
    """Return a hotel that has exchanged its key, so that one is archived."""
    owner = Owner.of(host, name)
    owner.connect()
    for _ in range(exchanges):
        owner.save(owner.new_key())
    return owner


def referred_to(owner: Owner) -> list[str]:
    """Return what the hotel's rows say is in a store."""
    return sorted(row.stored for name in (API_KEY, WEBHOOK_SECRET) for row in owner.secrets(name) if row.stored)


def raise_at(step: str, error: BaseException) -> Callable[[str], None]:
    def act(what: str) -> None:
        if what == step:
            raise error

    return act


def calm(host: Host, shelf: Shelf) -> None:
    """Let the store work again, and be asked at once."""
    shelf.meanwhile = lambda step: None
    host.state.stores["shelf"]._down_until = 0.0  # type: ignore[attr-defined]


def previous(owner: Owner) -> Any:
    with owner.acting() as (state, _):
        own = owner.host.db.session.get_one(owner.host.valetpro.models.Connection, owner.connection.id)
        return custody.find_previous(state, own, API_KEY)


@pytest.mark.parametrize("moment", [by_store, by_commit, by_commit_done])
def test_crash_at_any_step_leaves_nothing_that_nobody_can_name(
    shelf_host: Host, shelf: Shelf, moment: Callable[..., Callable[[], None]]
) -> None:
    """The process dies once at each step of the store and each commit; the same click finishes it later."""
    seaside, nth = exchanged(shelf_host, "Seaside"), 0
    while True:
        nth, plaza = nth + 1, exchanged(shelf_host, f"Hotel {nth}")
        present, die = plaza.in_use(), Die(nth)
        stop = moment(shelf_host, shelf, die)
        try:
            plaza.destroy()
        except Crash:
            pass
        finally:
            stop()
        assert set(shelf.kept) - {"never"} >= set(referred_to(seaside))
        plaza.destroy()

        assert plaza.account.test_secret_key not in shelf.secrets, nth
        assert set(referred_to(plaza)) <= set(shelf.kept), nth
        assert [row.stored is None for row in plaza.secrets()] == [True, False], nth
        assert plaza.in_use() == present
        if not die.is_dead:
            break
    assert nth > 1
    assert seaside.account.test_secret_key in shelf.secrets


def test_crash_while_the_store_deletes_is_finished_by_the_same_click(shelf_host: Host, shelf: Shelf) -> None:
    plaza, seaside = exchanged(shelf_host), exchanged(shelf_host, "Seaside")
    shelf.meanwhile = raise_at("delete", Crash())
    with pytest.raises(Crash):
        plaza.destroy()
    calm(shelf_host, shelf)
    assert plaza.account.test_secret_key in shelf.secrets

    assert plaza.destroy() == 1
    assert plaza.account.test_secret_key not in shelf.secrets
    assert plaza.audit.count("secret_destroyed") == 1
    assert seaside.account.test_secret_key in shelf.secrets


def test_key_that_is_being_destroyed_is_not_brought_back(shelf_host: Host, shelf: Shelf) -> None:
    plaza, told = exchanged(shelf_host), list[str]()
    present = plaza.in_use()

    def overtake(step: str) -> None:
        if step == "delete":
            shelf.meanwhile = lambda step: None
            with pytest.raises(errors.ValetProStripeError) as caught:
                plaza.roll_back()
            told.append(caught.value.code)

    shelf.meanwhile = overtake
    assert plaza.destroy() == 1

    assert told == ["no_previous_key"]
    assert plaza.in_use() == present
    assert plaza.account.test_secret_key not in shelf.secrets


@pytest.mark.both
def test_key_that_was_brought_back_meanwhile_is_not_destroyed(shelf_host: Host) -> None:
    plaza = exchanged(shelf_host)
    with plaza.acting() as (state, _):
        own = shelf_host.db.session.get_one(shelf_host.valetpro.models.Connection, plaza.connection.id)
        rows = custody.archived(state, own)
        state.session.commit()
        plaza.roll_back()
        assert custody.destroy(state, own, rows, told=lambda row: pytest.fail("It is in use.")) == 0

    assert plaza.in_use() == plaza.account.test_secret_key


def test_bringing_back_what_is_being_destroyed_changes_nothing(shelf_host: Host, shelf: Shelf) -> None:
    """Somebody has found the row a moment before."""
    plaza = exchanged(shelf_host)
    present = plaza.in_use()
    with plaza.acting() as (state, _):
        own = shelf_host.db.session.get_one(shelf_host.valetpro.models.Connection, plaza.connection.id)
        found = custody.find_previous(state, own, API_KEY)
        assert found is not None
        state.session.commit()
        shelf.meanwhile = raise_at("delete", TimeoutError())
        with pytest.raises(errors.SecretUnavailableError):
            plaza.destroy()
        with pytest.raises(errors.ValetProStripeError, match=r"^The earlier key was destroyed meanwhile\.$"):
            custody.bring_back(state, own, found)

    assert plaza.in_use() == present


def test_key_whose_destruction_failed_can_only_be_destroyed(shelf_host: Host, shelf: Shelf) -> None:
    """Nobody knows whether a store that gave no answer has it still."""
    plaza, seaside = exchanged(shelf_host), exchanged(shelf_host, "Seaside")
    shelf.meanwhile = raise_at("delete", TimeoutError())
    with pytest.raises(errors.SecretUnavailableError):
        plaza.destroy()
    calm(shelf_host, shelf)

    assert previous(plaza) is None
    assert previous(seaside) is not None
    with pytest.raises(errors.ValetProStripeError, match=r"^There is no earlier key to bring back\.$"):
        plaza.roll_back()
    assert plaza.destroy() == 1


def test_exchange_after_a_failed_destruction_can_be_taken_back(shelf_host: Host, shelf: Shelf) -> None:
    plaza = exchanged(shelf_host)
    second = plaza.in_use()
    shelf.meanwhile = raise_at("delete", TimeoutError())
    with pytest.raises(errors.SecretUnavailableError):
        plaza.destroy()
    calm(shelf_host, shelf)
    plaza.save(plaza.new_key())

    # The clean-up after an exchange keeps what can be brought back, and nothing else.
    assert plaza.account.test_secret_key not in shelf.secrets
    plaza.roll_back()
    assert plaza.in_use() == second


@pytest.mark.both
def test_secret_that_is_moved_to_another_store_meanwhile_is_destroyed_there(shelf_host: Host, shelf: Shelf) -> None:
    plaza = exchanged(shelf_host)
    assert shelf_host.app.config["VALETPRO_STRIPE_ENCRYPTION_KEYS"] == [ENCRYPTION_KEY]

    def move(step: str) -> None:
        if step == "delete":
            shelf.meanwhile = lambda step: None
            with shelf_host.app.app_context():
                assert rekey.move(shelf_host.state, shelf_host.state.stores["database"], lambda done: None) == []

    shelf.meanwhile = move
    plaza.destroy()

    assert shelf.kept == {}
    assert [row.stored is None for row in plaza.secrets()] == [True, False]


@pytest.mark.both
def test_row_that_was_changed_meanwhile_is_neither_counted_nor_told(shelf_host: Host, shelf: Shelf) -> None:
    """Another process destroys it in the same moment."""
    plaza, seaside = exchanged(shelf_host), exchanged(shelf_host, "Seaside")

    def overtake(step: str) -> None:
        if step == "delete":
            shelf.meanwhile = lambda step: None
            assert plaza.destroy() == 1

    shelf.meanwhile = overtake
    assert plaza.destroy() == 0

    assert plaza.audit.count("secret_destroyed") == 1
    assert plaza.account.test_secret_key not in shelf.secrets
    assert seaside.account.test_secret_key in shelf.secrets


def test_what_is_destroyed_names_no_encryption_key_any_more(host: Host) -> None:
    plaza = exchanged(host)
    plaza.destroy()

    first, second = plaza.secrets()
    assert (first.stored, first.key_id, first.valid_until) == (None, None, None)
    assert second.key_id is not None


@pytest.mark.both
def test_destruction_is_told_in_the_commit_that_forgets_the_secret(shelf_host: Host) -> None:
    plaza, told = exchanged(shelf_host), list[tuple[int, bool]]()
    with plaza.acting() as (state, _):
        own = shelf_host.db.session.get_one(shelf_host.valetpro.models.Connection, plaza.connection.id)

        def tell(row: Any) -> None:
            told.append((row.version, row.stored is None))
            raise LookupError

        with pytest.raises(LookupError):
            custody.destroy(state, own, custody.archived(state, own), told=tell)
        state.session.rollback()

    assert told == [(1, False)]
    assert plaza.secrets()[0].stored is not None
    assert plaza.destroy() == 1
