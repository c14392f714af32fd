"""The callers of the matrix: users of every tier and role, and credentials that have ended each in its own way."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx

from auth_service.domain.model import Owner
from shared.clock import system_clock
from shared.ids import new_id
from shared.scopes import ADMIN, SCOPES, scopes_of
from tests.security.backstage import Backstage
from tests.security.crowd import Crowd
from tests.security.forging import Forge
from tests.support.poll import until

__all__ = ["KEPT", "Account", "By", "Caller", "Cast", "gone_by"]

By = Literal["key", "token", ""]
KEPT = "matrix_kept"
FREE_USERS, PRO_USERS = 10, 4
"""Many, because each may do little: 233 indicators are five days of one free user. Even, so that half of them need no token."""
LAST_WEEK = timedelta(days=7)
_TO = re.compile(r"^To: (\S+)$", re.MULTILINE)
_TOKEN = re.compile(r"^([\w-]{43})$", re.MULTILINE)


def gone_by(by: By) -> str:
    """The indicator of one's own that this credential of an account may delete."""
    return f"matrix_gone_by_{by or 'nobody'}"


@dataclass(eq=False)
class Account:
    """A user who is there; `token` is empty where one has yet to log in (again)."""

    id: UUID
    tenant_id: UUID
    name: str
    email: str
    key: str
    token: str = ""
    refresh_token: str = ""

    @property
    def owner(self) -> Owner:
        return Owner(self.tenant_id, self.id)


@dataclass(frozen=True)
class Caller:
    """`column` is that of the table. `who` is whose things they ask for, also with a credential (`secret`) that has ended."""

    name: str
    column: str
    by: By
    who: Account
    secret: str = ""


class Cast:
    """Whoever there is. `mail` is the folder that mails come into; `seeds` are the keys that tokens may be signed with."""

    def __init__(self, crowd: Crowd, backstage: Backstage, mail: Path, seeds: Sequence[bytes]) -> None:
        self._crowd = crowd
        self._backstage = backstage
        self._mail = mail
        self._seeds = seeds
        self.free: list[Account] = []
        self.pro: list[Account] = []
        self.ended: list[Caller] = []
        self.unscoped: dict[str | None, str] = {}
        self._invited: dict[str, str] = {}
        self._opened: set[Path] = set()
        self._tokens: dict[str, list[str]] = {}

    async def assemble(self) -> None:
        (self.admin,) = await self.seeded("enterprise", roles=(ADMIN,))
        premium = await self.seeded("premium", 5)
        self.premium, self.other, self.disabled, free, pro = premium
        self.member, self.guest, self.spare, *others = await self.seeded("free", 3 + FREE_USERS - 1)
        self.free, self.pro = [free, *others], [pro, *await self.seeded("pro", PRO_USERS - 1)]
        await self._found_organisation()
        for account in (self.premium, self.disabled, free, pro, self.member, self.admin):
            await self._save_indicators(account)
        for account, tier in ((free, "free"), (pro, "pro")):
            await self.changed_by_admin(account, tier=tier)
        self.invitation_id = await self.invite(self.premium, f"{new_id().hex}@example.com")
        self.key_id = await self.new_key(self.premium)
        await self._end_credentials()
        await self._leave_out_scopes()

    # ----- making them

    async def seeded(self, tier: str, count: int = 1, roles: tuple[str, ...] = ()) -> list[Account]:
        """With a key that may do all that its user may."""
        keys = await self._backstage.keys_of_users(tier, count, roles)
        return [await self._account(key) for key in keys]

    async def understudy(self, caller: Caller) -> Account:
        """Somebody else of their tier, in a tenant of their own or the same organisation."""
        tier = {"member": "free", "other": "premium", "admin": "enterprise"}.get(caller.column, caller.column)
        (somebody,) = await self.seeded(tier, roles=(ADMIN,) if caller.column == "admin" else ())
        if caller.column == "member":
            await self.join(self.premium, somebody)
        return somebody

    async def _account(self, key: str) -> Account:
        me = (await self.done("GET", "/api/v1/auth/me", key)).json()
        return Account(UUID(me["id"]), UUID(me["tenant_id"]), me["username"], me["email"], key)

    async def logged_in(self, account: Account) -> Account:
        if not account.token:
            grant = await self._backstage.session(account.name)
            account.token, account.refresh_token = grant.access_token, grant.refresh_token
        return account

    async def _found_organisation(self) -> None:
        """Of the tier premium: with its owner, and a member whose own tier is another."""
        body = {"name": "Engines", "owner_id": str(self.premium.id), "tier": "premium"}
        made = await self.done("POST", "/api/v1/admin/tenants", self.admin.key, json=body)
        await self.is_in(self.premium, UUID(made.json()["id"]))
        await self.join(self.premium, self.member)

    async def _save_indicators(self, account: Account) -> None:
        for name in (KEPT, gone_by("key"), gone_by("token")):
            body = {"name": name, "expression": "sma(close, 3)"}
            await self.done("POST", "/api/v1/indicators/custom", account.key, json=body)

    async def _end_credentials(self) -> None:
        owner = await self.logged_in(self.premium)
        forge = Forge.of(owner.token, self._seeds)
        past = int(system_clock().timestamp() - LAST_WEEK.total_seconds())
        expired = forge.claiming(iat=past, exp=past + 900)
        revoked = (await self.done("POST", "/api/v1/auth/api-keys", owner.key, json={"scopes": SCOPES[:-1]})).json()
        await self.done("DELETE", f"/api/v1/auth/api-keys/{revoked['id']}", owner.key)
        expired_key = await self._backstage.expired_key(owner.owner, SCOPES[:-1])
        left = await self._backstage.session(owner.name)
        self.left_session = left.refresh_token
        await self.done("POST", "/api/v1/auth/logout", owner.key, json={"refresh_token": self.left_session})
        await self.logged_in(self.disabled)
        await self.changed_by_admin(self.disabled, is_active=False)
        self.ended = [
            Caller("disabled, by key", "ended", "key", self.disabled),
            Caller("disabled, by token", "ended", "token", self.disabled),
            Caller("expired key", "ended", "key", owner, expired_key),
            Caller("expired token", "ended", "token", owner, expired),
            Caller("revoked key", "ended", "key", owner, revoked["api_key"]),
            Caller("token of a session that was logged out", "ended", "token", owner, left.access_token),
        ]

        async def over() -> bool:
            answers = [await self.ask("GET", "/api/v1/auth/me", caller) for caller in self.ended]
            return all(answer.status_code == 401 for answer in answers)

        await until(over, what="what has ended is refused")

    async def _leave_out_scopes(self) -> None:
        for scope in SCOPES:
            account, roles = (self.admin, (ADMIN,)) if scope == ADMIN else (self.premium, ())
            others = [one for one in scopes_of(roles) if one != scope]
            self.unscoped[scope] = await self._key(account, scopes=others)
        self.unscoped[None] = await self._key(self.premium, scopes=["bars:read"])

    async def _key(self, account: Account, **body: Any) -> str:
        return str((await self.done("POST", "/api/v1/auth/api-keys", account.key, json=body)).json()["api_key"])

    # ----- who calls

    def everybody(self, scope: str | None, turn: int = 0) -> Iterator[Caller]:
        """Each with a key and with a token; of the users of a tier those whose turn it is."""
        yield Caller("nobody", "nobody", "", self.premium)
        yield from self.ended
        yield Caller(f"without {scope}", "unscoped", "key", self.premium, self.unscoped[scope])
        free, pro = self.free[turn % len(self.free)], self.pro[turn % len(self.pro)]
        people = {"free": free, "pro": pro, "premium": self.premium, "member": self.member, "other": self.other}
        for column, who in {**people, "admin": self.admin}.items():
            yield Caller(f"{column}, by key", column, "key", who)
            yield Caller(f"{column}, by token", column, "token", who)

    def each_once(self, scope: str | None, turn: int) -> list[Caller]:
        """With a key or with a token, in turn."""
        left_out = ("token", "key")[turn % 2]
        return [one for one in self.everybody(scope, turn) if one.by != left_out or one.column == "unscoped"]

    async def ask(self, method: str, path: str, caller: Caller, **request: Any) -> httpx.Response:
        return await self._crowd.request(method, path, headers=await self.headers(caller), **request)

    async def headers(self, caller: Caller) -> dict[str, str]:
        if caller.by == "key":
            return {"X-API-Key": caller.secret or caller.who.key}
        if caller.by == "token":
            token = caller.secret or caller.who.token or (await self.logged_in(caller.who)).token
            return {"Authorization": f"Bearer {token}"}
        return {}

    # ----- what they ask for

    async def done(self, method: str, path: str, key: str, **request: Any) -> httpx.Response:
        """What is prepared has to succeed."""
        answer = await self._crowd.request(method, path, headers={"X-API-Key": key}, **request)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer

    async def new_key(self, account: Account) -> str:
        """Its id."""
        return str((await self.done("POST", "/api/v1/auth/api-keys", account.key, json={})).json()["id"])

    async def invite(self, by: Account, email: str) -> str:
        """The id of the invitation."""
        owner = Caller("owner", "owner", "token", by)
        answer = await self.ask("POST", "/api/v1/tenant/invitations", owner, json={"email": email})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def mailed(self, email: str) -> str:
        """The token of a mail to this address; each once, the oldest first."""

        async def look() -> str | None:
            for path in sorted(set(self._mail.glob("*.eml")) - self._opened):
                self._opened.add(path)
                text = path.read_text()
                if (to := _TO.search(text)) and (token := _TOKEN.search(text)):
                    self._tokens.setdefault(to[1], []).append(token[1])
            waiting = self._tokens.get(email)
            return waiting.pop(0) if waiting else None

        token = await until(look, what=f"a mail to {email}")
        assert token is not None
        return token

    async def token_for(self, account: Account) -> str:
        """Of an invitation to their address, of the spare user's tenant."""
        if account.email not in self._invited:
            await self.invite(self.spare, account.email)
            self._invited[account.email] = await self.mailed(account.email)
        return self._invited[account.email]

    async def join(self, owner: Account, guest: Account) -> None:
        """The guest accepts an invitation of the owner's."""
        await self.invite(owner, guest.email)
        token = await self.mailed(guest.email)
        caller = Caller("guest", "guest", "token", guest)
        answer = await self.ask("POST", "/api/v1/tenant/invitations/accept", caller, json={"token": token})
        assert answer.status_code == 200, answer.text
        await self.is_in(guest, UUID(answer.json()["id"]))

    async def remove(self, owner: Account, guest: Account) -> None:
        await self.done("DELETE", f"/api/v1/tenant/members/{guest.id}", owner.key)

    async def is_in(self, account: Account, tenant_id: UUID) -> None:
        """The gateway has heard of it."""

        async def heard() -> bool:
            answer = await self._crowd.request("GET", "/api/v1/tenant", headers={"X-API-Key": account.key})
            return answer.is_success and answer.json()["id"] == str(tenant_id)

        await until(heard, what="the move to another tenant")
        account.tenant_id = tenant_id

    async def changed_by_admin(self, account: Account, **changes: Any) -> None:
        await self.done("PATCH", f"/api/v1/admin/users/{account.id}", self.admin.key, json=changes)

        async def heard() -> bool:
            answer = await self._crowd.request("GET", "/api/v1/usage", headers={"X-API-Key": account.key})
            return answer.status_code == 401 or answer.json()["tier"] == changes.get("tier")

        await until(heard, what="the change of a user")
