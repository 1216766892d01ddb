"""Fixtures of the secret stores: the vaults, started once, and a store for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_valetpro_stripe.crypto import KeyRing
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.aws import AwsStore
from flask_valetpro_stripe.secrets.custom import CustomStore
from flask_valetpro_stripe.secrets.database import DatabaseStore
from flask_valetpro_stripe.secrets.gcp import GcpStore
from flask_valetpro_stripe.secrets.store import SecretStore
from flask_valetpro_stripe.secrets.vault import VaultStore
from tests.secrets.limits import PATIENT, limit_stores
from tests.secrets.relay import Relay, relay_to
from tests.secrets.stage import HostsOwn, Vault
from tests.servers import OpenBao, SecretManager, running_drongo, running_moto, running_openbao, running_secret_manager

VAULTS = ["aws", "gcp_grpc", "gcp_rest", "vault_token", "vault_role"]
#: What our role may do: nothing outside its own folder.
OUR_POLICY = """
path "secret/data/valetpro-stripe/*" { capabilities = ["create", "read"] }
path "secret/metadata/valetpro-stripe/*" { capabilities = ["delete"] }
"""


@pytest.fixture(autouse=True)
def _somebody_at_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def _patient_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_stores(monkeypatch, PATIENT)


@pytest.fixture
def real_limits(_patient_stores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own limits, for tests of the limits themselves."""
    limit_stores(monkeypatch, 1)


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """A real vault, for all tests that leave it open."""
    with running_openbao() as server:
        yield server


@pytest.fixture(scope="session")
def role(openbao: OpenBao) -> dict[str, str]:
    """The role_id and the secret_id of an AppRole with just the rights that we need."""
    return openbao.make_role("valetpro", OUR_POLICY)


@pytest.fixture(scope="session")
def moto() -> Iterator[int]:
    with running_moto() as port:
        yield port


@pytest.fixture(scope="session")
def drongo() -> Iterator[int]:
    with running_drongo() as port:
        yield port


@pytest.fixture(scope="session")
def secret_manager() -> Iterator[SecretManager]:
    with running_secret_manager() as manager:
        yield manager


@pytest.fixture
def aws(moto: int) -> Vault:
    return Vault(moto, lambda port, **more: AwsStore("eu-west-1", endpoint_url=f"http://127.0.0.1:{port}", **more))


@pytest.fixture
def gcp_grpc(secret_manager: SecretManager) -> Vault:
    return Vault(secret_manager.port, lambda port, **more: GcpStore("valet", endpoint=f"127.0.0.1:{port}", **more))


@pytest.fixture
def gcp_rest(drongo: int) -> Vault:
    return Vault(drongo, lambda port, **more: GcpStore("valet", endpoint=f"127.0.0.1:{port}", transport="rest", **more))


@pytest.fixture
def vault_token(openbao: OpenBao) -> Vault:
    return Vault(openbao.port, lambda port, **more: VaultStore(f"http://127.0.0.1:{port}", token=openbao.token, **more))


@pytest.fixture
def vault_role(openbao: OpenBao, role: dict[str, str]) -> Vault:
    return Vault(openbao.port, lambda port, **more: VaultStore(f"http://127.0.0.1:{port}", **role, **more))


@pytest.fixture(params=VAULTS)
def vault(request: pytest.FixtureRequest) -> Vault:
    """Each vault, up and open."""
    found: Vault = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def relay(vault: Vault) -> Iterator[Relay]:
    """The way to the vault, that a test may cut."""
    with relay_to(vault.port) as relay:
        yield relay


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing([Secret("MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=")])


@pytest.fixture(params=["database", *VAULTS, "custom"])
def store(request: pytest.FixtureRequest, ring: KeyRing) -> SecretStore:
    """Each store, before it remembers anything."""
    if request.param == "database":
        return DatabaseStore(ring)
    if request.param == "custom":
        return CustomStore("in_memory", HostsOwn())
    vault: Vault = request.getfixturevalue(request.param)
    return vault.store()
