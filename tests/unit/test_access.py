"""Who may see and do what on the settings pages: every rule, every verb, every kind of visitor."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.testing import Simulator, make_event, sign
from tests.hosts import Host, make_host

SETTINGS = "/settings/payments"
STATIC = "valetpro_stripe.static"
VERBS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
VISITORS = ["nobody", "a member", "another tenant's admin", "an admin without admin_check", "a user of no tenant"]
HTMX = {"HX-Request": "true"}
PAGES = {f"{SETTINGS}/{path}" for path in ("", "history", "events", "payments")}
#: Where Stripe sends the browser back to: these lead on.
WAYS_BACK = ("/connect/callback", "/onboard/return", "/onboard/refresh")


class Scene:
    """Two hotels, the first of them connected, and all who may come to its settings."""

    def __init__(self, database_url: str) -> None:
        self.simulator = Simulator()
        self.host = make_host(database_url, simulator=self.simulator)
        self.plaza, seaside = self.host.make_tenant("Plaza"), self.host.make_tenant("Seaside")
        account = self.simulator.create_account("Plaza")
        self.simulator.connect(account.id)
        self.host.connect(self.plaza, account.id)
        self.users = {
            "nobody": None,
            "a member": self.host.make_user(self.plaza, "member"),
            "another tenant's admin": self.host.make_user(seaside),
            "an admin without admin_check": self.host.make_user(self.plaza),
            "a user of no tenant": self.host.make_user(self.plaza),
            "the admin": self.host.make_user(self.plaza),
        }

    def client(self, visitor: str) -> FlaskClient:
        return self.host.client_as(self.users[visitor])

    def rules(self) -> Iterator[tuple[str, Rule]]:
        """Yield every rule below SETTINGS_URL with an address that it matches."""
        adapter = self.host.app.url_map.bind("localhost")
        for rule in self.host.app.url_map.iter_rules():
            if str(rule).startswith(f"{SETTINGS}/"):
                yield adapter.build(rule.endpoint, dict.fromkeys(rule.arguments, 1)), rule

    def stored(self) -> Any:
        """Return every row of every table of ours."""
        with self.host.app.app_context():
            session = self.host.db.session
            return {
                table.name: session.execute(sa.select(table)).all() for table in self.host.db.metadata.sorted_tables
            }


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(f"sqlite:///{tmp_path_factory.mktemp('access')}/test.sqlite3")
    with scene.host:
        yield scene


def ask(scene: Scene, visitor: str, verb: str, path: str, *, htmx: bool, **options: Any) -> TestResponse:
    """Send one request to Plaza's settings, with a valid token: what stops it must be the gate."""
    client = scene.client(visitor)
    headers = HTMX if htmx else {}
    if visitor != "a user of no tenant":
        headers = headers | {"X-Tenant": str(scene.plaza.id)}
    token = {"csrf_token": scene.host.csrf_token(client), "mode": "test"}
    return client.open(path, method=verb, headers=headers, data=None if verb in {"GET", "HEAD"} else token, **options)


@pytest.fixture
def closed_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the host up as a visitor's kind needs it."""

    def close(visitor: str) -> None:
        if visitor == "an admin without admin_check":
            monkeypatch.setattr(scene.host.state.callbacks, "admin_check", None)
        if visitor == "a user of no tenant":
            monkeypatch.setattr(scene.host.state.callbacks, "tenant_loader", lambda: None)

    return close


def test_there_is_something_to_guard(scene: Scene) -> None:
    paths = {path for path, _ in scene.rules()}
    reads = {"/", "/status", "/history", "/events", "/payments", "/static/1", *WAYS_BACK}
    writes = {"/connect", "/disconnect", "/mode", "/keys", "/keys/rollback", "/keys/destroy", "/onboard", "/dashboard"}
    writes |= {"/events/1/replay", "/payments/1/refund"}
    assert {SETTINGS + path for path in reads | writes} <= paths


@pytest.mark.parametrize("htmx", [False, True], ids=["page", "fragment"])
@pytest.mark.parametrize("visitor", VISITORS)
def test_nobody_but_the_tenants_admin_gets_in(scene: Scene, visitor: str, htmx: bool, closed_for: Any) -> None:
    """Each rule of the map with each verb: one that is added later is tried as well."""
    closed_for(visitor)
    before, asked_before = scene.stored(), len(scene.simulator.requests)
    tried = 0
    for path, rule in scene.rules():
        for verb in VERBS:
            response = ask(scene, visitor, verb, path, htmx=htmx)
            where = f"{visitor}: {verb} {path} answers {response.status}"
            tried += 1
            if verb not in (rule.methods or set()):
                assert response.status_code == 405, where
            elif rule.endpoint == STATIC:
                assert response.status_code in {200, 404}, where
            elif visitor != "nobody":
                assert response.status_code == 403, where
            elif htmx:
                assert response.status_code == 401, where
                assert response.headers["HX-Redirect"] == f"{SETTINGS}/", where
                assert response.data == b"", where
            else:
                assert response.status_code == 302, where
                assert response.headers["Location"].startswith("/sign-in?next="), where
            assert b"acct_" not in response.data, where
    assert tried >= 7 * len(VERBS)
    assert scene.stored() == before
    assert len(scene.simulator.requests) == asked_before


@pytest.mark.parametrize("htmx", [False, True], ids=["page", "fragment"])
def test_the_admin_gets_in(scene: Scene, htmx: bool) -> None:
    readable = [path for path, rule in scene.rules() if rule.endpoint != STATIC and "GET" in (rule.methods or set())]
    paths = [path for path in readable if not path.endswith(WAYS_BACK)]
    assert len(paths) >= 5
    for path in paths:
        response = ask(scene, "the admin", "GET", path, htmx=htmx)
        assert response.status_code == 200, path
        assert response.mimetype == "text/html", path
        assert ("<html" in response.text) is (not htmx and path in PAGES), path


def test_an_admin_of_another_tenant_sees_only_that_tenants(scene: Scene) -> None:
    own = scene.client("another tenant's admin").get(f"{SETTINGS}/")
    assert own.status_code == 200
    assert "acct_" not in own.text


def test_the_gate_says_why(scene: Scene, closed_for: Any) -> None:
    assert "Only an admin of this tenant" in ask(scene, "a member", "GET", f"{SETTINGS}/", htmx=False).text
    closed_for("an admin without admin_check")
    closed = ask(scene, "an admin without admin_check", "GET", f"{SETTINGS}/", htmx=False)
    assert "These pages are closed until the app says who may manage payments." in closed.text


def test_a_role_that_was_taken_away_counts_at_once(scene: Scene) -> None:
    user = scene.host.make_user(scene.plaza)
    client = scene.host.client_as(user)
    assert client.get(f"{SETTINGS}/").status_code == 200
    with scene.host.app.app_context():
        scene.host.db.session.get_one(scene.host.User, user.id).role = "member"
        scene.host.db.session.commit()
    assert client.get(f"{SETTINGS}/").status_code == 403


def test_without_flask_login_the_pages_stay_closed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(scene.host.app, "login_manager")
    for headers in ({}, HTMX):
        assert scene.host.app.test_client().get(f"{SETTINGS}/", headers=headers).status_code == 403


# -- headers

ANSWERS = [
    ("the admin", "GET", "/", 200),
    ("the admin", "GET", "/status", 200),
    ("the admin", "POST", "/mode", 303),
    ("the admin", "GET", "/connect/callback?state=x", 422),
    ("the admin", "GET", "/history", 200),
    ("the admin", "GET", "/events", 200),
    ("the admin", "POST", "/events/1/replay", 422),
    ("the admin", "GET", "/payments", 200),
    ("the admin", "POST", "/payments/1/refund", 422),
    ("the admin", "POST", "/keys", 422),
    ("a member", "GET", "/", 403),
    ("nobody", "GET", "/", 302),
]


@pytest.mark.parametrize("htmx", [False, True], ids=["page", "fragment"])
@pytest.mark.parametrize("visitor, verb, path, status", ANSWERS)
def test_every_answer_is_private_unframed_and_free_of_foreign_script(
    scene: Scene, visitor: str, verb: str, path: str, status: int, htmx: bool
) -> None:
    response = ask(scene, visitor, verb, SETTINGS + path, htmx=htmx)
    assert response.status_code == (status if not htmx else {302: 401, 303: 200}.get(status, status))

    headers = response.headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert {"HX-Request", "Cookie"} <= {name.strip() for name in headers["Vary"].split(",")}
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["form-action"] == "'self' http://stripe.test"
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_the_pages_keep_to_their_own_policy(scene: Scene) -> None:
    """Inline script and style would be blocked by it, and the page would look broken."""
    page = ask(scene, "the admin", "GET", f"{SETTINGS}/", htmx=False).text
    for forbidden in (" style=", "<style", " onclick=", " onsubmit=", "javascript:", "hx-on", 'src="http', "js:"):
        assert forbidden not in page
    assert "<script>" not in page


def test_files_may_be_cached_and_need_no_sign_in(scene: Scene) -> None:
    with scene.host.app.test_request_context():
        files = [path for path, rule in scene.rules() if rule.endpoint == STATIC]
    response = scene.host.app.test_client().get(files[0])
    assert response.status_code == 404
    assert response.headers.get("Cache-Control") != "no-store"


# -- size


class Body(io.RawIOBase):
    """A body of fifty million bytes, that counts how much of it is read."""

    SIZE = 50_000_000

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self.SIZE - self.read_bytes)
        here = self.start[self.read_bytes : self.read_bytes + size].ljust(size, b"a")
        buffer[:size] = here
        self.read_bytes += size
        return size


URLENCODED = ("application/x-www-form-urlencoded", b"secret_key=")
A_FILE = (
    "multipart/form-data; boundary=x",
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n',
)
WHO = ["nobody", "a member", "the admin"]


def send(scene: Scene, visitor: str, form: tuple[str, bytes], **environ: Any) -> tuple[TestResponse, int]:
    """Send a huge body; return the answer, and how many bytes were read for it."""
    kind, start = form
    body = Body(start)
    sent = {"wsgi.input": body, "CONTENT_TYPE": kind, **environ}
    return scene.client(visitor).post(f"{SETTINGS}/keys", environ_overrides=sent), body.read_bytes


@pytest.mark.parametrize("form", [URLENCODED, A_FILE], ids=["urlencoded", "a file"])
@pytest.mark.parametrize("visitor", WHO)
def test_nothing_is_read_of_a_body_that_is_too_long(scene: Scene, visitor: str, form: tuple[str, bytes]) -> None:
    answer, read_bytes = send(scene, visitor, form, CONTENT_LENGTH=str(Body.SIZE))

    assert (answer.status_code, read_bytes) == (413, 0)
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("visitor", WHO)
def test_not_much_is_read_of_a_body_without_a_length(scene: Scene, visitor: str) -> None:
    answer, read_bytes = send(scene, visitor, URLENCODED, **{"wsgi.input_terminated": True})

    assert answer.status_code >= 300
    assert read_bytes <= 100_000


# -- CSRF


@pytest.fixture(params=[None, "before", "after"], ids=["no CSRFProtect", "CSRFProtect first", "CSRFProtect last"])
def host(request: pytest.FixtureRequest, sqlite_url: str, simulator: Simulator) -> Iterator[Host]:
    with make_host(sqlite_url, simulator=simulator, csrf=request.param) as host:
        host.app.add_url_rule("/desk", "desk", lambda: "Written.", methods=["POST"])
        yield host


def writes(host: Host) -> list[str]:
    return [
        str(rule)
        for rule in host.app.url_map.iter_rules()
        if str(rule).startswith(SETTINGS) and "POST" in (rule.methods or set())
    ]


def test_a_write_without_a_good_token_changes_nothing(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    account = simulator.create_account("Plaza")
    simulator.connect(account.id)
    host.connect(tenant, account.id)
    admin = host.client_as(host.make_user(tenant))
    good, other = host.csrf_token(admin), host.csrf_token(host.client_as(host.make_user(tenant)))
    requests_before = len(simulator.requests)
    assert set(writes(host)) >= {f"{SETTINGS}/{path}" for path in ("connect", "disconnect", "mode", "keys", "onboard")}

    for path in writes(host):
        for token in (None, "", "x", other, good[:-1], good + "x"):
            for headers in ({}, HTMX):
                form = {"mode": "test"} | ({} if token is None else {"csrf_token": token})
                response = admin.post(path, data=form, headers=headers)
                assert response.status_code == 400, (path, token)
    assert admin.post(f"{SETTINGS}/disconnect?csrf_token={good}", data={"mode": "test"}).status_code == 400

    assert len(simulator.requests) == requests_before
    assert simulator.is_connected(account.id)


def test_a_write_with_the_sessions_token_goes_through(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    account = simulator.create_account("Plaza")
    simulator.connect(account.id)
    host.connect(tenant, account.id)
    admin = host.client_as(host.make_user(tenant))

    form = {"mode": "test", "csrf_token": host.csrf_token(admin)}
    response = admin.post(f"{SETTINGS}/disconnect", data=form)

    assert (response.status_code, response.headers["Location"]) == (303, f"{SETTINGS}/?done=disconnected")
    assert not simulator.is_connected(account.id)


def test_the_pages_forms_carry_a_token_that_works(host: Host) -> None:
    admin = host.client_as(host.make_user(host.make_tenant()))
    page = admin.get(f"{SETTINGS}/").text
    token = page.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
    response = admin.post(f"{SETTINGS}/connect", data={"mode": "test", "csrf_token": token})
    assert response.status_code == 303
    assert response.headers["Location"].startswith("http://stripe.test/oauth/authorize?")


def test_a_write_by_get_is_no_write(host: Host) -> None:
    admin = host.client_as(host.make_user(host.make_tenant()))
    assert len(writes(host)) >= 10
    for path in writes(host):
        response = admin.get(f"{path}?mode=live&csrf_token={host.csrf_token(admin)}")
        assert response.status_code == 405


def test_the_webhook_needs_no_token_and_nothing_else_is_exempt(host: Host, simulator: Simulator) -> None:
    event = make_event("customer.created", {"id": "cus_1", "object": "customer"})
    body = host.app.json.dumps(event).encode()
    secret = host.state.config.webhook_secrets(Mode.test, connect=False)[0].reveal()
    stripe_sends = host.app.test_client()

    taken = stripe_sends.post(
        "/api/webhooks/stripe",
        data=body,
        headers={"Stripe-Signature": sign(body, secret), "Content-Type": "application/json"},
    )

    assert (taken.status_code, taken.text) == (200, "Taken.")
    unsigned = stripe_sends.post("/api/webhooks/stripe", data=body, headers={"Content-Type": "application/json"})
    assert (unsigned.status_code, unsigned.text) == (400, "This is not a signed Stripe event.")
    if "csrf" in host.app.extensions:
        assert stripe_sends.post("/desk").status_code == 400
        # The exemption is taken at the webhook's first request; it is still only the webhook's.
        assert stripe_sends.post(f"{SETTINGS}/disconnect").status_code == 400


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_the_webhook_takes_posts_only(host: Host, verb: str) -> None:
    for path in ("/api/webhooks/stripe", "/api/webhooks/stripe/token"):
        assert host.app.test_client().open(path, method=verb).status_code in {400, 405}
