"""A valid request for every operation: what succeeds for whoever may do it, on things that were made for this caller."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from shared.ids import new_id
from tests.security.cast import KEPT, Account, Caller, Cast, gone_by
from tests.support.accounts import PASSWORD

__all__ = ["Errand", "errand_for"]

Done = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Errand:
    """`request` is what httpx takes; `by` another caller, where one has to be found who can; `done` follows a success."""

    path: str
    request: dict[str, Any] = field(default_factory=dict)
    by: Caller | None = None
    done: Done | None = None


Prepare = Callable[[Cast, Caller, bool], Awaitable[Errand]]
"""Of a caller, and whether they succeed: then it is done on something new, for they may make away with it."""

BARS = [{"date": f"2024-01-0{day}", "open": 10, "high": 12, "low": 9, "close": 10 + day, "volume": 100} for day in (1, 2, 3)]
CANDLES = {"bars": BARS, "parameters": {"time_period": 2}}
SERIES = [{"symbol": "AAPL", "interval": "1day", "indicators": [{"indicator": "sma", "parameters": {"time_period": 3}}]}]
CSV = b"Ticker,Date,Open,High,Low,Close,Volume\nMATRIX,2020-01-01,10,11,9,10,1000"
SAVED = {"expression": "ema(close, 3)"}
_SIMPLE = {
    "GET /api/v1/symbols/{symbol}": Errand("/api/v1/symbols/AAPL"),
    "GET /api/v1/bars/{symbol}": Errand("/api/v1/bars/AAPL?limit=1"),
    "GET /api/v1/patterns/{symbol}": Errand("/api/v1/patterns/AAPL?limit=1"),
    "POST /api/v1/indicators/{name}": Errand("/api/v1/indicators/sma", {"json": CANDLES}),
    "POST /api/v1/indicators/batch": Errand("/api/v1/indicators/batch", {"json": {"constructs": SERIES}}),
    "POST /api/v1/expressions/validate": Errand("/api/v1/expressions/validate", {"json": {"expression": "close > 1"}}),
    "POST /api/v1/expressions/evaluate": Errand(
        "/api/v1/expressions/evaluate", {"json": {"expression": "close > 1", "symbol": "AAPL", "limit": 1}}
    ),
    "POST /api/v1/screener": Errand("/api/v1/screener", {"json": {"expression": "close > 1"}}),
    "GET /api/v1/indicators/custom/{name}": Errand(f"/api/v1/indicators/custom/{KEPT}"),
    "PUT /api/v1/indicators/custom/{name}": Errand(f"/api/v1/indicators/custom/{KEPT}", {"json": SAVED}),
    "PATCH /api/v1/tenant": Errand("/api/v1/tenant", {"json": {"name": "Engines"}}),
    "POST /api/v1/data/import": Errand("/api/v1/data/import?dry_run=true", {"files": {"file": ("bars.csv", CSV)}}),
    "GET /api/v1/admin/plans/history/{version}": Errand("/api/v1/admin/plans/history/1"),
    "POST /api/v1/check": Errand("/api/v1/check", {"json": {"subject": "matrix", "tier": "pro", "cost": 0}}),
    "POST /internal/v1/resolve": Errand("/internal/v1/resolve", {"json": {"api_key_sha256": "0" * 64}}),
    "POST /internal/v1/resolve/batch": Errand("/internal/v1/resolve/batch", {"json": {"callers": []}}),
}
"""What is the same for all, and needs nothing made for it."""

_PREPARED: dict[str, Prepare] = {}


def _errand(operation: str) -> Callable[[Prepare], Prepare]:
    def note(prepare: Prepare) -> Prepare:
        _PREPARED[operation] = prepare
        return prepare

    return note


async def errand_for(operation: str, cast: Cast, caller: Caller, *, succeeds: bool) -> Errand:
    """KeyError for an operation that nobody has said anything about, unless a GET of its path is all there is to it."""
    if operation in _PREPARED:
        return await _PREPARED[operation](cast, caller, succeeds)
    method, path = operation.split(" ")
    plain = method == "GET" and "{" not in path
    return _SIMPLE.get(operation) or Errand(path) if plain else _SIMPLE[operation]


def whose(cast: Cast, caller: Caller) -> Account:
    """Whose things it is about: their own, or of the one who is in another tenant."""
    return cast.premium if caller.column == "other" else caller.who


# ----- what is open: each for an account that is nobody's who calls


@_errand("POST /api/v1/auth/register")
async def _register(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    name = f"m{new_id().hex}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    return Errand("/api/v1/auth/register", {"json": body})


@_errand("POST /api/v1/auth/login")
async def _login(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand("/api/v1/auth/login", {"data": {"username": cast.spare.name, "password": PASSWORD}})


@_errand("POST /api/v1/auth/refresh")
async def _refresh(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    async def done(answer: dict[str, Any]) -> None:
        cast.spare.refresh_token = answer["refresh_token"]

    await cast.logged_in(cast.spare)
    return Errand("/api/v1/auth/refresh", {"json": {"refresh_token": cast.spare.refresh_token}}, done=done)


@_errand("POST /api/v1/auth/logout")
async def _logout(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    """Of a session that has ended: that is no error."""
    return Errand("/api/v1/auth/logout", {"json": {"refresh_token": cast.left_session}})


@_errand("POST /api/v1/auth/password/forgot")
async def _forgot(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand("/api/v1/auth/password/forgot", {"json": {"email": cast.spare.email}})


@_errand("POST /api/v1/auth/password/reset")
async def _reset(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    (forgetful,) = await cast.seeded("free")
    await cast.done("POST", "/api/v1/auth/password/forgot", forgetful.key, json={"email": forgetful.email})
    body = {"token": await cast.mailed(forgetful.email), "new_password": f"another {PASSWORD}"}
    return Errand("/api/v1/auth/password/reset", {"json": body})


# ----- one's own account


@_errand("PATCH /api/v1/auth/me")
async def _change_email(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    async def done(answer: dict[str, Any]) -> None:
        caller.who.email = answer["email"]

    body = {"email": f"{new_id().hex}@example.com", "current_password": PASSWORD}
    return Errand("/api/v1/auth/me", {"json": body}, done=done)


@_errand("POST /api/v1/auth/password")
async def _change_password(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    """It ends all that they came with, so somebody like them does it."""
    body = {"current_password": PASSWORD, "new_password": f"another {PASSWORD}"}
    by = replace(caller, who=await cast.understudy(caller)) if succeeds else None
    return Errand("/api/v1/auth/password", {"json": body}, by=by)


@_errand("POST /api/v1/auth/logout-all")
async def _log_out_everywhere(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    async def done(_: dict[str, Any]) -> None:
        caller.who.token = ""

    return Errand("/api/v1/auth/logout-all", done=done)


@_errand("POST /api/v1/auth/api-keys")
async def _create_key(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand("/api/v1/auth/api-keys", {"json": {"name": "robot"}})


async def key_of(cast: Cast, caller: Caller, succeeds: bool) -> str:
    return f"/api/v1/auth/api-keys/{await cast.new_key(caller.who) if succeeds else cast.key_id}"


@_errand("GET /api/v1/auth/api-keys/{key_id}")
@_errand("DELETE /api/v1/auth/api-keys/{key_id}")
async def _key(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(await key_of(cast, caller, succeeds))


@_errand("POST /api/v1/auth/api-keys/{key_id}/rotate")
async def _rotate(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"{await key_of(cast, caller, succeeds)}/rotate", {"json": {"grace_minutes": 0}})


@_errand("POST /api/v1/indicators/custom")
async def _save(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand("/api/v1/indicators/custom", {"json": {"name": f"m{new_id().hex}", "expression": "sma(close, 3)"}})


@_errand("DELETE /api/v1/indicators/custom/{name}")
async def _delete_saved(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"/api/v1/indicators/custom/{gone_by(caller.by) if succeeds else KEPT}")


# ----- the tenant


@_errand("PATCH /api/v1/tenant/members/{member_id}")
async def _change_role(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    async def done(_: dict[str, Any]) -> None:
        await cast.remove(caller.who, member)

    member = await member_for(cast, caller, succeeds)
    return Errand(f"/api/v1/tenant/members/{member.id}", {"json": {"role": "admin"}}, done=done)


@_errand("DELETE /api/v1/tenant/members/{member_id}")
async def _remove(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"/api/v1/tenant/members/{(await member_for(cast, caller, succeeds)).id}")


async def member_for(cast: Cast, caller: Caller, succeeds: bool) -> Account:
    """A member of the caller's tenant, or of the premium caller's; for that one's member, the owner."""
    if succeeds:
        (guest,) = await cast.seeded("free")  # another each time: nobody is invited often
        await cast.join(caller.who, guest)
        return guest
    return cast.premium if caller.column == "member" else cast.member


@_errand("POST /api/v1/tenant/invitations")
async def _invite(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand("/api/v1/tenant/invitations", {"json": {"email": f"{new_id().hex}@example.com"}})


@_errand("DELETE /api/v1/tenant/invitations/{invitation_id}")
async def _withdraw(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    invitation_id = await cast.invite(caller.who, f"{new_id().hex}@example.com") if succeeds else cast.invitation_id
    return Errand(f"/api/v1/tenant/invitations/{invitation_id}")


@_errand("POST /api/v1/tenant/invitations/accept")
async def _accept(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    """Whoever accepts leaves their tenant, so somebody like them does."""
    path = "/api/v1/tenant/invitations/accept"
    if not succeeds:
        return Errand(path, {"json": {"token": await cast.token_for(whose(cast, caller))}})
    somebody = await cast.understudy(caller)
    await cast.invite(cast.spare, somebody.email)
    return Errand(path, {"json": {"token": await cast.mailed(somebody.email)}}, by=replace(caller, who=somebody))


# ----- the platform


@_errand("PATCH /api/v1/admin/users/{user_id}")
async def _change_user(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"/api/v1/admin/users/{cast.spare.id}", {"json": {"tier": "pro"}})


@_errand("DELETE /api/v1/admin/users/{user_id}/sessions")
async def _end_sessions(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    async def done(_: dict[str, Any]) -> None:
        cast.spare.token = ""

    return Errand(f"/api/v1/admin/users/{cast.spare.id}/sessions", done=done)


@_errand("POST /api/v1/admin/users/{user_id}/unlock")
async def _unlock(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"/api/v1/admin/users/{cast.spare.id}/unlock")


@_errand("POST /api/v1/admin/tenants")
async def _found(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    owner = (await cast.seeded("free"))[0] if succeeds else cast.guest
    return Errand("/api/v1/admin/tenants", {"json": {"name": "Engines", "owner_id": str(owner.id)}})


@_errand("GET /api/v1/admin/tenants/{tenant_id}")
async def _tenant(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"/api/v1/admin/tenants/{cast.spare.tenant_id}")


@_errand("PATCH /api/v1/admin/tenants/{tenant_id}")
async def _change_tenant(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"/api/v1/admin/tenants/{cast.spare.tenant_id}", {"json": {"tier": "pro"}})


@_errand("DELETE /api/v1/admin/api-keys/{key_id}")
async def _delete_anybodys_key(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    key_id = await cast.new_key(cast.spare) if succeeds else cast.key_id
    return Errand(f"/api/v1/admin/api-keys/{key_id}")


@_errand("GET /api/v1/admin/audit/export")
async def _export(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"/api/v1/admin/audit/export?user_id={cast.spare.id}")


PLANS = "/api/v1/admin/plans"
OVERRIDES = "/api/v1/admin/limits/tenants"
OVERRIDE = {"limits": {"concurrency": 9}, "reason": "the matrix"}


async def newest_plans(cast: Cast) -> dict[str, Any]:
    """What is in force, which stays so: the same text is published again."""
    newest: dict[str, Any] = (await cast.done("GET", PLANS, cast.admin.key)).json()["newest"]
    return {"text": newest["text"], "replaces": newest["version"]}


@_errand("POST /api/v1/admin/plans/validate")
async def _validate(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"{PLANS}/validate", {"json": {"text": (await newest_plans(cast))["text"]}})


@_errand("PUT /api/v1/admin/plans")
async def _publish(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(PLANS, {"json": await newest_plans(cast)})


@_errand("POST /api/v1/admin/plans/rollback")
async def _roll_back(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    newest = await newest_plans(cast)
    if succeeds:
        await cast.done("PUT", PLANS, cast.admin.key, json=newest)
        newest["replaces"] += 1
    return Errand(f"{PLANS}/rollback", {"json": {"version": newest["replaces"] - 1, "replaces": newest["replaces"]}})


@_errand("GET /api/v1/admin/limits/tenants/{tenant_id}")
async def _override(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(await override_for(cast, succeeds))


@_errand("DELETE /api/v1/admin/limits/tenants/{tenant_id}")
async def _remove_override(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(await override_for(cast, succeeds), {"params": {"reason": "over"}})


async def override_for(cast: Cast, succeeds: bool) -> str:
    path = f"{OVERRIDES}/{new_id()}"
    if succeeds:
        await cast.done("PUT", path, cast.admin.key, json=OVERRIDE)
    return path


@_errand("PUT /api/v1/admin/limits/tenants/{tenant_id}")
async def _set_override(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"{OVERRIDES}/{new_id()}", {"json": OVERRIDE})


@_errand("GET /api/v1/admin/limits/usage")
async def _usage(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    query = {"user_id": str(cast.spare.id), "tenant_id": str(cast.spare.tenant_id), "tier": "pro"}
    return Errand("/api/v1/admin/limits/usage", {"params": query})


@_errand("POST /api/v1/admin/limits/{kind}/{name}/reset")
async def _set_back(cast: Cast, caller: Caller, succeeds: bool) -> Errand:
    return Errand(f"/api/v1/admin/limits/users/{cast.spare.id}/reset", {"json": {"reason": "the matrix"}})
