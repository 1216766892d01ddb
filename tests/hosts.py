"""A host app made by the contract, for any key type and database: the stage that the tests of the package play on."""

import base64
import copy
import functools
import secrets
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import sqlalchemy as sa
from flask import Flask, current_app, has_app_context, request
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, current_user
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from itsdangerous import URLSafeTimedSerializer
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy.orm import DeclarativeBase, mapped_column

import tests.disk  # noqa: F401  Processes that tests start make hosts, too.
from flask_valetpro_stripe import AccountType, Mode, StripePaymentMixin, StripeTenantMixin, ValetProStripe
from flask_valetpro_stripe.connections import open_connection
from flask_valetpro_stripe.state import State
from flask_valetpro_stripe.testing import Simulator

SECRET_KEY = "the tests' own session key"
ENCRYPTION_KEY = base64.b64encode(bytes(range(32))).decode()
#: What a host's primary keys are made of: the column type, and what makes a new one (None: the database does).
KEYS: dict[str, tuple[Any, Callable[[], Any] | None]] = {
    "int": (sa.Integer, None),
    "uuid": (sa.Uuid, uuid.uuid4),
    "str": (sa.String(32), lambda: secrets.token_hex(8)),
}


#: What makes the tables of one set of models, by database: made once, run often.
_SCRIPTS: dict[Any, str] = {}
#: An SQLite file with these tables: made once, copied often.
_FILES: dict[Any, bytes] = {}


@dataclass
class Host:
    """One host: its models, its extension and its apps. Use it in a ``with`` block, or call :meth:`close`."""

    db: SQLAlchemy
    valetpro: ValetProStripe
    Tenant: Any
    Payment: Any
    User: Any
    simulator: Simulator | None
    app: Flask = field(init=False)
    apps: list[Flask] = field(default_factory=list)

    def add_app(self, database_url: str, *, config: Mapping[str, Any] | None = None, csrf: str | None = None) -> Flask:
        """Return another app of this host, with its tables made.

        :param csrf: ``"before"`` or ``"after"`` the extension: when Flask-WTF's CSRFProtect is initialised.
        """
        app = Flask(__name__)
        app.jinja_env.bytecode_cache = Templates()
        app.config |= self.simulator.config() if self.simulator else {}
        app.config |= {
            "TESTING": True,
            "SECRET_KEY": SECRET_KEY,
            "SQLALCHEMY_DATABASE_URI": database_url,
            "VALETPRO_STRIPE_ENCRYPTION_KEYS": [ENCRYPTION_KEY],
            **(config or {}),
        }
        self.db.init_app(app)
        self._sign_in_with_flask_login(app)
        if csrf == "before":
            CSRFProtect(app)
        self.valetpro.init_app(app)
        if csrf == "after":
            CSRFProtect(app)
        if self.simulator:
            self.simulator.install(app)
        with app.app_context():
            create_tables(self.db)
        self.apps.append(app)
        return app

    def _sign_in_with_flask_login(self, app: Flask) -> None:
        login = LoginManager(app)
        login.login_view = "sign_in"
        app.add_url_rule("/sign-in", "sign_in", lambda: "Who are you?")
        login.user_loader(lambda key: self.db.session.get(self.User, int(key)))

    @property
    def state(self) -> State:
        """Return what the extension keeps of the first app."""
        state: State = self.app.extensions["valetpro_stripe"]
        return state

    @contextmanager
    def context(self) -> Iterator[None]:
        """Enter the first app's context, unless an app of this host has one already."""
        if has_app_context() and current_app._get_current_object() in self.apps:  # type: ignore[attr-defined]
            yield
        else:
            with self.app.app_context():
                yield

    def make_tenant(self, name: str = "Plaza", **columns: Any) -> Any:
        """Return a committed tenant."""
        return self._saved(self.Tenant(name=name, **columns))

    def make_user(self, tenant: Any, role: str = "admin") -> Any:
        """Return a committed user of ``tenant``: ``admin`` or ``member``."""
        return self._saved(self.User(tenant_id=tenant.id, role=role))

    def _saved(self, row: Any) -> Any:
        with self.context():
            self.db.session.add(row)
            self.db.session.commit()
            self.db.session.refresh(row)
        return row

    def tenant(self, key: Any) -> Any:
        """Return the tenant with this key, in the present session."""
        return self.db.session.get_one(self.Tenant, key)

    def connect(
        self,
        tenant: Any,
        account_id: str | None,
        mode: Mode = Mode.test,
        *,
        account_type: AccountType = AccountType.CONNECT_STANDARD,
        requirements: list[str] | None = None,
    ) -> Any:
        """Return a new current connection of ``tenant``, made as after OAuth."""
        with self.context():
            connection = open_connection(
                self.state,
                self.tenant(tenant.id),
                mode,
                account_type,
                actor="tests",
                account_id=account_id,
                account_name="An account",
                requirements=requirements,
            )
            self.db.session.refresh(connection)
        return connection

    def client_as(self, user: Any = None, *, app: Flask | None = None) -> FlaskClient:
        """Return a browser where ``user`` is signed in; nobody without one."""
        client = (app or self.app).test_client()
        if user is not None:
            with client.session_transaction() as session:
                session["_user_id"] = str(user.id)
                session["_fresh"] = True
        return client

    def csrf_token(self, client: FlaskClient) -> str:
        """Return a token as a page would have it in its forms, for the session of ``client``."""
        with client.session_transaction() as session:
            raw = session.setdefault("csrf_token", secrets.token_hex(20))
        return str(URLSafeTimedSerializer(SECRET_KEY, salt="wtf-csrf-token").dumps(raw))

    def close(self) -> None:
        """Give back every connection to the databases."""
        for app in self.apps:
            with app.app_context():
                self.db.session.remove()
                for engine in self.db.engines.values():
                    engine.dispose()
        if self.db not in (kept[0] for kept in _KEPT.values()):
            forget_models()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def make_host(
    database_url: str,
    *,
    key: str = "int",
    config: Mapping[str, Any] | None = None,
    simulator: Simulator | None = None,
    csrf: str | None = None,
    admin_check: bool = True,
    own_models: bool = False,
) -> Host:
    """Return a host with one app on ``database_url``.

    The tenant of a request is named by its header ``X-Tenant``, as a subdomain would; without it, it is the user's own.
    Only an admin of that very tenant may manage it.

    :param key: what the primary keys of tenants and payments are: one of :data:`KEYS`.
    :param config: settings on top of (or in place of) those that tests need.
    :param simulator: where all calls to Stripe go.
    :param own_models: for a host that adds to its models, or listens to them or its session: nobody else gets them.
    """
    db, tenant, payment, user, valetpro = _declare(key) if own_models else _declared(key)
    host = Host(db, valetpro, tenant, payment, user, simulator)

    @valetpro.tenant_loader
    def tenant_of_this_request() -> Any:
        named = request.headers.get("X-Tenant")
        if named:
            return db.session.get(tenant, tenant.__table__.c.id.type.python_type(named))
        return db.session.get(tenant, current_user.tenant_id) if current_user.is_authenticated else None

    if admin_check:

        @valetpro.admin_check
        def may_manage(tenant: Any) -> bool:
            return bool(current_user.role == "admin" and current_user.tenant_id == tenant.id)

    host.app = host.add_app(database_url, config=config, csrf=csrf)
    return host


_Declared = tuple[SQLAlchemy, Any, Any, Any, ValetProStripe]
#: Models of hosts that have ended, for each kind of key: to map them takes longer than most tests do.
_KEPT: dict[str, _Declared] = {}


def _declared(key: str) -> _Declared:
    """Return models, and an extension on them that is like a new one."""
    if key not in _KEPT:
        _KEPT[key] = _declare(key)
    db, tenant, payment, user, kept = _KEPT[key]
    # What the tests' hosts may have set of their sessions.
    db.session.session_factory.configure(autoflush=True, expire_on_commit=True)
    valetpro = copy.copy(kept)
    valetpro._callbacks, valetpro._registry = copy.deepcopy((kept._callbacks, kept._registry))
    return db, tenant, payment, user, valetpro


def _declare(key: str) -> _Declared:
    db, tenant, payment, user = make_models(key)
    return db, tenant, payment, user, ValetProStripe(db, tenant=tenant, payment=payment)


class Templates(BytecodeCache):
    """Templates as they were compiled for an earlier app: each app has an environment of its own."""

    kept: ClassVar[dict[str, bytes]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


def forget_models() -> None:
    """Let go of the models that statements are remembered for: of thousands of hosts, Python would look through all."""
    for name, module in list(sys.modules.items()):
        if name.startswith("flask_valetpro_stripe."):
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def create_tables(db: SQLAlchemy) -> None:
    """Do what ``db.create_all()`` does, on an empty database in one go: by copying a file, or by one script."""
    made = db.engine.dialect.name, _columns_of(db.metadata, len(db.metadata.tables))
    file = _file_of(db.engine)
    if not file or (file.exists() and file.stat().st_size):
        _create_tables(db, made)
    elif made in _FILES:
        file.write_bytes(_FILES[made])
    else:
        _create_tables(db, made)
        with db.engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            _FILES[made] = raw.serialize()


def _file_of(engine: sa.Engine) -> Path | None:
    """Return the file of an SQLite database, unless it is in memory."""
    name = engine.url.database or ":memory:"
    return Path(name) if engine.dialect.name == "sqlite" and name != ":memory:" else None


def _create_tables(db: SQLAlchemy, made: Any) -> None:
    if sa.inspect(db.engine).get_table_names():
        db.create_all()
        return
    if made not in _SCRIPTS:
        _SCRIPTS[made] = _script_of(db)
    with db.engine.begin() as connection:
        raw: Any = connection.connection.driver_connection
        if db.engine.dialect.name == "sqlite":
            raw.executescript(f"BEGIN;{_SCRIPTS[made]};COMMIT;")
        else:
            raw.execute(_SCRIPTS[made])


@functools.lru_cache(maxsize=4)
def _columns_of(metadata: sa.MetaData, tables: int) -> tuple[tuple[str, str, str], ...]:
    """Return what tells one set of models from another; ``tables`` is their number, as a test may add some."""
    columns = (column for table in metadata.sorted_tables for column in table.columns)
    return tuple((column.table.name, column.name, repr(column.type)) for column in columns)


def _script_of(db: SQLAlchemy) -> str:
    statements: list[str] = []
    dialect = db.engine.dialect

    def note(ddl: Any, *_: Any, **__: Any) -> None:
        statements.append(str(ddl.compile(dialect=dialect)))

    engine: Any = sa.create_mock_engine(db.engine.url, note)
    db.metadata.create_all(engine, checkfirst=False)
    return ";\n".join(statements)


def make_models(key: str = "int") -> tuple[SQLAlchemy, Any, Any, Any]:
    """Return a host's own part: its database, and its models of tenants, payments and users."""

    class Base(DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)
    Model: Any = db.Model
    kind, new = KEYS[key]

    class Tenant(StripeTenantMixin, Model):  # type: ignore[misc]
        id = mapped_column(kind, primary_key=True, default=new)
        name = mapped_column(sa.String(80))

    class Payment(StripePaymentMixin, Model):  # type: ignore[misc]
        id = mapped_column(kind, primary_key=True, default=new)
        tenant_id = mapped_column(sa.ForeignKey("tenant.id"), index=True)

    class User(UserMixin, Model):  # type: ignore[misc]
        id = mapped_column(sa.Integer, primary_key=True)
        tenant_id = mapped_column(sa.ForeignKey("tenant.id"))
        role = mapped_column(sa.String(20))

    return db, Tenant, Payment, User
