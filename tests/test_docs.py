"""The code in the README and in docs/ runs as it is printed there."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import Client

from flask_valetpro_stripe import AccountType, payments, tenant_context
from flask_valetpro_stripe.config import Config
from flask_valetpro_stripe.errors import ConfigurationError, SecretUnavailableError
from flask_valetpro_stripe.onboarding.key_check import OPTIONAL, REQUIRED
from flask_valetpro_stripe.onboarding.presets import DUTIES
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.aws import AwsStore
from flask_valetpro_stripe.secrets.gcp import GcpStore
from flask_valetpro_stripe.secrets.store import Label
from flask_valetpro_stripe.secrets.vault import VaultStore
from flask_valetpro_stripe.testing import Simulator
from tests.documents import PROJECT, blocks_of, run, text_of
from tests.floors import FLOORS
from tests.hosts import Host, make_host
from tests.raw_keys.owner import Owner
from tests.secrets.limits import PATIENT, limit_stores
from tests.servers import OpenBao, running_openbao

PAGES = ["README.md", "CHANGES.md", *(f"docs/{page.name}" for page in sorted((PROJECT / "docs").glob("*.md")))]
STORES = "docs/6-secret-stores.md"
LABEL = Label(tenant="plaza", connection=7, purpose="secret_key", mode="test", version=1)
KEY = Secret("sk_test_forThePagesOfTheDocs")


def points_of(page: str, mark: str) -> list[str]:
    """Return the points of the list that follows the comment ``mark``, each in one line."""
    (found,) = re.findall(rf"<!-- {re.escape(mark)} -->\n((?:[-|  ].*\n)+)", text_of(page))
    return [" ".join(point.split()) for point in re.split(r"(?m)^- ", found) if point.strip()]


# -- the README's app and the tests of docs/4-testing.md, as a reader copies them


class Reader(NamedTuple):
    """Somebody who did what the README says, with a folder and the environment of a terminal."""

    folder: Path
    environ: dict[str, str]
    printed: str


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A folder with the README's app and what its commands made there: in no debug mode, and nothing set besides."""
    folder = tmp_path_factory.mktemp("reader")
    foreign = ("FLASK_", "PYTEST_", "VALETPRO_STRIPE_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environ |= {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "PYTHONPATH": str(PROJECT)}
    (folder / "app.py").write_text(*blocks_of("README.md", "run"))
    printed = ""
    for block in blocks_of("README.md", "run once", "sh"):
        done = subprocess.run(["sh", "-e", "-c", block], cwd=folder, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        printed += done.stdout
    return Reader(folder, environ, printed)


@pytest.fixture
def readme(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the README's module has in it. SQLAlchemy looks annotations up in the module that a class names."""
    spec = spec_from_file_location("readme", reader.folder / "app.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "readme", module)
    spec.loader.exec_module(module)
    return vars(module)


@pytest.mark.slow("runs each command of the README in a process of its own")
def test_commands_of_the_readme_make_a_database_and_its_secrets_and_nothing_is_missing(reader: Reader) -> None:
    assert reader.printed.endswith("Nothing is misconfigured.\n")
    assert (reader.folder / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_the_app_of_the_readme_makes_a_payment_link(readme: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(blocks_of("docs/12-handlers.md", "run after the README's app"), readme)
    app = readme["create_app"]()
    here = app.config["VALETPRO_STRIPE_PUBLIC_URL"]
    simulator = Simulator.for_config(app.config, base_url=app.config["VALETPRO_STRIPE_API_BASE"])
    simulator.install(app)
    admin = app.test_client()
    assert "Payments" in admin.get("/", base_url=here).text
    connect_with_token(admin, here, simulator)

    with app.app_context(), closing_database(readme["db"]):
        with tenant_context(readme["db"].session.get(readme["Tenant"], 1)):
            run(blocks_of("README.md", "run in tenant"), readme)
        printed = capsys.readouterr().out
        assert printed == f"{readme['payment'].stripe_payment_link_url} PENDING\n"

        simulator.pay(readme["payment"].stripe_payment_link_url)
        simulator.deliver_all(app)
        assert sorted(capsys.readouterr().out.splitlines()) == ["Plaza Hotel was paid", "Ticket 12 may leave"]


def connect_with_token(admin: Any, here: str, simulator: Simulator) -> None:
    """Press the button as a browser does, with the token of the page."""
    page = admin.get("/settings/payments/", base_url=here).text
    token = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', page)[0]
    fields = {"mode": "test", "csrf_token": token}
    there = admin.post("/settings/payments/connect", data=fields, base_url=here).headers["Location"]
    account = simulator.create_account("Plaza Hotel")
    assert admin.get(simulator.authorize(there, account.id)).status_code == 303


@contextmanager
def closing_database(db: Any) -> Iterator[None]:
    try:
        yield
    finally:
        db.session.remove()
        db.engine.dispose()


@pytest.mark.slow("runs pytest in a process of its own")
def test_the_tests_of_the_testing_page_pass_beside_the_app_of_the_readme(reader: Reader) -> None:
    (reader.folder / "test_app.py").write_text("\n\n".join(blocks_of("docs/4-testing.md", "run")))
    pytest_alone = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_app.py"]

    done = subprocess.run(pytest_alone, cwd=reader.folder, env=reader.environ, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


# -- what the pages say is what the code says


def anchors_of(page: str) -> set[str]:
    """Return what a link may name within a page, as GitHub makes it of the headings."""
    text = re.sub(r"(?s)```.*?```", "", text_of(page))
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_of_a_page_leads_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
    links = [(document, *found) for document in PAGES for found in link.findall(text_of(document))]

    assert len(links) > 20
    for document, path, anchor in links:
        there = (PROJECT / document).parent / path if path else PROJECT / document
        assert there.exists(), (document, path)
        if anchor:
            assert anchor in anchors_of(str(there.resolve().relative_to(PROJECT))), (document, f"{path}#{anchor}")


def test_picture_of_the_rooms_has_every_floor() -> None:
    (picture,) = re.findall(r"```\nflask_valetpro_stripe/\n(.*?)```", text_of("docs/2-how-it-works.md"), re.DOTALL)
    drawn = [set(re.split(r"\s{2,}|:", line.strip())) for line in picture.replace("/", "").splitlines()]

    built = [{room for room in rooms if room not in ("", "insights", "celery")} for rooms in FLOORS.values()]
    assert len(drawn) == len([rooms for rooms in built if rooms]) + 1  # The last line is testing/.
    for rooms, line in zip(built, drawn, strict=False):
        assert rooms <= line, f"{sorted(rooms)} are not all in {sorted(line)}"


def test_every_setting_is_in_the_reference() -> None:
    reference = text_of("docs/3-reference.md")

    assert [field.name for field in fields(Config) if f"`{field.name.upper()}`" not in reference] == []


def test_permissions_of_a_restricted_key_are_those_that_are_checked() -> None:
    assert points_of("docs/5-connecting.md", "permissions required") == list(REQUIRED)
    assert points_of("docs/5-connecting.md", "permissions optional") == list(OPTIONAL)


def test_duties_of_the_platform_are_those_that_the_settings_page_names() -> None:
    express = points_of("docs/5-connecting.md", "duties express")
    custom = points_of("docs/5-connecting.md", "duties custom")

    assert tuple(express) == DUTIES[AccountType.CONNECT_EXPRESS]
    assert (*express, *custom) == DUTIES[AccountType.CONNECT_CUSTOM]


@pytest.mark.parametrize(("name", "store"), [("vault", VaultStore), ("aws", AwsStore), ("gcp", GcpStore)])
def test_options_of_a_vault_are_those_that_it_takes(name: str, store: Any) -> None:
    (table,) = re.findall(rf"<!-- options {name} -->\n((?:\|.*\n)+)", text_of(STORES))
    rows = [[cell.strip() for cell in row.split("|")[1:3]] for row in table.splitlines()[2:]]
    told = {
        option: default
        for options, defaults in rows
        for option, default in zip(options.split(", "), (defaults.split(", ") * 2), strict=False)
    }

    taken = inspect.signature(store).parameters.values()
    empty = inspect.Parameter.empty
    said = {f"`{p.name}`": "required" if p.default is empty else _as_told(p.default) for p in taken}
    assert told == said


def _as_told(default: Any) -> str:
    return f"`{default}`" if isinstance(default, str) else str(default)


def test_what_the_simulator_is_said_to_do_it_has() -> None:
    (table,) = re.findall(r"\| \| \|\n\|---\|---\|\n((?:\|.*\n)+)", text_of("docs/4-testing.md"))
    calls = re.findall(r"`(\w+)\(([^`]*)\)`", table)

    assert len(calls) > 8
    for name, arguments in calls:
        taken = inspect.signature(Simulator if name == "Simulator" else getattr(Simulator, name)).parameters
        named = re.findall(r"(\w+)=", arguments)
        assert set(named) <= set(taken) or "changes" in taken, f"{name}({arguments})"


def test_keys_of_the_simulators_page_can_be_pasted_and_lack_nothing(sqlite_url: str) -> None:
    simulator = Simulator()
    page = Client(simulator)
    page.post("/", data={"name": "Hotel Riviera"})
    (account_id,) = set(re.findall(r'value="(acct_\w+)"', page.get("/").text))
    page.post("/", data={"account": account_id, "restricted": "test"})
    (restricted,), (publishable,) = (set(re.findall(rf"{kind}_test_\w+", page.get("/").text)) for kind in ("rk", "pk"))
    with make_host(sqlite_url, simulator=simulator, config={"WTF_CSRF_ENABLED": False}) as host:
        plaza = Owner.of(host, "Hotel Plaza")

        plaza.save(restricted, publishable_key=publishable)

        assert plaza.connection.status == "CONNECTED"
        assert plaza.connection.missing_permissions is None
        assert plaza.connection.publishable_key == publishable


def test_sentences_that_a_page_quotes_are_said_by_the_package() -> None:
    package = PROJECT / "flask_valetpro_stripe"
    files = [*package.rglob("*.py"), *package.rglob("*.html")]
    source = " ".join(re.sub(r'"\s+f?"', "", file.read_text(encoding="utf-8")) for file in files)

    texts = [page.read_text(encoding="utf-8") for page in sorted((PROJECT / "docs").glob("[5-9]*.md"))]
    quoted = [sentence for text in texts for sentence in re.findall(r"`([A-Z][a-z][^`\d]+)\.`", text)]
    assert len(quoted) >= 3
    assert [sentence for sentence in quoted if " ".join(sentence.split()) not in source] == []


# -- secret stores, as docs/6-secret-stores.md has them


@pytest.fixture(scope="module")
def openbao() -> Iterator[OpenBao]:
    with running_openbao() as server, pytest.MonkeyPatch.context() as patch:
        limit_stores(patch, PATIENT)
        yield server


def test_policy_allows_what_the_vault_store_does_and_no_listing(openbao: OpenBao) -> None:
    (policy,) = blocks_of(STORES, "policy", "hcl")
    role: dict[str, Any] = {**openbao.make_role("of_the_docs", policy)}
    store = VaultStore(openbao.address, **role)

    path = store.put(LABEL, KEY)
    assert store.get(LABEL, path) == KEY
    store.delete(LABEL, path)

    with pytest.raises(SecretUnavailableError, match="no such secret"):
        store.get(LABEL, path)
    assert "list" not in policy


@pytest.fixture
def safe() -> Any:
    """A host's own store, as the page has it; its table is public."""
    names: dict[str, Any] = {}
    run(blocks_of(STORES, "run"), names)
    return names["Safe"]({})


def test_store_of_the_page_keeps_each_tenants_key_for_that_tenant_alone(sqlite_url: str, safe: Any) -> None:
    settings = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_SECRET_STORE": safe}
    with make_host(sqlite_url, simulator=Simulator(), config=settings) as host:
        hotels = [Owner.of(host, name) for name in ("Hotel Plaza", "Seaside Resort")]
        keys = [hotel.connect() for hotel in hotels]

        assert [hotel.in_use() for hotel in hotels] == keys
        assert len(safe.table) == 4  # Of each: an API key, and the secret of its endpoint.
        (stored,) = [row.stored for row in hotels[0].secrets()]
        with pytest.raises(SecretUnavailableError, match="for something else"):
            host.state.stores["safe"].get(replace(LABEL, tenant=str(hotels[1].tenant.id)), stored)
        safe.delete(LABEL, stored)
        safe.delete(LABEL, stored)
        with pytest.raises(SecretUnavailableError, match="no such secret"):
            safe.get(LABEL, stored)


def deployed(host: Host, url: str, keys: list[str], **settings: Any) -> Flask:
    """Return another process of the app, with other settings."""
    config = {f"VALETPRO_STRIPE_{name}": value for name, value in settings.items()}
    return host.add_app(url, config={"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ENCRYPTION_KEYS": keys, **config})


def flask(app: Flask, command: str) -> tuple[int, str]:
    """Return the exit code and the output of ``flask …``."""
    done = app.test_cli_runner().invoke(args=command.split())
    return done.exit_code, done.output


def new_key() -> str:
    line = re.search(r"(?m)^    python -c \"(.*)\"$", text_of(STORES))
    assert line
    printed: list[str] = []
    exec(line[1], {"print": printed.append})
    return printed[0]


def test_encryption_key_is_exchanged_in_the_steps_of_the_page(sqlite_url: str) -> None:
    old, new = new_key(), new_key()
    settings = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ENCRYPTION_KEYS": [old]}
    with make_host(sqlite_url, simulator=Simulator(), config=settings) as host:
        hotels = [Owner.of(host, name) for name in ("Hotel Plaza", "Seaside Resort")]
        hotels[0].connect()
        step_1 = deployed(host, sqlite_url, [old, new])
        step_2 = deployed(host, sqlite_url, [new, old])
        hotels[1].save(hotels[1].account.test_secret_key, app=step_2)

        # Processes that still run with the list of step 1 read what those of step 2 wrote.
        assert [payment_in(step_1, hotel) for hotel in hotels] == ["PENDING", "PENDING"]
        code, printed = flask(step_2, "stripe rotate-kek")
        told = re.findall(r"[0-9a-f]{16}: [0-9]+ rows.*?(?:newest key|need\s+it)\.", text_of(STORES), re.DOTALL)
        assert code == 0
        assert [_without_numbers(line) for line in printed.splitlines()] == [_without_numbers(line) for line in told]
        assert [payment_in(deployed(host, sqlite_url, [new]), hotel) for hotel in hotels] == ["PENDING", "PENDING"]


def _without_numbers(line: str) -> str:
    return " ".join(re.sub(r"\b([0-9a-f]{16}|[0-9]+)\b", "…", line).split())


def payment_in(app: Flask, owner: Owner) -> str:
    with owner.acting(app) as (_, tenant), tenant_context(tenant):
        return str(payments.create_payment_link(amount=2500, currency="eur", description="Valet parking").status)


def test_app_does_not_start_without_a_key_that_is_still_needed(sqlite_url: str) -> None:
    old, new = new_key(), new_key()
    settings = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ENCRYPTION_KEYS": [old]}
    with make_host(sqlite_url, simulator=Simulator(), config=settings) as host:
        Owner.of(host, "Hotel Plaza").connect()

        with pytest.raises(ConfigurationError, match="Put that key back at the end of the list"):
            deployed(host, sqlite_url, [new])


def test_tenant_whose_encryption_key_is_lost_enters_its_api_key_again(sqlite_url: str) -> None:
    old, new = new_key(), new_key()
    settings = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ENCRYPTION_KEYS": [old]}
    with make_host(sqlite_url, simulator=Simulator(), config=settings) as host:
        plaza = Owner.of(host, "Hotel Plaza")
        key = plaza.connect()
        with pytest.raises(ConfigurationError) as refused:
            deployed(host, sqlite_url, [new])

        (statement,) = re.findall(r"UPDATE .*?\)", str(refused.value))
        with host.app.app_context():
            host.db.session.execute(sa.text(statement))
            host.db.session.commit()
        app = deployed(host, sqlite_url, [new])
        with pytest.raises(SecretUnavailableError) as absent:
            payment_in(app, plaza)
        assert absent.value.code == "secret_absent"
        plaza.save(key, app=app)
        assert payment_in(app, plaza) == "PENDING"


def test_secrets_move_into_a_vault_and_back_in_the_steps_of_the_page(sqlite_url: str, openbao: OpenBao) -> None:
    keys, vault = [new_key()], {"address": openbao.address, "token": openbao.token}
    settings = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ENCRYPTION_KEYS": keys}
    with make_host(sqlite_url, simulator=Simulator(), config=settings) as host:
        hotels = [Owner.of(host, name) for name in ("Hotel Plaza", "Seaside Resort")]
        hotels[0].connect()
        step_1 = deployed(host, sqlite_url, keys, SECRET_STORE_OPTIONS={"others": {"vault": vault}})
        step_2 = deployed(host, sqlite_url, keys, SECRET_STORE="vault", SECRET_STORE_OPTIONS=vault)
        hotels[1].save(hotels[1].account.test_secret_key, app=step_2)
        assert [payment_in(step_1, hotel) for hotel in hotels] == ["PENDING", "PENDING"]

        assert flask(step_2, "stripe move-secrets --to vault") == (0, "vault: 4 rows\n")
        assert [payment_in(step_1, hotel) for hotel in hotels] == ["PENDING", "PENDING"]
        assert flask(step_1, "stripe move-secrets --to database") == (0, "database: 4 rows\n")
        assert [payment_in(host.app, hotel) for hotel in hotels] == ["PENDING", "PENDING"]


def test_audit_chain_is_verified_by_the_commands_of_the_page(sqlite_url: str, tmp_path: Path) -> None:
    heads = tmp_path / "heads.txt"
    with make_host(sqlite_url, simulator=Simulator(), config={"WTF_CSRF_ENABLED": False}) as host:
        for name in ("Hotel Plaza", "Seaside Resort"):
            Owner.of(host, name).connect()
        code, verified = flask(host.app, "stripe audit-verify")
        heads.write_text(flask(host.app, "stripe audit-verify --heads")[1])

        assert code == 0
        assert f"`{_counted(verified)}`" in text_of(STORES)
        assert flask(host.app, f"stripe audit-verify --against {heads}") == (0, verified)


def _counted(line: str) -> str:
    return re.sub(r"^\d+ entries", "12 entries", line.strip())


def test_a_deposit_is_held_and_taken_as_the_page_says(sqlite_url: str) -> None:
    first, second = blocks_of("docs/11-taking-money.md", "deposit")[0].split("# The guest pays", 1)
    simulator = Simulator()
    with make_host(sqlite_url, simulator=simulator) as host:
        tenant, account = host.make_tenant(), simulator.create_account("Plaza").id
        simulator.connect(account)
        host.connect(tenant, account)
        known: dict[str, Any] = {"payments": payments}
        with host.app.app_context(), tenant_context(host.tenant(tenant.id)):
            exec(first, known)
            simulator.pay(known["deposit"].stripe_payment_link_url)
            known["deposit"] = payments.sync(known["deposit"])
            assert (known["deposit"].status, known["deposit"].amount_capturable) == ("PROCESSING", 5000)
            exec(f"# {second}", known)
            assert (known["deposit"].status, known["deposit"].amount_taken) == ("COMPLETED", 3200)
