"""The form decoder reads what the SDK and the official CLI write."""

from __future__ import annotations

from typing import Any

import pytest

from tests.openapi.forms import UndecodableFormError, decode


@pytest.mark.parametrize(
    "form, tree",
    [
        ("a=1&b[c][d]=2", {"a": "1", "b": {"c": {"d": "2"}}}),
        ("a[0][b]=1&a[0][c]=2&a[1][b]=3", {"a": {"0": {"b": "1", "c": "2"}, "1": {"b": "3"}}}),
        ("a[]=x&a[]=y", {"a": {"0": "x", "1": "y"}}),
        ("a[][b]=1&a[][c]=2&a[][b]=3", {"a": {"0": {"b": "1", "c": "2"}, "1": {"b": "3"}}}),
        ("metadata[a%5Db]=", UndecodableFormError),
        ("name=caf%C3%A9+du+port", {"name": "café du port"}),
        ("description=", {"description": ""}),
        ("", {}),
    ],
)
def test_a_body_is_decoded_as_stripe_reads_it(form: str, tree: Any) -> None:
    if tree is UndecodableFormError:
        with pytest.raises(UndecodableFormError):
            decode(form)
    else:
        assert decode(form) == tree


def test_a_mapping_may_be_flat_or_nested() -> None:
    nested = {"line_items": [{"price": "price_1", "quantity": 1}], "active": True, "metadata": None}

    assert decode(nested) == decode("line_items[0][price]=price_1&line_items[0][quantity]=1&active=true")
    assert decode({"metadata[a]": "b"}) == {"metadata": {"a": "b"}}


@pytest.mark.parametrize("form", ["a=1&a=2", "a=1&a[b]=2", "a[b]=2&a=1", "a[b]c=1", "[a]=1"])
def test_an_ambiguous_body_is_refused(form: str) -> None:
    with pytest.raises(UndecodableFormError):
        decode(form)
