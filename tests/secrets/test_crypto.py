"""The key ring: what it encrypts can be read under one label, with its key, and when no bit of it changed."""

from __future__ import annotations

import base64
import itertools
import os
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

from flask_valetpro_stripe.crypto import KeyRing, UnreadableError, key_id_in, key_id_of
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.database import DatabaseStore
from tests.secrets.leaks import places_of
from tests.secrets.stage import KEY, PLAZA, refusal

BOUND_TO = PLAZA.encode()


def new_key() -> Secret:
    return Secret(base64.b64encode(os.urandom(32)).decode())


@pytest.fixture
def key() -> Secret:
    return new_key()


@pytest.fixture
def ring(key: Secret) -> KeyRing:
    return KeyRing([key])


@pytest.fixture
def blob(ring: KeyRing) -> str:
    return ring.encrypt(KEY, BOUND_TO)


def can_be_read(ring: KeyRing, blob: str, bound_to: bytes = BOUND_TO) -> bool:
    try:
        ring.decrypt(blob, bound_to)
    except UnreadableError:
        return False
    return True


def test_what_was_encrypted_can_be_read(ring: KeyRing, blob: str) -> None:
    assert ring.decrypt(blob, BOUND_TO) == KEY


def test_no_bit_of_it_can_change(ring: KeyRing, blob: str) -> None:
    raw = blob.encode()
    flips = [(place, bit) for place in range(len(raw)) for bit in range(8)]

    read = [
        (place, bit)
        for place, bit in flips
        if can_be_read(ring, (raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]).decode("latin-1"))
    ]

    assert len(flips) > 600
    assert read == []


def test_nothing_of_it_can_be_cut_off(ring: KeyRing, blob: str) -> None:
    assert [size for size in range(len(blob)) if can_be_read(ring, blob[:size])] == []
    assert [size for size in range(1, len(blob)) if can_be_read(ring, blob[size:])] == []


@pytest.mark.parametrize("more", ["A", "AA", "AAA", "AAAA", "=", "==", "\n", " ", ".", "\x00", "é"])
def test_nothing_can_be_added_to_it(ring: KeyRing, blob: str, more: str) -> None:
    assert not can_be_read(ring, blob + more)
    assert not can_be_read(ring, more + blob)


def test_no_two_of_a_hundred_secrets_can_change_places(ring: KeyRing) -> None:
    labels = [replace(PLAZA, tenant=f"hotel {number % 10}", connection=number).encode() for number in range(100)]
    blobs = [ring.encrypt(Secret(f"sk_test_{number}"), label) for number, label in enumerate(labels)]
    pairs = list(itertools.permutations(range(100), 2))

    assert len(pairs) == 9_900
    assert [pair for pair in pairs if can_be_read(ring, blobs[pair[0]], labels[pair[1]])] == []


def test_labels_cannot_run_into_each_other(ring: KeyRing) -> None:
    one = replace(PLAZA, tenant="1", connection=12, purpose="3")
    other = replace(PLAZA, tenant="11", connection=2, purpose="3")
    assert not can_be_read(ring, ring.encrypt(KEY, one.encode()), other.encode())


def test_one_secret_never_looks_the_same_twice(ring: KeyRing) -> None:
    assert len({ring.encrypt(KEY, BOUND_TO) for _ in range(100)}) == 100


def test_there_is_no_other_way_in(ring: KeyRing, key: Secret, blob: str) -> None:
    """No older form, no plain text, no other scheme: a writer of the database could otherwise plant a key."""
    fernet = Fernet(base64.urlsafe_b64encode(base64.b64decode(key.reveal()))).encrypt(KEY.reveal().encode()).decode()
    others = [
        "",
        "plain:sk_test_planted",
        "sk_test_planted",
        fernet,
        blob.replace("vp1.", "vp0."),
        blob.replace("vp1.", "vp2."),
        blob.replace("vp1.", ""),
        blob.replace("vp1.", "VP1."),
        f"vp1.{ring.newest}.",
        f"vp1.{ring.newest}.{'A' * 16}",
        f"vp1..{blob.split('.')[2]}",
        f"vp1.{ring.newest.upper()}.{blob.split('.')[2]}",
    ]
    assert [other for other in others if can_be_read(ring, other)] == []


def test_the_database_store_says_that_it_cannot_read_without_showing_anything(ring: KeyRing, blob: str) -> None:
    refused = refusal(lambda: DatabaseStore(ring).get(replace(PLAZA, tenant="seaside"), blob))

    assert str(refused) == (
        "A secret in the secret store (database) cannot be read: it is damaged, or was put in for something else."
    )
    assert refused.code == "secret_unreadable"
    assert places_of(KEY.reveal(), refused) == []


def test_a_key_that_left_the_ring_reads_nothing_and_is_named(blob: str, key: Secret) -> None:
    with pytest.raises(UnreadableError, match=f"its encryption key, {key_id_of(key)}, is not in"):
        KeyRing([new_key()]).decrypt(blob, BOUND_TO)


def test_the_newest_key_encrypts_and_the_older_ones_still_read(key: Secret, blob: str) -> None:
    newer = new_key()
    ring = KeyRing([newer, key])

    assert ring.decrypt(blob, BOUND_TO) == KEY
    assert key_id_in(ring.encrypt(KEY, BOUND_TO)) == ring.newest == key_id_of(newer)


def test_the_order_of_the_ring_decides_which_key_encrypts(key: Secret) -> None:
    other = new_key()
    assert KeyRing([key, other]).newest == key_id_of(key)
    assert KeyRing([other, key]).newest == key_id_of(other)


def test_a_blob_under_one_key_cannot_pass_for_one_under_another(key: Secret) -> None:
    other = new_key()
    blob = KeyRing([key]).encrypt(KEY, BOUND_TO)
    assert not can_be_read(KeyRing([key, other]), blob.replace(key_id_of(key), key_id_of(other)))


def test_a_keys_id_is_its_own_and_shows_nothing_of_it(key: Secret) -> None:
    raw = base64.b64decode(key.reveal())

    assert key_id_of(key) == key_id_of(Secret(key.reveal()))
    assert len({key_id_of(new_key()) for _ in range(200)}) == 200
    assert key_id_of(key) not in raw.hex()
    assert len(key_id_of(key)) == 16


def test_only_a_blob_of_ours_names_a_key(ring: KeyRing, blob: str) -> None:
    assert key_id_in(blob) == ring.newest
    with pytest.raises(UnreadableError):
        key_id_in("plain:sk_test_planted")
