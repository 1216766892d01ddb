"""From the settings to the stores: the one that secrets go into, and all that they can be read from."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
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
_VAULTS: Final[Mapping[str, Any]] = {store.name: store for store in (AwsStore, GcpStore, VaultStore)}
#: The words that ``SECRET_STORE`` may be.
NAMES: Final = (_DATABASE, *_VAULTS)
_OTHERS: Final = "others"
_METHODS: Final = ("put", "get", "delete")


def make_stores(
    chosen: str | object, options: Mapping[str, Any], encryption_keys: tuple[Secret, ...]
) -> Mapping[str, SecretStore]:
    """Return every store that secrets can be read from, by name; the first is the one that new secrets go into.

    These are the chosen one, those in ``options["others"]`` (name → options; secrets are moved out of them), and the
    database whenever there are encryption keys. Nothing is asked of a vault yet.

    :raises ConfigurationError: for options that cannot work. Their values are never repeated.
    """
    own = {option: value for option, value in options.items() if option != _OTHERS and value is not None}
    stores: dict[str, SecretStore] = {}
    for store in (_make(chosen, own, encryption_keys), *_make_others(options.get(_OTHERS) or {})):
        if store.name in stores:
            raise ConfigurationError(f"{SETTING}: others holds the store that VALETPRO_STRIPE_SECRET_STORE chose.")
        stores[store.name] = store
    if encryption_keys and _DATABASE not in stores:
        stores[_DATABASE] = DatabaseStore(KeyRing(encryption_keys))
    return stores


def chosen_store(stores: Mapping[str, SecretStore]) -> SecretStore:
    """Return the store that new secrets go into."""
    return next(iter(stores.values()))


def is_custom_store(chosen: object) -> bool:
    """Say whether this is an object that can be a secret store."""
    return not isinstance(chosen, (str, type)) and all(callable(getattr(chosen, name, None)) for name in _METHODS)


def _make(chosen: str | object, options: Mapping[str, Any], encryption_keys: tuple[Secret, ...]) -> SecretStore:
    if chosen == _DATABASE:
        _refuse_unknown(_DATABASE, options, {_OTHERS})
        return _make_database(encryption_keys)
    if isinstance(chosen, str):
        return RememberingStore(_make_vault(chosen, options))
    store = _make_custom(chosen)
    _refuse_unknown(store.name, options, {_OTHERS})
    return RememberingStore(store)


def _make_database(encryption_keys: tuple[Secret, ...]) -> SecretStore:
    if not encryption_keys:
        raise ConfigurationError("VALETPRO_STRIPE_ENCRYPTION_KEYS is not set, and the database secret store needs it.")
    return DatabaseStore(KeyRing(encryption_keys))


def _make_others(others: object) -> Iterable[SecretStore]:
    if not isinstance(others, Mapping):
        raise ConfigurationError(f"{SETTING}: others must be a dict from the names of stores to their options.")
    for name, options in others.items():
        if name not in _VAULTS or not isinstance(options, Mapping):
            raise ConfigurationError(
                f"{SETTING}: others must be a dict from {', '.join(map(repr, _VAULTS))} to that store's options. "
                "The database is read whenever VALETPRO_STRIPE_ENCRYPTION_KEYS is set, and is not named there."
            )
        yield RememberingStore(_make_vault(name, {o: value for o, value in options.items() if value is not None}))


def _make_vault(name: str, options: Mapping[str, Any]) -> SecretStore:
    if name not in _VAULTS:
        raise ConfigurationError(f"VALETPRO_STRIPE_SECRET_STORE must be one of {', '.join(map(repr, NAMES))}.")
    parameters = inspect.signature(_VAULTS[name]).parameters
    _refuse_unknown(name, options, set(parameters))
    needed = [option for option, parameter in parameters.items() if parameter.default is parameter.empty]
    if lacking := [option for option in needed if option not in options]:
        raise ConfigurationError(f"{SETTING}: the {name} store needs {' and '.join(lacking)}.")
    store: SecretStore = _VAULTS[name](**options)
    return store


def _make_custom(chosen: Any) -> SecretStore:
    if not is_custom_store(chosen):
        raise ConfigurationError(
            f"VALETPRO_STRIPE_SECRET_STORE must be one of {', '.join(map(repr, NAMES))}, or an object with the methods "
            f"{', '.join(_METHODS)}."
        )
    name = getattr(chosen, "name", "custom")
    if not isinstance(name, str) or not name.isidentifier() or len(name) > 32 or name in NAMES:
        raise ConfigurationError(
            "VALETPRO_STRIPE_SECRET_STORE is an object whose name cannot stand beside its secrets. Give it a word of "
            f"its own, up to 32 letters, digits and underscores, other than {', '.join(map(repr, NAMES))}."
        )
    return CustomStore(name, chosen)


def _refuse_unknown(name: str, options: Mapping[Any, Any], known: set[str]) -> None:
    for option in options:
        if option in known:
            continue
        # What is no word at all may be a value in the wrong place.
        shown = option if isinstance(option, str) and option.isidentifier() else "one of its options"
        close = difflib.get_close_matches(shown, known, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise ConfigurationError(f"{SETTING}: the {name} store has no option like this: {shown}.{meant}")
