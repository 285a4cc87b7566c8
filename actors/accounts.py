"""Accounts and API keys: who may ask for what, and the tokens that sign inbound traffic."""

import asyncio
import hashlib
import hmac
import secrets

import msgspec

from actors.parts import Parts
from actors.registry import Registry, redecided
from engine.core.changes import AccountSaved, ApiKeySaved
from engine.core.errors import ApiError, not_found
from engine.core.records import Account, ApiKey
from engine.core.requests import AccountUpdate, given
from engine.core.sids import SidKind

_NOBODY = b"\0" * 32


def secret_hash(secret: str) -> bytes:
    """Return what is kept of an API key's secret."""
    return hashlib.sha256(secret.encode()).digest()


class AccountRegister:
    """The accounts and their keys."""

    def __init__(self, parts: Parts, registry: Registry) -> None:
        """Look after the accounts and keys of a registry."""
        self._parts = parts
        self._registry = registry
        self._turn = asyncio.Lock()

    def find(self, account_sid: str) -> Account | None:
        """Return an account, if there is one."""
        return self._registry.accounts.get(account_sid)

    def get(self, account_sid: str) -> Account:
        """Return an account; ApiError NOT_FOUND."""
        account = self._registry.accounts.get(account_sid)
        if account is None:
            raise not_found(f"/Accounts/{account_sid}")
        return account

    def all(self) -> tuple[Account, ...]:
        """Return all accounts, oldest first."""
        return tuple(sorted(self._registry.accounts.values(), key=lambda account: account.sid))

    def authenticate(self, username: str, password: str) -> Account | None:
        """Check account SID and token, or API key and secret, in constant time."""
        given = secret_hash(password)
        key = self._registry.keys.get(username)
        if key is not None:
            is_right = hmac.compare_digest(given, key.secret_hash) and key.date_revoked is None
            return self._registry.accounts.get(key.account_sid) if is_right else None
        account = self._registry.accounts.get(username)
        expected = _NOBODY if account is None else secret_hash(account.auth_token)
        return account if hmac.compare_digest(given, expected) else None

    async def create(self, settings: AccountUpdate) -> Account:
        """Make an account with a fresh token."""
        account = Account(
            sid=self._parts.mint(SidKind.ACCOUNT),
            auth_token=secrets.token_hex(16),
            friendly_name="",
            date_created=self._parts.clock(),
        )
        return await self._save(_changed(account, settings))

    @redecided
    async def update(self, account_sid: str, settings: AccountUpdate) -> Account:
        """Change an account's settings."""
        async with self._turn:  # a change made from the record of before would undo one that is under way
            return await self._save(_changed(self.get(account_sid), settings))

    async def _save(self, account: Account) -> Account:
        await self._registry.write(AccountSaved(account))
        return account

    async def create_key(self, account_sid: str, friendly_name: str) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is nowhere kept."""
        shown_once = secrets.token_hex(16)
        key = ApiKey(
            sid=self._parts.mint(SidKind.API_KEY),
            account_sid=self.get(account_sid).sid,
            secret_hash=secret_hash(shown_once),
            friendly_name=friendly_name,
            date_created=self._parts.clock(),
        )
        await self._registry.write(ApiKeySaved(key))
        return key, shown_once

    def keys(self, account_sid: str) -> tuple[ApiKey, ...]:
        """Return the keys of an account, oldest first."""
        owner = self.get(account_sid).sid
        mine = (key for key in self._registry.keys.values() if key.account_sid == owner)
        return tuple(sorted(mine, key=lambda key: key.sid))

    @redecided
    async def revoke_key(self, key_sid: str) -> ApiKey:
        """End a key at once; ending it again changes nothing."""
        key = self._registry.keys.get(key_sid)
        if key is None:
            raise _no_such_key(key_sid)
        if key.date_revoked is None:
            key = msgspec.structs.replace(key, date_revoked=self._parts.clock())
            await self._registry.write(ApiKeySaved(key))
        return key


def _changed(account: Account, settings: AccountUpdate) -> Account:
    return msgspec.structs.replace(account, **given(settings))


def _no_such_key(key_sid: str) -> ApiError:
    return not_found(f"/Keys/{key_sid}")
