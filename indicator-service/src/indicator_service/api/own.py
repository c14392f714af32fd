"""A caller's own indicators, where a name is none of the catalogue's.

They are asked for then alone, and each time: without Postgres all else is answered, and a change counts at once on every
instance.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME, find
from indicator_service.domain.custom import NAME_PATTERN, CustomIndicator, Owner
from indicator_service.domain.errors import BrokenCustomIndicator, InvalidExpression, UnknownIndicator
from indicator_service.domain.indicator import Functions, Indicator
from indicator_service.domain.own import OwnFunctions, indicator_of
from indicator_service.domain.saving import CustomIndicators
from shared.errors import Unauthenticated
from shared.principal import Envelope

__all__ = ["found", "own_catalogue", "owner_of", "read_with_own"]

_Read = TypeVar("_Read")


def owner_of(caller: Envelope) -> Owner:
    """Unauthenticated for a request that no user stands behind."""
    if caller.principal.kind != "user":
        raise Unauthenticated("send a key or an access token")
    return Owner(UUID(caller.principal.tenant_id), UUID(caller.principal.user_id))


async def found(custom: CustomIndicators, caller: Envelope, name: str) -> Indicator:
    """Of the catalogue, or else the caller's own of that name, in any case of its letters; UnknownIndicator."""
    try:
        return find(name)
    except UnknownIndicator:
        if caller.principal.kind != "user" or not re.match(NAME_PATTERN, name.lower()):
            raise
        own = await custom.named(owner_of(caller), [name.lower()])
        if not own:
            raise
    return indicator_of(own[0])


async def read_with_own(
    custom: CustomIndicators, caller: Envelope, read: Callable[[Functions], Awaitable[_Read]]
) -> tuple[_Read, bool]:
    """What was read with the functions of the catalogue; with the caller's own as well where a name is not among those, and the
    plan has such. And whether it was: an answer that rests on them is for this caller alone."""
    try:
        return await read(FUNCTIONS_BY_NAME), False
    except InvalidExpression as refused:
        names_nothing = refused.mistake.type == "expression_name"
        if not names_nothing or caller.principal.kind != "user" or not _may_have_own(caller):
            raise
    return await read(OwnFunctions(await custom.page(owner_of(caller)))), True


async def own_catalogue(custom: CustomIndicators, caller: Envelope) -> Sequence[Indicator]:
    """What the caller's plan lets them use of their own, by name; what cannot be computed any more is left out."""
    if caller.principal.kind != "user" or not _may_have_own(caller):
        return []
    # on a thread: each is compiled when it is first seen
    return await asyncio.to_thread(_usable, await custom.page(owner_of(caller)))


def _usable(own: Sequence[CustomIndicator]) -> list[Indicator]:
    usable = []
    for each in own:
        try:
            usable.append(indicator_of(each))
        except BrokenCustomIndicator:
            continue
    return usable


def _may_have_own(caller: Envelope) -> bool:
    return caller.entitlements is not None and "custom_indicators" in caller.entitlements.features
