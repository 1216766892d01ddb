"""A secret: it goes where it is needed by name, and nowhere by accident."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from dataclasses import asdict, dataclass

import pytest

from flask_valetpro_stripe.secrets import Secret

VALUE = "sk_test_51canary4242"


@pytest.fixture
def secret() -> Secret:
    return Secret(VALUE)


def test_only_reveal_gives_it_out(secret: Secret) -> None:
    assert secret.reveal() == VALUE


def test_it_is_never_printed(secret: Secret) -> None:
    printed = [
        repr(secret),
        str(secret),
        ascii(secret),
        f"{secret}",
        f"{secret!s:>40}",
        f"{secret:>40}",
        "%s" % secret,  # noqa: UP031
        "%r" % [secret],
        "{0}".format(secret),  # noqa: UP030, UP032
        repr({"key": secret}),
    ]
    assert not [text for text in printed if "canary" in text or "4242" in text]


def test_it_is_never_logged(secret: Secret) -> None:
    written = io.StringIO()
    log = logging.Logger("unit")
    log.addHandler(logging.StreamHandler(written))
    log.warning("the key is %s, %r", secret, {"key": secret})
    assert "canary" not in written.getvalue()


def test_it_is_not_in_a_traceback_that_shows_locals(secret: Secret) -> None:
    def use(key: Secret) -> None:
        raise RuntimeError(f"cannot use {key}")

    with pytest.raises(RuntimeError) as raised:
        use(secret)
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    assert "canary" not in "".join(line for line in shown.format() if "VALUE" not in line)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_never_pickled(secret: Secret, protocol: int) -> None:
    with pytest.raises(TypeError, match=r"never pickled or copied\. Pass the id"):
        pickle.dumps(secret, protocol)


def test_it_is_never_copied(secret: Secret) -> None:
    for make in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled or copied"):
            make(secret)


def test_it_is_never_written_as_json(secret: Secret) -> None:
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    assert "canary" not in json.dumps({"key": secret}, default=str)


def test_a_dataclass_that_holds_it_gives_nothing_away(secret: Secret) -> None:
    @dataclass
    class Holder:
        key: Secret

    assert "canary" not in repr(Holder(secret))
    with pytest.raises(TypeError, match="never pickled or copied"):
        asdict(Holder(secret))


def test_it_has_no_dict_to_look_into(secret: Secret) -> None:
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(TypeError):
        iter(secret)  # type: ignore[call-overload]
    assert not hasattr(secret, "__len__")


def test_equal_secrets_are_equal_and_cannot_be_hashed(secret: Secret) -> None:
    assert secret == Secret(VALUE)
    assert secret != Secret(VALUE + "x")
    assert secret != VALUE
    assert Secret("clé") != Secret("cle")
    with pytest.raises(TypeError, match="unhashable"):
        hash(secret)


@pytest.mark.parametrize(
    "value, shown",
    [
        ("sk_test_51canary4242", "sk_test_…4242"),
        ("rk_" + "live_51canary4242", "rk_live_…4242"),
        ("whsec_canaryCanary4242", "whsec_…4242"),
        ("canaryCanary_canaryCanary_4242", "…4242"),
    ],
)
def test_a_person_sees_its_kind_and_four_characters(value: str, shown: str) -> None:
    assert Secret(value).masked == shown


@pytest.mark.parametrize("value", ["", "x", "abcd", "sk_test_", "sk_test_ab", "sk_test_abcdefgh", "a_b_c"])
def test_a_short_secret_shows_nothing_of_itself(value: str) -> None:
    """Four of eight characters are not a mask."""
    assert Secret(value).masked.rpartition("…")[2] == ""
