"""Every account type, in every store, in both modes: each call of a payment's life uses the right key and account."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask

from flask_valetpro_stripe import AccountType, Mode, PaymentStatus, payments, tenant_context
from flask_valetpro_stripe.connections import allow_platform, forbid_platform
from flask_valetpro_stripe.errors import NotConnectedError
from flask_valetpro_stripe.testing import LoggedRequest, Simulator
from tests.connections.admin import PAGE, Admin, text_of
from tests.hosts import Host, make_host
from tests.secrets.stage import Vault
from tests.servers import OpenBao

STORES = ["database", "aws", "gcp", "vault"]
#: What a key must be allowed, and not a word more.
ALL_WE_NEED = [
    "payment_links",
    "checkout",
    "payment_intents",
    "refunds",
    "products",
    "prices",
    "webhook_endpoints",
]


def _ways() -> Iterator[Any]:
    """Each type in each store, in one mode by turns: every type and every store in both; with ``--all`` all of them."""
    other = pytest.mark.thorough("the type is tried in this mode with other stores, and the store with other types")
    for (row, kind), (column, store), (number, mode) in itertools.product(
        enumerate(AccountType), enumerate(STORES), enumerate(Mode)
    ):
        marks = [] if (row + column) % 2 == number else [other]
        yield pytest.param(kind, store, mode, id=f"{kind}-{store}-{mode}", marks=marks)


WAYS = list(_ways())


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Callable[[str], dict[str, Any]]:
    """The settings of a host that keeps its tenants' secrets in one of the stores."""

    def of(store: str) -> dict[str, Any]:
        if store == "database":
            return {}
        if store == "aws":
            port = request.getfixturevalue("aws").port
            options: dict[str, Any] = {"region": "eu-west-1", "endpoint_url": f"http://127.0.0.1:{port}"}
        elif store == "gcp":
            gcp: Vault = request.getfixturevalue("gcp_grpc")
            options = {"project": "valet", "endpoint": f"127.0.0.1:{gcp.port}"}
        else:
            openbao: OpenBao = request.getfixturevalue("openbao")
            options = {"address": openbao.address, "token": openbao.token}
        return {"VALETPRO_STRIPE_SECRET_STORE": store, "VALETPRO_STRIPE_SECRET_STORE_OPTIONS": options}

    return of


@dataclass
class Life:
    """One tenant's way through connect, pay, rotate, pay, refund and disconnect, with whatever its type needs."""

    host: Host
    admin: Admin
    mode: Mode
    kind: AccountType
    app: Flask
    #: The account that every call must act on; None is the platform's own.
    account: str | None = None
    #: The keys that have been in use, oldest first.
    keys: list[str] = field(default_factory=list)

    @property
    def simulator(self) -> Simulator:
        return self.admin.simulator

    @property
    def livemode(self) -> bool:
        return self.mode.livemode

    def platform_key(self) -> str:
        return str(self.app.config[f"VALETPRO_STRIPE_{self.mode.upper()}_SECRET_KEY"])

    def post(self, path: str, **form: str) -> None:
        answer = self.admin.browser.post(f"{PAGE}/{path}", data={"mode": self.mode.value, **form})
        assert answer.status_code == 303, text_of(answer)
        self.back = answer.location

    # -- connect

    def connect(self) -> None:
        {
            AccountType.PLATFORM: self._lend_platform,
            AccountType.CONNECT_STANDARD: self._agree,
            AccountType.CONNECT_EXPRESS: self._onboard,
            AccountType.CONNECT_CUSTOM: self._onboard,
            AccountType.RAW_KEYS: self._enter_first_key,
        }[self.kind]()
        if self.mode.livemode:
            self.post("mode")

    def _lend_platform(self) -> None:
        with self.app.app_context():
            allow_platform(self.host.state, self.host.tenant(self.admin.tenant.id), actor="operator")
        self.keys.append(self.platform_key())

    def _agree(self) -> None:
        self.account = self.account or self.simulator.create_account("Plaza").id
        assert self.admin.connect(self.account, self.mode).status_code == 303
        self.keys.append(self.platform_key())

    def _onboard(self) -> None:
        self.post("onboard", account_type=self.kind.value)
        back = self.simulator.onboard(str(self.back), complete=True)
        assert self.admin.follow(back).status_code == 303
        (connection,) = self.admin.connections()
        self.account = connection.account_id
        self.keys.append(self.platform_key())

    def _enter_first_key(self) -> None:
        self.account = self.simulator.create_account("Plaza").id
        self._enter_key()

    def _enter_key(self) -> None:
        key = self.simulator.create_restricted_key(str(self.account), livemode=self.livemode, allow=ALL_WE_NEED)
        self.post("keys", secret_key=key)
        self.keys.append(key)

    # -- rotate: whichever key it is that the calls use

    def rotate(self) -> None:
        if self.kind is AccountType.RAW_KEYS:
            self._enter_key()
        else:
            self._exchange_platform_key()
        if self.kind is AccountType.CONNECT_STANDARD:
            assert self.admin.connect(str(self.account), self.mode).status_code == 303

    def _exchange_platform_key(self) -> None:
        """The operator exchanges its own key, and starts the app again."""
        new = self.simulator.create_restricted_key(self.simulator.platform.id, livemode=self.livemode)
        config = {name: value for name, value in self.app.config.items() if name.startswith("VALETPRO_STRIPE_")}
        config[f"VALETPRO_STRIPE_{self.mode.upper()}_SECRET_KEY"] = new
        database = self.app.config["SQLALCHEMY_DATABASE_URI"]
        self.app = self.host.add_app(database, config={**config, "WTF_CSRF_ENABLED": False})
        self.admin.browser = self.host.client_as(self.admin.user, app=self.app)
        self.keys.append(new)

    # -- money

    def pay(self) -> Any:
        with self.app.app_context(), tenant_context(self.host.tenant(self.admin.tenant.id)):
            payment = payments.create_payment_link(amount=2500, currency="eur", description="Valet parking")
            link, key = payment.stripe_payment_link_url, payment.id
        self.simulator.pay(str(link))
        self.simulator.deliver_all(self.app)
        assert self.status_of(key) is PaymentStatus.COMPLETED
        return key

    def refund(self, key: Any) -> None:
        with self.app.app_context(), tenant_context(self.host.tenant(self.admin.tenant.id)):
            payments.refund(self.host.db.session.get_one(self.host.Payment, key))
        self.simulator.deliver_all(self.app)
        assert self.status_of(key) is PaymentStatus.REFUNDED

    def status_of(self, key: Any) -> PaymentStatus:
        with self.app.app_context():
            return PaymentStatus(self.host.db.session.get_one(self.host.Payment, key).status)

    # -- the end

    def disconnect(self) -> None:
        if self.kind is AccountType.PLATFORM:
            with self.app.app_context():
                forbid_platform(self.host.state, self.host.tenant(self.admin.tenant.id), actor="operator")
        else:
            self.post("disconnect")

    def calls_about_money(self) -> list[LoggedRequest]:
        money = ("/v1/payment_links", "/v1/refunds")
        return [
            call
            for call in self.simulator.requests
            # A check of permissions is refused, and does nothing.
            if call.path.startswith(money) and call.method == "POST" and call.status == 200
        ]


@pytest.fixture
def lives(settings: Callable[[str], Mapping[str, Any]], tmp_path: Any) -> Iterator[Callable[..., Life]]:
    with ExitStack() as hosts:

        def start(kind: AccountType, store: str, mode: Mode) -> Life:
            simulator = Simulator(public_url="https://app.test")
            config = {"WTF_CSRF_ENABLED": False, **settings(store)}
            host = make_host(f"sqlite:///{tmp_path / 'test.sqlite3'}", simulator=simulator, config=config)
            hosts.enter_context(host)
            return Life(host, Admin.of(host, host.make_tenant("Hotel Plaza")), mode, kind, host.app)

        yield start


@pytest.mark.parametrize(("kind", "store", "mode"), WAYS)
def test_each_call_of_a_payments_life_uses_the_right_key_and_account(
    lives: Callable[..., Life], kind: AccountType, store: str, mode: Mode
) -> None:
    life = lives(kind, store, mode)
    life.connect()
    first = life.pay()
    life.rotate()
    second = life.pay()
    life.refund(first)
    life.disconnect()

    old, new = life.keys[0], life.keys[-1]
    assert old != new
    through = None if kind in (AccountType.PLATFORM, AccountType.RAW_KEYS) else life.account
    assert [(call.path, call.api_key, call.stripe_account) for call in life.calls_about_money()] == [
        ("/v1/payment_links", old, through),
        ("/v1/payment_links", new, through),
        ("/v1/refunds", new, through),
    ]
    assert {call.livemode for call in life.calls_about_money()} == {mode.livemode}
    with life.app.app_context():
        (payment,) = [life.host.db.session.get_one(life.host.Payment, first)]
        assert payment.stripe_account_id == life.account
        assert payment.collected_via == ("PLATFORM" if kind is AccountType.PLATFORM else "TENANT")

    calls_before = len(life.simulator.requests)
    with life.app.app_context(), tenant_context(life.host.tenant(life.admin.tenant.id)):
        with pytest.raises(NotConnectedError):
            payments.create_payment_link(amount=2500, currency="eur", description="Valet parking")
        with pytest.raises(NotConnectedError):
            payments.refund(life.host.db.session.get_one(life.host.Payment, second))
    assert len(life.simulator.requests) == calls_before
