"""POST /check: operators' own services behind the same limits."""

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field, model_validator

from ratelimit_service.api.dependencies import Domain
from ratelimit_service.api.schemas import Body
from ratelimit_service.domain.deciding import OwnPolicy
from shared.errors import Forbidden, ScopeRequired
from shared.guard import Caller
from shared.limits.fields import ratelimit_fields
from shared.limits.limiter import Decision
from shared.limits.plans import SECONDS_A_DAY
from shared.principal import Principal
from shared.scopes import ADMIN

__all__ = ["router"]


async def _may_ask(caller: Caller) -> None:
    """A service, or an administrator's credential: who asks spends of others' quotas."""
    principal = caller.principal
    if principal.kind == "service":
        return
    if "admin" not in principal.roles:
        raise Forbidden("the role admin is required")
    if ADMIN not in principal.scopes:
        raise ScopeRequired(ADMIN)


router = APIRouter(prefix="/api/v1/check", tags=["limits"], dependencies=[Depends(_may_ask)])


class CheckPolicy(Body):
    """`burst`: at most `quota` in a moment and `quota` more in each `window_s`; `day`: `quota` from midnight to midnight UTC."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$", examples=["exports"])]
    kind: Literal["burst", "day"] = "burst"
    quota: Annotated[int, Field(gt=0, le=1_000_000)]
    window_s: Annotated[int, Field(gt=0, le=SECONDS_A_DAY)] = 1

    def own(self) -> OwnPolicy:
        return OwnPolicy(self.name, self.kind, self.quota, self.window_s)


class CheckBody(Body):
    """Either `user_id`, with the `tier` and, where that is a tenant's, how it is used (`tenant_id`, `quota`, `members`): the
    counters are those that the gateways spend from. Or a `subject` of your own, under what a `tier` allows or under `policies`.

    `cost` is what the day is debited, a burst of a tier at most one; 0 only looks.
    """

    user_id: UUID | None = None
    tenant_id: UUID | None = None
    subject: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._~:@/-]{1,128}$", examples=["reports/nightly"])] = None
    tier: Annotated[str | None, Field(max_length=64, examples=["pro"])] = None
    quota: Literal["shared", "split"] | None = None
    members: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    policies: Annotated[list[CheckPolicy], Field(max_length=8, default_factory=list)]
    cost: Annotated[int, Field(ge=0, le=1_000_000)] = 1

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if (self.user_id is None) == (self.subject is None):
            raise ValueError("either user_id or subject")
        if self.user_id is not None and (self.policies or self.tier is None):
            raise ValueError("a user has the policies of a tier: name it")
        if self.subject is not None and bool(self.policies) == (self.tier is not None):
            raise ValueError("a subject has either a tier or policies")
        if self.quota == "shared" and self.tenant_id is None:
            raise ValueError("a shared quota is a tenant's: name it")
        if len({policy.name for policy in self.policies}) < len(self.policies):
            raise ValueError("two policies have the same name")
        return self

    def principal(self) -> Principal:
        return Principal(
            kind="user",
            user_id=str(self.user_id),
            tenant_id=str(self.tenant_id or ""),
            tier=self.tier or "",
            quota=self.quota,
            members=self.members,
        )


class CheckedPolicy(BaseModel):
    """`reset_s`: seconds until the quota is whole again; `retry_s`: until a violated one can admit this cost."""

    name: str
    quota: int
    window_s: int
    remaining: int
    violated: bool
    reset_s: int
    retry_s: int


class CheckAnswer(BaseModel):
    """`fields` are for your own answer: those of the IETF draft, and `Retry-After` where it was not admitted."""

    admitted: bool
    violated: list[str]
    retry_after_s: int
    policies: list[CheckedPolicy]
    fields: dict[str, str]

    @classmethod
    def of(cls, decision: Decision) -> Self:
        told = (value.decode("ascii") for _, value in ratelimit_fields(decision))
        fields = dict(zip(("RateLimit-Policy", "RateLimit"), told, strict=False))  # neither where nothing is limited
        later = {} if decision.admitted else {"Retry-After": str(max(1, decision.retry_after_s))}
        return cls(
            admitted=decision.admitted,
            violated=list(decision.violated),
            retry_after_s=decision.retry_after_s,
            policies=[
                CheckedPolicy(
                    name=outcome.policy.name,
                    quota=outcome.policy.quota,
                    window_s=outcome.policy.window_s,
                    remaining=outcome.remaining,
                    violated=outcome.violated,
                    reset_s=outcome.reset_s,
                    retry_s=outcome.retry_s,
                )
                for outcome in decision.outcomes
            ],
            fields={**fields, **later},
        )


@router.post("", summary="Whether a request of your own service is within the limits, and spend it")
async def check(body: CheckBody, domain: Domain) -> CheckAnswer:
    """All policies in one decision: all of them admit, or nothing is spent. The answer is a 200 either way."""
    if body.subject is None:
        decision = await domain.deciding.user(body.principal(), body.cost)
    elif body.tier is not None:
        decision = await domain.deciding.tier(body.subject, body.tier, body.cost)
    else:
        decision = await domain.deciding.own(body.subject, [policy.own() for policy in body.policies], body.cost)
    return CheckAnswer.of(decision)
