"""Users' own indicators as they are sent and answered."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, field_validator, model_validator

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.custom import NAME_PATTERN, CustomIndicator, Draft, OwnParameter, Version
from indicator_service.domain.expressions.syntax import MOST_CHARACTERS
from indicator_service.domain.own import RESERVED_NAMES
from indicator_service.domain.request import Query

__all__ = ["CustomAnswer", "CustomBody", "CustomPage", "CustomVersions", "NewCustomBody"]

_MOST_PARAMETERS = 16
_WIDEST = {"int": 2**31 - 1, "float": 3e37}
"""As TA-Lib has it: the bounds of a parameter without any go so far to either side."""

_TAKEN = RESERVED_NAMES - FUNCTIONS_BY_NAME.keys() | Query.model_fields.keys() | {"timeframe", "series_type", "as_of"}
"""Names that a parameter cannot have, for a request or an expression means something else by them."""

_Number = StrictInt | StrictFloat


class ParameterBody(BaseModel):
    """Bounds are inclusive."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    name: Annotated[str, Field(pattern=NAME_PATTERN.replace("{1,39}", "{0,39}"), examples=["length"])]
    type: Literal["int", "float"]
    default: _Number
    minimum: _Number | None = None
    maximum: _Number | None = None

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in _TAKEN:
            raise ValueError("the name has another meaning in a request or an expression")
        return name

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("default", "minimum", "maximum"):
            value = getattr(self, name)
            if self.type == "int" and isinstance(value, float):
                raise ValueError(f"{name} is no int")
            if value is not None and abs(value) > _WIDEST[self.type]:
                raise ValueError(f"{name} is too large")
        parameter = self.parameter()
        if not parameter.minimum <= parameter.default <= parameter.maximum:
            raise ValueError("default is not from minimum to maximum")
        return self

    def parameter(self) -> OwnParameter:
        widest = _WIDEST[self.type]
        lowest, highest = (-widest if self.minimum is None else self.minimum), (widest if self.maximum is None else self.maximum)
        return OwnParameter(self.name, self.type, *map(self._number, (self.default, lowest, highest)))

    def _number(self, value: float) -> int | float:
        return value if self.type == "int" else float(value)


class CustomBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    description: Annotated[str, Field(max_length=500)] = ""
    expression: Annotated[str, Field(max_length=MOST_CHARACTERS, examples=["where(close > sma(close, length), rsi(14), 50)"])]
    parameters: Annotated[
        list[ParameterBody],
        Field(
            max_length=_MOST_PARAMETERS,
            description="constants that the expression calls by name, and whoever uses the indicator may choose",
            examples=[[{"name": "length", "type": "int", "default": 200, "minimum": 2, "maximum": 500}]],
        ),
    ] = Field(default_factory=list)

    @field_validator("description", "expression")
    @classmethod
    def _can_be_stored(cls, text: str) -> str:
        # Postgres has no NUL in a text; half of a surrogate pair is no character at all
        if "\0" in text or (not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text)):
            raise ValueError("not a text")
        return text

    @field_validator("parameters")
    @classmethod
    def _have_names_of_their_own(cls, parameters: list[ParameterBody]) -> list[ParameterBody]:
        names = [parameter.name for parameter in parameters]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is given twice")
        return parameters

    def draft(self) -> Draft:
        return Draft(self.description, self.expression, tuple(parameter.parameter() for parameter in self.parameters))


class NewCustomBody(CustomBody):
    name: Annotated[str, Field(pattern=NAME_PATTERN, examples=["trend"], description="none of the catalogue's")]

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in RESERVED_NAMES:
            raise ValueError("a name of the catalogue or of the language")
        return name


class CustomParameter(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    name: str
    type: Literal["int", "float"]
    default: int | float
    minimum: int | float
    maximum: int | float


class CustomAnswer(BaseModel):
    """`version` is the one that is shown, `created_at` when the indicator was saved first, `updated_at` when it last changed."""

    name: str
    description: str
    version: int
    expression: str
    parameters: list[CustomParameter]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, custom: CustomIndicator) -> Self:
        return cls.model_validate(_shown(custom))


class KeptVersion(BaseModel):
    version: int
    created_at: datetime


class CustomVersions(CustomAnswer):
    """`versions` are those that are kept, newest first."""

    versions: list[KeptVersion]

    @classmethod
    def of(cls, custom: CustomIndicator, versions: Sequence[Version] = ()) -> Self:
        kept = [{"version": version.number, "created_at": version.created_at} for version in versions]
        return cls.model_validate({**_shown(custom), "versions": kept})


class CustomPage(BaseModel):
    data: list[CustomAnswer]
    next_cursor: str | None

    @classmethod
    def of(cls, found: Sequence[CustomIndicator], limit: int) -> Self:
        """`found` are up to one more than `limit`: whether there is a next page."""
        shown = found[:limit]
        return cls(data=[CustomAnswer.of(custom) for custom in shown], next_cursor=shown[-1].name if len(found) > limit else None)


def _shown(custom: CustomIndicator) -> dict[str, object]:
    version = custom.version
    return {
        "name": custom.name,
        "description": custom.description,
        "version": version.number,
        "expression": version.expression,
        "parameters": list(version.parameters),
        "created_at": custom.created_at,
        "updated_at": custom.updated_at,
    }
