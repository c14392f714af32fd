"""Users' own indicators: a name for an expression with parameters, each change of it a version."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

__all__ = ["NAME_PATTERN", "CustomIndicator", "Draft", "OwnParameter", "Version"]

NAME_PATTERN = "^[a-z][a-z0-9_]{1,39}$"


@dataclass(frozen=True, slots=True)
class OwnParameter:
    """Bounds are inclusive."""

    name: str
    type: Literal["int", "float"]
    default: int | float
    minimum: int | float
    maximum: int | float


@dataclass(frozen=True, slots=True)
class Draft:
    """What a user says of an indicator beside its name."""

    description: str
    expression: str
    parameters: tuple[OwnParameter, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """Never changed once it is there. `number` counts from 1."""

    number: int
    expression: str
    parameters: tuple[OwnParameter, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CustomIndicator:
    """With one of its versions, mostly the newest. `owner` is a user's id: whoever moves to another tenant keeps their own."""

    id: UUID
    owner: UUID
    name: str
    description: str
    created_at: datetime
    updated_at: datetime
    version: Version
