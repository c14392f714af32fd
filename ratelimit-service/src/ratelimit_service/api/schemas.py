"""Bodies and answers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ratelimit_service.domain.model import Change, Noun, OverrideState, PlanVersion, Source, TenantOverride
from ratelimit_service.domain.overriding import document_of
from ratelimit_service.domain.publishing import Trial
from shared.display import displayable
from shared.limits.plans import MOST_CHARACTERS, EntitlementChanges, Limits, Override

__all__ = [
    "ChangeAnswer",
    "ChangePage",
    "GivenReason",
    "OverrideAnswer",
    "OverrideBody",
    "OverridePage",
    "PlanText",
    "PlansAnswer",
    "PlansPublication",
    "PlansRollback",
    "Reason",
    "ResetAnswer",
    "ResetBody",
    "TrialAnswer",
    "VersionAnswer",
    "VersionPage",
    "VersionText",
]

Reason = Annotated[str, Field(max_length=500, examples=["a trial month"]), AfterValidator(displayable)]
GivenReason = Annotated[str, Field(min_length=1, max_length=500, examples=["a trial month"]), AfterValidator(displayable)]
Number = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]


class Body(BaseModel):
    # unknown fields are refused, and nothing that was sent is repeated in an error
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class PlanText(Body):
    text: Annotated[str, Field(max_length=MOST_CHARACTERS, description="a plan file, YAML")]


class PlansPublication(PlanText):
    """`replaces` is the version that this text was made from: with another one in force nothing is published (409)."""

    replaces: Number
    reason: Reason = ""


class PlansRollback(Body):
    """`version` is the one to have again, `replaces` the one that is in force."""

    version: Annotated[int, Field(ge=1, le=(1 << 63) - 1)]
    replaces: Number
    reason: Reason = ""


class TrialAnswer(BaseModel):
    """What the text would change, by the place of each rule; `rules` is a digest of what it says, without its comments."""

    model_config = ConfigDict(from_attributes=True)
    rules: str
    before: dict[str, Any]
    after: dict[str, Any]

    @classmethod
    def of(cls, trial: Trial) -> Self:
        return cls.model_validate(trial)


class VersionAnswer(BaseModel):
    """`source`: shipped with the release, the operator's file, published over the API, or restored (then `restores` is an older
    version). `before` and `after` are the rules that differ from the version before, by their places; before is null for the
    first."""

    version: int
    source: Source
    restores: int | None
    rules: str
    created_at: datetime
    actor: str
    request_id: str
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @classmethod
    def of(cls, version: PlanVersion) -> Self:
        return cls(**_version(version))


class VersionText(VersionAnswer):
    text: str

    @classmethod
    def of(cls, version: PlanVersion) -> Self:
        return cls(**_version(version), text=version.text)


class VersionPage(BaseModel):
    data: list[VersionAnswer]
    next_cursor: int | None

    @classmethod
    def of(cls, rows: Sequence[PlanVersion], limit: int) -> Self:
        page = rows[:limit]
        return cls(data=[VersionAnswer.of(row) for row in page], next_cursor=page[-1].number if len(rows) > limit else None)


class PlansAnswer(BaseModel):
    """`rules` are those that are enforced now. `newest` is the newest version, null while history cannot be read; within a second
    of a change it is what is enforced (`in_force`)."""

    rules: dict[str, Any]
    newest: VersionText | None
    in_force: bool | None


class OverrideBody(Body):
    """What is given replaces what the tenant's tier says; null is unlimited, what is absent stays."""

    starts_at: Annotated[AwareDatetime | None, Field(description="null: at once")] = None
    ends_at: Annotated[AwareDatetime | None, Field(description="null: for good")] = None
    limits: Limits = Limits()
    entitlements: EntitlementChanges = EntitlementChanges()
    reason: GivenReason

    @model_validator(mode="after")
    def _is_fit(self) -> Self:
        try:
            self.override()
        except ValidationError as error:  # its words are of the rule that stands in `Override` alone
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self

    def override(self) -> Override:
        """Only with what was given."""
        dates = {name: getattr(self, name) for name in ("starts_at", "ends_at") if getattr(self, name) is not None}
        rules = {name: getattr(self, name) for name in ("limits", "entitlements") if getattr(self, name).model_fields_set}
        return Override(**dates, **rules)


class OverrideAnswer(BaseModel):
    """Of `limits` and `entitlements` only what is another than the tier's."""

    tenant_id: UUID
    state: OverrideState
    starts_at: datetime | None
    ends_at: datetime | None
    limits: dict[str, Any]
    entitlements: dict[str, Any]
    reason: str
    actor: str
    changed_at: datetime

    @classmethod
    def of(cls, one: TenantOverride, now: datetime) -> Self:
        said = document_of(one.override)
        return cls(
            tenant_id=one.tenant_id,
            state=one.state(now),
            starts_at=one.override.starts_at,
            ends_at=one.override.ends_at,
            limits=said.get("limits", {}),
            entitlements=said.get("entitlements", {}),
            reason=one.reason,
            actor=one.actor,
            changed_at=one.changed_at,
        )


class OverridePage(BaseModel):
    data: list[OverrideAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, rows: Sequence[TenantOverride], limit: int, now: datetime) -> Self:
        page = rows[:limit]
        shown = [OverrideAnswer.of(row, now) for row in page]
        return cls(data=shown, next_cursor=page[-1].tenant_id if len(rows) > limit else None)


class ResetBody(Body):
    reason: GivenReason


class ResetAnswer(BaseModel):
    """`before` is what was used of each day's quota, by its counter."""

    before: dict[str, int]


class ChangeAnswer(BaseModel):
    """`before` and `after` are null where there was nothing, and hold what differs where the thing is large."""

    model_config = ConfigDict(from_attributes=True)
    seq: int
    at: datetime
    noun: Noun
    event: str
    subject: str
    actor: str
    request_id: str
    client_ip: str | None
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ChangePage(BaseModel):
    data: list[ChangeAnswer]
    next_cursor: int | None

    @classmethod
    def of(cls, rows: Sequence[Change], limit: int) -> Self:
        page = rows[:limit]
        shown = [ChangeAnswer.model_validate(row) for row in page]
        return cls(data=shown, next_cursor=page[-1].seq if len(rows) > limit else None)


def _version(version: PlanVersion) -> dict[str, Any]:
    change = version.change
    return {
        "version": version.number,
        "source": version.source,
        "restores": version.restores,
        "rules": version.rules,
        "created_at": change.at,
        "actor": change.actor,
        "request_id": change.request_id,
        "reason": change.reason,
        "before": change.before,
        "after": change.after,
    }
