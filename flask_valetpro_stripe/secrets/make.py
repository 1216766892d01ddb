"""From the settings to the stores: the one that secrets go into, and all that they can be read from."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..crypto import KeyRing
from ..errors import ConfigurationError
from . import Secret
from .aws import AwsStore
from .custom import CustomStore
from .database import DatabaseStore
from .gcp import GcpStore
from .options import SETTING
from .remembered import RememberingStore
from .store import SecretStore
from .vault import VaultStore

_DATABASE: Final = DatabaseStore.name
#: The vaults by their words. What the database keeps for a secret in one of them is random, so it may be shown.
VAULTS: Final[Mapping[str, Any]] = {store.name: store for store in (AwsStore, GcpStore, VaultStore)}
_NAMES: Final = (_DATABASE, *VAULTS)
_OTHERS: Final = "others"
_METHODS: Final = ("put", "get", "delete")
#: The command that makes an encryption key.
MAKE_A_KEY: Final = 'python -c "import base64, os; print(base64.b64encode(os.urandom(32)).decode())"'


def make_stores(
    chosen: str | object,
    options: Mapping[str, Any],
    encryption_keys: tuple[Secret, ...],
    *,
    on_error: Callable[[str], object] = lambda _: None,
) -> Mapping[str, SecretStore]:
    """Return every store that secrets can be read from, by name; the first is the one that new secrets go into.

    These are the chosen one, those in ``options["others"]`` (name → options; secrets are moved out of them), and the
    database whenever there are encryption keys. Nothing is asked of a vault yet.

    :param on_error: called with a vault's name each time that it cannot give what it is asked for.
    :raises ConfigurationError: for options that cannot work. Their values are never repeated.
    """
    own = {option: value for option, value in options.items() if option != _OTHERS and value is not None}
    stores: dict[str, SecretStore] = {}
    for store in (_make(chosen, own, encryption_keys), *_make_others(options.get(_OTHERS) or {})):
        if store.name in stores:
            raise ConfigurationError(f"{SETTING}: others holds the store that VALETPRO_STRIPE_SECRET_STORE chose.")
        stores[store.name] = store if store.name == _DATABASE else RememberingStore(store, on_error=on_error)
    if encryption_keys and _DATABASE not in stores:
        stores[_DATABASE] = DatabaseStore(KeyRing(encryption_keys))
    return stores


def chosen_store(stores: Mapping[str, SecretStore]) -> SecretStore:
    """Return the store that new secrets go into."""
    return next(iter(stores.values()))


def _make(chosen: str | object, options: Mapping[str, Any], encryption_keys: tuple[Secret, ...]) -> SecretStore:
    if chosen == _DATABASE:
        _refuse_unknown(_DATABASE, options, {_OTHERS})
        return _make_database(encryption_keys)
    if isinstance(chosen, str):
        return _make_vault(chosen, options)
    store = _make_custom(chosen)
    _refuse_unknown(store.name, options, {_OTHERS})
    return store


def _make_database(encryption_keys: tuple[Secret, ...]) -> SecretStore:
    if not encryption_keys:
        raise ConfigurationError(
            "VALETPRO_STRIPE_ENCRYPTION_KEYS is not set, and the database secret store needs it. Set it to a list with "
            f"one new key, made by: {MAKE_A_KEY}"
        )
    return DatabaseStore(KeyRing(encryption_keys))


def _make_others(others: object) -> Iterable[SecretStore]:
    if not isinstance(others, Mapping):
        raise ConfigurationError(f"{SETTING}: others must be a dict from the names of stores to their options.")
    for name, options in others.items():
        if name not in VAULTS or not isinstance(options, Mapping):
            raise ConfigurationError(
                f"{SETTING}: others must be a dict from {', '.join(map(repr, VAULTS))} to that store's options. "
                "The database is read whenever VALETPRO_STRIPE_ENCRYPTION_KEYS is set, and is not named there."
            )
        yield _make_vault(name, {o: value for o, value in options.items() if value is not None})


def _make_vault(name: str, options: Mapping[str, Any]) -> SecretStore:
    if name not in VAULTS:
        raise _no_store()
    parameters = inspect.signature(VAULTS[name]).parameters
    _refuse_unknown(name, options, set(parameters))
    needed = [option for option, parameter in parameters.items() if parameter.default is parameter.empty]
    if lacking := [option for option in needed if option not in options]:
        raise ConfigurationError(f"{SETTING}: the {name} store needs {' and '.join(lacking)}.")
    store: SecretStore = VAULTS[name](**options)
    return store


def _make_custom(chosen: Any) -> SecretStore:
    if isinstance(chosen, type) or not all(callable(getattr(chosen, name, None)) for name in _METHODS):
        raise _no_store()
    name = getattr(chosen, "name", "custom")
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 32 or name in _NAMES:
        raise ConfigurationError(
            "VALETPRO_STRIPE_SECRET_STORE is an object whose name cannot stand beside its secrets. Give it a word of "
            f"its own, up to 32 letters, digits and underscores, other than {', '.join(map(repr, _NAMES))}."
        )
    return CustomStore(name, chosen)


def _no_store() -> ConfigurationError:
    return ConfigurationError(
        f"VALETPRO_STRIPE_SECRET_STORE must be one of {', '.join(map(repr, _NAMES))}, or an object with the methods "
        "put, get and delete."
    )


def _refuse_unknown(name: str, options: Mapping[Any, Any], known: set[str]) -> None:
    for option in options:
        if option in known:
            continue
        # What is no word at all may be a value in the wrong place.
        shown = option if isinstance(option, str) and option.isidentifier() else "one of its options"
        close = difflib.get_close_matches(shown, known, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise ConfigurationError(f"{SETTING}: the {name} store has no option like this: {shown}.{meant}")
