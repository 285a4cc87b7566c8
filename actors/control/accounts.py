"""Accounts and API keys: who may ask for what, and the tokens that sign inbound traffic."""

import asyncio
import hashlib
import hmac
import logging
import secrets
from datetime import UTC, datetime

import msgspec

from actors.kernel.context import HostContext
from actors.kernel.registry import Registry, redecided
from engine.core.model.changes import AccountErased, AccountSaved, ApiKeySaved
from engine.core.model.errors import ApiError, Code, invalid_parameter, not_found
from engine.core.model.records import Account, AccountHoldings, ApiKey
from engine.core.model.requests import AccountUpdate, TokenRotation, given
from engine.core.model.sids import SidKind

LONGEST_OVERLAP_SECONDS = 90 * 86_400.0
"""How long two tokens may be good at most."""

_NOBODY = (b"\0" * 32,)
_log = logging.getLogger("maskline.accounts")


def secret_hash(secret: str) -> bytes:
    """Return what is kept of an API key's secret."""
    return hashlib.sha256(secret.encode()).digest()


class AccountRegister:
    """The accounts and their keys."""

    def __init__(self, context: HostContext, registry: Registry) -> None:
        """Look after the accounts and keys of a registry."""
        self._context = context
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

    def holdings(self, account_sid: str) -> AccountHoldings:
        """Return what an account has; ApiError NOT_FOUND."""
        return self._registry.holdings_of(self.get(account_sid).sid)

    def all(self) -> tuple[Account, ...]:
        """Return all accounts, oldest first."""
        return tuple(sorted(self._registry.accounts.values(), key=lambda account: account.sid))

    def authenticate(self, username: str, password: str) -> Account | None:
        """Check account SID and token, or API key and secret, in constant time; None for a disabled account too."""
        return self.knows(username, secret_hash(password))

    def knows(self, username: str, digest: bytes) -> Account | None:
        """Check as `authenticate`, the SHA-256 of the password instead of it."""
        key = self._registry.keys.get(username)
        if key is None:
            account = self._registry.accounts.get(username)
            tokens = () if account is None else account.tokens(self._context.clock())
            expected = tuple(map(secret_hash, tokens)) or _NOBODY
        else:
            account = self._registry.accounts.get(key.account_sid)
            expected = (key.secret_hash,) if key.date_revoked is None else _NOBODY
        is_right = any([hmac.compare_digest(digest, one) for one in expected])  # noqa: C419 - all, in constant time
        return account if is_right and account is not None and not account.is_disabled else None

    async def create(self, settings: AccountUpdate) -> Account:
        """Make an account with a fresh token."""
        account = Account(
            sid=self._context.id_factory(SidKind.ACCOUNT),
            auth_token=secrets.token_hex(16),
            friendly_name="",
            date_created=self._context.clock(),
        )
        await self._save(_changed(account, settings))
        _log.info("An account was made", extra={"account_sid": account.sid})
        return self.get(account.sid)

    @redecided
    async def update(self, account_sid: str, settings: AccountUpdate) -> Account:
        """Change an account's settings."""
        async with self._turn:  # a change made from the record of before would undo one that is under way
            return await self._save(_changed(self.get(account_sid), settings))

    @redecided
    async def rotate_token(self, account_sid: str, rotation: TokenRotation) -> Account:
        """Give an account a fresh token; the one before signs what we send until it ends."""
        overlap = rotation.overlap_seconds
        if not 0 <= overlap <= LONGEST_OVERLAP_SECONDS:
            raise invalid_parameter("overlap_seconds", f"it is from 0 to {LONGEST_OVERLAP_SECONDS:.0f}")
        async with self._turn:
            account, now = self.get(account_sid), self._context.clock()
            signing, *newer = account.tokens(now)
            if newer and overlap and not rotation.is_instead:
                raise ApiError(
                    Code.CONFLICT,
                    f"Two tokens are good until {_moment(account.date_token_ends)}: end the one before first "
                    "(--finish), or ask for a fresh token instead of the newer one (--instead)",
                )
            rotated = msgspec.structs.replace(
                account,
                auth_token=secrets.token_hex(16),
                previous_token=signing if overlap else None,
                date_token_ends=now + overlap if overlap else None,
            )
            await self._save(rotated)
        until = f"the one before is good until {_moment(rotated.date_token_ends)} and signs webhooks until then"
        self._notify(rotated, f"A fresh auth token; {until if overlap else 'the one before is good no more'}")
        return rotated

    @redecided
    async def end_previous_token(self, account_sid: str) -> Account:
        """Let only the newest token be good from now on; harmless when it is already."""
        async with self._turn:
            account = self.get(account_sid)
            if len(account.tokens(self._context.clock())) == 1:
                return account
            ended = msgspec.structs.replace(account, previous_token=None, date_token_ends=None)
            await self._save(ended)
        self._notify(ended, "The auth token before is good no more; the newest signs webhooks")
        return ended

    @redecided
    async def enable(self, account_sid: str, *, is_enabled: bool) -> Account:
        """Disable an account, or let it do what it did before; harmless when it is so already."""
        async with self._turn:
            account = self.get(account_sid)
            if account.is_disabled is not is_enabled:
                return account
            changed = msgspec.structs.replace(account, date_disabled=None if is_enabled else self._context.clock())
            await self._save(changed)
        if is_enabled:
            self._notify(changed, "The account is active again")
        else:
            self._notify(changed, "The account was disabled by the operator", code=Code.ACCOUNT_NOT_ACTIVE)
        return changed

    @redecided
    async def delete(self, account_sid: str) -> None:
        """Erase an account that is disabled and has nothing left, with its keys, events and outbox entries."""
        async with self._turn:
            account = self.get(account_sid)
            if not account.is_disabled:
                raise ApiError(Code.CONFLICT, "The account is active: disable it first")
            await self._save(account)  # what was asked for before it was disabled has come to its end behind this
            left = self._registry.holdings_of(account_sid)
            if not left.is_nothing:
                problem = f"The account still has {len(left.services)} services and {len(left.numbers)} numbers"
                raise ApiError(Code.CONFLICT, problem)
            await self._registry.write(AccountErased(account_sid))
        _log.info("The account was deleted", extra={"account_sid": account_sid})

    def _notify(self, account: Account, what: str, *, code: Code = Code.ACCOUNT_CHANGED) -> None:
        """Tell the account, and the log for those who look later who did what."""
        self._context.notify(code, what, account_sid=account.sid)
        _log.info("%s", what, extra={"account_sid": account.sid})

    async def _save(self, account: Account) -> Account:
        await self._registry.write(AccountSaved(account))
        return account

    async def create_key(self, account_sid: str, friendly_name: str) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is nowhere kept."""
        shown_once = secrets.token_hex(16)
        key = ApiKey(
            sid=self._context.id_factory(SidKind.API_KEY),
            account_sid=self.get(account_sid).sid,
            secret_hash=secret_hash(shown_once),
            friendly_name=friendly_name,
            date_created=self._context.clock(),
        )
        await self._registry.write(ApiKeySaved(key))
        _log.info("An API key was made", extra={"account_sid": account_sid, "key_sid": key.sid})
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
            key = msgspec.structs.replace(key, date_revoked=self._context.clock())
            await self._registry.write(ApiKeySaved(key))
            _log.info("An API key was revoked", extra={"account_sid": key.account_sid, "key_sid": key_sid})
        return key


def _changed(account: Account, settings: AccountUpdate) -> Account:
    return msgspec.structs.replace(account, **given(settings))


def _moment(at: float | None) -> str:
    return "now" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _no_such_key(key_sid: str) -> ApiError:
    return not_found(f"/Keys/{key_sid}")
