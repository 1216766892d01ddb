"""What every page must have: a strict policy that it keeps to, labels, and a working form without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from flask import Flask

from sample_app.seed import seed, seed_command

from .browser import Browser, text_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGES = ["/tickets/", "/tickets/?q=nobody", "/tickets/?day=", "/tickets/1", "/tickets/2", "/tickets/live"]
PAGES += ["/tickets/1/live", "/nothing"]


class _Markup(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_every_page_keeps_to_its_own_policy(people: Callable[[str], Browser]) -> None:
    admin = people("admin@plaza")
    for path in PAGES:
        answer = admin.get(path)
        assert answer.headers["Content-Security-Policy"] == POLICY, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        for tag, attributes in _Markup(answer.text).elements:
            assert tag != "style", path
            assert tag != "script" or attributes.get("src"), path
            unsafe = [name for name in attributes if name == "style" or name.startswith(("on", "hx-on", "hx-vals"))]
            assert not unsafe, path


def test_every_field_has_a_label_and_every_form_a_token(people: Callable[[str], Browser]) -> None:
    staff, forms = people("staff@plaza"), 0
    for path in PAGES:
        html = staff.get(path).text
        elements = _Markup(html).elements
        labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
        for tag, attributes in elements:
            if tag in ("input", "select") and attributes.get("type") != "hidden":
                assert attributes["id"] in labelled, path
        ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        posts = re.findall(r'<form[^>]*method="post".*?</form>', html, re.DOTALL)
        assert all('name="csrf_token"' in form for form in posts), path
        forms += len(posts)
    assert forms >= len(PAGES), "Signing out is a form of every page."


def test_the_desk_is_not_kept_in_the_browser_s_cache(people: Callable[[str], Browser]) -> None:
    assert people("staff@plaza").get("/tickets/").headers["Cache-Control"] == "no-store"


def test_the_payment_settings_look_like_a_page_of_the_desk(people: Callable[[str], Browser]) -> None:
    answer = people("admin@plaza").get("/settings/payments/")
    assert "Valet desk, Paris" in text_of(answer)
    assert answer.text.count("htmx.min.js") == 1


@pytest.mark.both
def test_seeding_twice_adds_nothing(app: Flask, people: Callable[[str], Browser]) -> None:
    answer = app.test_cli_runner().invoke(seed_command)
    assert answer.exit_code == 0, answer.output
    for email in ("admin@plaza.example", "staff@plaza.example", "admin@seaside.example"):
        assert email in answer.output
    with app.app_context():
        seed()
    assert "All 8" in text_of(people("staff@plaza").get("/tickets/"))
