"""What holds for every secret store, whatever it is made of."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.custom import CustomStore
from flask_valetpro_stripe.secrets.store import Label, SecretStore
from tests.secrets.leaks import places_of
from tests.secrets.stage import KEY, OTHERS, PLAZA, SEASIDE, Vault, refusal


class TestEveryStore:
    def test_gives_back_what_was_put_in(self, store: SecretStore) -> None:
        stored = store.put(PLAZA, KEY)

        assert store.get(PLAZA, stored) == KEY
        assert store.get(PLAZA, stored) == KEY

    def test_keeps_several_versions_side_by_side(self, store: SecretStore) -> None:
        labels = [replace(PLAZA, version=number) for number in range(1, 4)]
        stored = [store.put(label, Secret(f"sk_test_{label.version}")) for label in labels]

        found = [store.get(label, one).reveal() for label, one in zip(labels, stored, strict=True)]
        assert found == ["sk_test_1", "sk_test_2", "sk_test_3"]

    def test_makes_a_new_entry_each_time(self, store: SecretStore) -> None:
        first, second = store.put(PLAZA, KEY), store.put(PLAZA, Secret("sk_test_second"))

        assert first != second
        assert store.get(PLAZA, first) == KEY

    @pytest.mark.parametrize("other", OTHERS, ids=["tenant", "connection", "purpose", "mode", "version"])
    def test_gives_nothing_out_under_another_label(self, store: SecretStore, other: Label) -> None:
        stored = store.put(PLAZA, KEY)

        refused = refusal(lambda: store.get(other, stored))

        assert refused.code == "secret_unreadable"
        assert str(refused).startswith(f"A secret in the secret store ({store.name}) cannot be read: ")
        assert "enters the key again" in refused.hint
        assert places_of(KEY.reveal(), refused) == []

    def test_refuses_two_tenants_references_that_were_swapped(self, store: SecretStore) -> None:
        at_plaza, at_seaside = store.put(PLAZA, KEY), store.put(SEASIDE, Secret("sk_test_seaside"))

        for label, stored in ((PLAZA, at_seaside), (SEASIDE, at_plaza)):
            assert refusal(lambda label=label, stored=stored: store.get(label, stored)).code == "secret_unreadable"

    @pytest.mark.parametrize(
        "secret",
        ["sk_test_é🔑\u2028 \t\n\\\"'{}", "x" * 10_240, "🔑" * 2_560, " "],
        ids=["odd", "long", "wide", "blank"],
    )
    def test_changes_nothing_in_a_secret(self, store: SecretStore, secret: str) -> None:
        assert store.get(PLAZA, store.put(PLAZA, Secret(secret))).reveal() == secret

    def test_takes_words_that_would_be_a_path_or_a_query(self, store: SecretStore) -> None:
        label = replace(PLAZA, tenant="../../sys/seal?x=1#é\n")
        assert store.get(label, store.put(label, KEY)) == KEY

    def test_says_nothing_of_tenant_or_secret_in_what_the_database_holds(self, store: SecretStore) -> None:
        stored = store.put(PLAZA, KEY)
        assert "plaza" not in stored
        assert "canary" not in stored

    def test_serves_eight_threads_at_once(self, store: SecretStore) -> None:
        def put_and_get(number: int) -> str:
            label = replace(PLAZA, connection=number)
            return store.get(label, store.put(label, Secret(f"sk_test_{number}"))).reveal()

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(put_and_get, range(40))) == [f"sk_test_{number}" for number in range(40)]

    def test_deletes_twice_without_complaint(self, store: SecretStore) -> None:
        stored, kept = store.put(PLAZA, KEY), store.put(SEASIDE, KEY)

        store.delete(PLAZA, stored)
        store.delete(PLAZA, stored)

        assert store.get(SEASIDE, kept) == KEY

    def test_refuses_bytes_where_it_gave_out_a_text(self, store: SecretStore) -> None:
        """SQLite gives back what somebody put there."""
        stored: Any = store.put(PLAZA, KEY).encode()

        assert refusal(lambda: store.get(PLAZA, stored)).code in {"secret_unreadable", "secret_absent"}


class TestHostsOwn:
    def test_swapped_references_give_nobody_elses_key_also_where_it_looks_at_no_label(self) -> None:
        kept = dict[str, Secret]()

        class Careless:
            name = "careless"

            def put(self, label: Label, secret: Secret) -> str:
                kept[str(len(kept))] = secret
                return str(len(kept) - 1)

            def get(self, label: Label, stored: str) -> Secret:
                return kept[stored]

            def delete(self, label: Label, stored: str) -> None:
                del kept[stored]

        store = CustomStore("careless", Careless())
        plaza, seaside = store.put(PLAZA, KEY), store.put(SEASIDE, Secret("sk_test_seaside"))

        assert refusal(lambda: store.get(PLAZA, seaside)).code == "secret_unreadable"
        assert refusal(lambda: store.get(SEASIDE, plaza)).code == "secret_unreadable"
        assert (store.get(PLAZA, plaza), store.get(SEASIDE, seaside)) == (KEY, Secret("sk_test_seaside"))

    def test_answer_of_another_kind_is_no_secret(self) -> None:
        class Odd:
            name = "odd"
            put = delete = staticmethod(lambda *_: "1")
            get = staticmethod(lambda *_: KEY.reveal())

        refused = refusal(lambda: CustomStore("odd", Odd()).get(PLAZA, "1"))

        assert str(refused) == "The secret store (odd) cannot answer now: it answered with no Secret."


class TestEveryVault:
    def test_says_that_what_was_deleted_is_absent(self, vault: Vault) -> None:
        store = vault.store()
        stored = store.put(PLAZA, KEY)
        store.delete(PLAZA, stored)

        refused = refusal(lambda: store.get(PLAZA, stored))

        assert str(refused) == f"The secret store ({store.name}) has no such secret."
        assert refused.code == "secret_absent"

    def test_says_that_what_was_never_put_in_is_absent(self, vault: Vault) -> None:
        store = vault.store()
        never = re.sub(r"[0-9a-f]{32}", "0" * 32, store.put(PLAZA, KEY))
        assert refusal(lambda: store.get(PLAZA, never)).code == "secret_absent"

    def test_gives_out_random_references_and_no_two_alike(self, vault: Vault) -> None:
        store = vault.store()
        stored = {store.put(PLAZA, KEY) for _ in range(5)}
        assert len({re.findall(r"[0-9a-f]{32}", one)[0] for one in stored}) == 5

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda stored: "",
            lambda stored: stored + "\n",
            lambda stored: " " + stored,
            lambda stored: stored.upper(),
            lambda stored: stored[:-1],
            lambda stored: stored + "0",
            lambda stored: "../" + stored,
            lambda stored: stored.replace("valetpro-stripe", "others"),
            lambda stored: stored + "?version=2",
            lambda stored: "arn:aws:secretsmanager:eu-west-1:1:secret:" + stored,
        ],
        ids="empty newline space upper shorter longer up others query arn".split(),
    )
    def test_is_asked_for_nothing_that_we_did_not_put_there(self, vault: Vault, spoil: object) -> None:
        store = vault.store()
        stored = store.put(PLAZA, KEY)
        spoiled = spoil(stored)  # type: ignore[operator]

        for call in (store.get, store.delete):
            refused = refusal(lambda call=call: call(PLAZA, spoiled))
            assert refused.code == "secret_unreadable"
            assert str(refused).endswith("the database holds no reference that we made for this store.")
        assert store.get(PLAZA, stored) == KEY

    def test_reads_only_what_lies_under_its_own_prefix(self, vault: Vault) -> None:
        stored = vault.store().put(PLAZA, KEY)
        other = vault.store(prefix="somebody-elses")
        assert refusal(lambda: other.get(PLAZA, stored)).code == "secret_unreadable"
