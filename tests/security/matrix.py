"""Who is answered what, on every route: the contract as two tables.

`_CLASSES` says what each caller gets of a class of routes:

    ok              the success that the public document names for the operation
    401             credentials are missing or not valid (any more)
    scope           403: this credential lacks the scope that the route takes, which `required_scope` names
    pro, premium    403: the caller's tier does not have it; `required_tier` is the first that does
    session         403: an API key may not do it, whatever its scopes
    role            403: the caller's role in the tenant may not
    404             there is no such thing, for this caller
    a/b             a for who comes with an API key, b for who comes with an access token

and its columns who calls:

    nobody          no credentials
    ended           a disabled user, an expired, and a revoked credential: of each a key and a token
    unscoped        a premium user's key with all scopes but the one of the route (of `any`: with one alone); for the scope
                    admin, an administrator's
    free, pro       users of these tiers, each the owner of a personal tenant
    premium         the owner of an organisation, which has this tier
    member          a member of that organisation, whose own tier is free: the tenant's counts
    other           the owner of another tenant, of the tier premium; asks for what is the premium caller's
    admin           an administrator of the platform, of the tier enterprise

`_ROUTES` says of which class each operation of the public document is, and the scope it takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BESIDE", "ROWS", "SINGLE_INDICATORS", "Row", "answer_for", "indicator_row"]

_CLASSES = """
class         nobody  ended  unscoped  free             pro              premium     member      other        admin

open          ok      ok     ok        ok               ok               ok          ok          ok           ok
absent        404     404    404       404              404              404         404         404          404

own           401     401    ok        ok               ok               ok          ok          ok           ok
account       401     401    scope     ok               ok               ok          ok          ok           ok
object        401     401    scope     ok               ok               ok          ok          404          ok
session       401     401    scope     session/ok       session/ok       session/ok  session/ok  session/ok   session/ok
invited       401     401    scope     session/ok       session/ok       session/ok  session/ok  session/404  session/ok
manager       401     401    scope     ok               ok               ok          role        ok           ok
managed       401     401    scope     ok               ok               ok          role        404          ok
inviting      401     401    scope     session/ok       session/ok       session/ok  session/role  session/ok   session/ok
appointing    401     401    scope     session/ok       session/ok       session/ok  session/role  session/404  session/ok

data          401     401    scope     ok               ok               ok          ok          ok           ok
data:pro      401     401    scope     pro              ok               ok          ok          ok           ok
data:premium  401     401    scope     premium          premium          ok          ok          ok           ok
own:premium   401     401    scope     premium          premium          ok          ok          404          ok

platform      401     401    scope     scope            scope            scope       scope       scope        ok
"""

_ROUTES = """
GET     /.well-known/jwks.json                       open          -
POST    /api/v1/auth/register                        open          -
POST    /api/v1/auth/login                           open          -
POST    /api/v1/auth/refresh                         open          -
POST    /api/v1/auth/logout                          open          -
POST    /api/v1/auth/password/forgot                 open          -
POST    /api/v1/auth/password/reset                  open          -

GET     /api/v1/auth/me                              own           any
PATCH   /api/v1/auth/me                              session       keys:manage
POST    /api/v1/auth/password                        session       keys:manage
POST    /api/v1/auth/logout-all                      account       keys:manage
GET     /api/v1/auth/api-keys                        account       keys:manage
POST    /api/v1/auth/api-keys                        account       keys:manage
GET     /api/v1/auth/api-keys/{key_id}               object        keys:manage
DELETE  /api/v1/auth/api-keys/{key_id}               object        keys:manage
POST    /api/v1/auth/api-keys/{key_id}/rotate        object        keys:manage
GET     /api/v1/usage                                own           any
GET     /api/v1/usage/history                        own           any

GET     /api/v1/tenant                               account       keys:manage
PATCH   /api/v1/tenant                               manager       keys:manage
GET     /api/v1/tenant/members                       account       keys:manage
PATCH   /api/v1/tenant/members/{member_id}           appointing      keys:manage
DELETE  /api/v1/tenant/members/{member_id}           managed       keys:manage
GET     /api/v1/tenant/invitations                   manager       keys:manage
POST    /api/v1/tenant/invitations                   inviting      keys:manage
DELETE  /api/v1/tenant/invitations/{invitation_id}   managed       keys:manage
POST    /api/v1/tenant/invitations/accept            invited       keys:manage

GET     /api/v1/symbols                              data          bars:read
GET     /api/v1/symbols/{symbol}                     data          bars:read
GET     /api/v1/bars/{symbol}                        data          bars:read

GET     /api/v1/indicators                           account       indicators:read
POST    /api/v1/indicators/{name}                    data          indicators:read
POST    /api/v1/indicators/batch                     data          batch
POST    /api/v1/expressions/validate                 account       indicators:read
POST    /api/v1/expressions/evaluate                 data:premium  indicators:read
GET     /api/v1/patterns/{symbol}                    data:premium  indicators:read
GET     /api/v1/patterns                             data:premium  screener
POST    /api/v1/screener                             data:premium  screener

GET     /api/v1/indicators/custom                    account       indicators:read
POST    /api/v1/indicators/custom                    data:premium  indicators:read
GET     /api/v1/indicators/custom/{name}             object        indicators:read
PUT     /api/v1/indicators/custom/{name}             own:premium   indicators:read
DELETE  /api/v1/indicators/custom/{name}             object        indicators:read

GET     /api/v1/admin/users                          platform      admin
PATCH   /api/v1/admin/users/{user_id}                platform      admin
DELETE  /api/v1/admin/users/{user_id}/sessions       platform      admin
POST    /api/v1/admin/users/{user_id}/unlock         platform      admin
GET     /api/v1/admin/tenants                        platform      admin
POST    /api/v1/admin/tenants                        platform      admin
GET     /api/v1/admin/tenants/{tenant_id}            platform      admin
PATCH   /api/v1/admin/tenants/{tenant_id}            platform      admin
GET     /api/v1/admin/api-keys                       platform      admin
DELETE  /api/v1/admin/api-keys/{key_id}              platform      admin
GET     /api/v1/admin/audit                          platform      admin
GET     /api/v1/admin/audit/export                   platform      admin
GET     /api/v1/admin/audit/head                     platform      admin
GET     /api/v1/admin/plans                          platform      admin
PUT     /api/v1/admin/plans                          platform      admin
POST    /api/v1/admin/plans/validate                 platform      admin
GET     /api/v1/admin/plans/history                  platform      admin
GET     /api/v1/admin/plans/history/{version}        platform      admin
POST    /api/v1/admin/plans/rollback                 platform      admin
GET     /api/v1/admin/limits/tenants                 platform      admin
GET     /api/v1/admin/limits/tenants/{tenant_id}     platform      admin
PUT     /api/v1/admin/limits/tenants/{tenant_id}     platform      admin
DELETE  /api/v1/admin/limits/tenants/{tenant_id}     platform      admin
GET     /api/v1/admin/limits/changes                 platform      admin
GET     /api/v1/admin/limits/usage                   platform      admin
POST    /api/v1/admin/limits/{kind}/{name}/reset     platform      admin
POST    /api/v1/check                                platform      admin
GET     /api/v1/analytics/errors                     platform      admin
GET     /api/v1/analytics/growth                     platform      admin
GET     /api/v1/analytics/latency                    platform      admin
GET     /api/v1/analytics/overview                   platform      admin
GET     /api/v1/analytics/top                        platform      admin
POST    /api/v1/data/import                          platform      admin
"""

SINGLE_INDICATORS = "/api/v1/indicators/"
_INDICATORS = {"sma": "data", "ema": "data", "rsi": "data:pro", "macd": "data:pro"}
"""The classes of `GET /api/v1/indicators/{one}`; all others are premium's."""

_BESIDE = """
GET     /health                                      open          -
GET     /health/live                                 open          -
GET     /health/ready                                open          -
GET     /docs                                        open          -
GET     /openapi.json                                open          -
GET     /metrics                                     absent        -
GET     /internal/v1/origins                         absent        -
POST    /internal/v1/resolve                         absent        -
POST    /internal/v1/resolve/batch                   absent        -
GET     /api/v1/nothing                              absent        -
"""


@dataclass(frozen=True)
class Row:
    """`scope` None: any credential will do, or none is asked for."""

    method: str
    path: str
    kind: str
    scope: str | None

    @property
    def operation(self) -> str:
        return f"{self.method} {self.path}"


def _read_classes(text: str) -> dict[str, dict[str, str]]:
    (_, *columns), *lines = [line.split() for line in text.splitlines() if line]
    return {kind: dict(zip(columns, cells, strict=True)) for kind, *cells in lines}


def _read_rows(text: str) -> list[Row]:
    lines = [line.split() for line in text.splitlines() if line]
    return [Row(method, path, kind, None if scope in {"-", "any"} else scope) for method, path, kind, scope in lines]


_ANSWERS: Mapping[str, Mapping[str, str]] = _read_classes(_CLASSES)
ROWS = _read_rows(_ROUTES)
"""Of the operations of the public document, but for single indicators."""
BESIDE = _read_rows(_BESIDE)
"""What the gateway answers that is no operation of the document, and what it must not answer."""


def indicator_row(name: str) -> Row:
    return Row("GET", SINGLE_INDICATORS + name, _INDICATORS.get(name, "data:premium"), "indicators:read")


def answer_for(row: Row, column: str, by: str) -> str:
    """A word of the list above; `by` is key or token, or nothing."""
    key, _, token = _ANSWERS[row.kind][column].partition("/")
    return token if token and by == "token" else key
