"""A caller's own indicators, where a name is none of the catalogue's.

They are asked for then alone, and each time: without Postgres all else is answered, and a change counts at once on every
instance.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME, find
from indicator_service.domain.custom import NAME_PATTERN, CustomIndicator
from indicator_service.domain.errors import BrokenCustomIndicator, InvalidExpression, UnknownIndicator
from indicator_service.domain.indicator import Functions, Indicator
from indicator_service.domain.own import OwnFunctions, indicator_of
from indicator_service.domain.saving import CustomIndicators
from shared.errors import Unauthenticated, Unavailable
from shared.principal import Envelope

__all__ = ["OwnOfBatch", "found", "own_catalogue", "owner_of", "read_with_own"]

_Read = TypeVar("_Read")


def owner_of(caller: Envelope) -> UUID:
    """Unauthenticated for a request that no user stands behind."""
    if caller.principal.kind != "user":
        raise Unauthenticated("send a key or an access token")
    return UUID(caller.principal.user_id)


async def found(custom: CustomIndicators, caller: Envelope, name: str) -> Indicator:
    """Of the catalogue, or else the caller's own of that name, in any case of its letters; UnknownIndicator."""
    try:
        return find(name)
    except UnknownIndicator:
        if not _may_be_own(caller, name):
            raise
        own = await custom.named(owner_of(caller), [name.lower()])
        if not own:
            raise
    return await asyncio.to_thread(indicator_of, own[0])


async def read_with_own(
    custom: CustomIndicators, caller: Envelope, read: Callable[[Functions], Awaitable[_Read]]
) -> tuple[_Read, bool]:
    """What was read with the functions of the catalogue; with the caller's own as well where a name is not among those, and the
    plan has such. And whether it was: an answer that rests on them is for this caller alone."""
    try:
        return await read(FUNCTIONS_BY_NAME), False
    except InvalidExpression as refused:
        if not _may_call_own(caller, refused):
            raise
    return await read(OwnFunctions(await custom.page(owner_of(caller)))), True


class OwnOfBatch:
    """What `found` and `read_with_own` are to one request, for the items of a batch, which a thread reads. The caller's own are
    asked for once, by the first item that needs them; a store that is away fails those that do."""

    def __init__(self, custom: CustomIndicators, caller: Envelope) -> None:
        self._custom = custom
        self._caller = caller
        self._loop = asyncio.get_running_loop()

    @property
    def were_asked(self) -> bool:
        """Whether what was read may rest on the caller's own."""
        return "_answer" in vars(self)

    def found(self, name: str) -> Indicator:
        try:
            return find(name)
        except UnknownIndicator:
            if not _may_be_own(self._caller, name) or name.lower() not in (own := self._functions()):
                raise
        return own[name.lower()]

    def read_with_own(self, read: Callable[[Functions], _Read]) -> _Read:
        try:
            return read(FUNCTIONS_BY_NAME)
        except InvalidExpression as refused:
            if not _may_call_own(self._caller, refused):
                raise
        return read(self._functions())

    def _functions(self) -> OwnFunctions:
        if isinstance(self._answer, Unavailable):
            raise self._answer.with_traceback(None)  # for one item after the other
        return self._answer

    @cached_property
    def _answer(self) -> OwnFunctions | Unavailable:
        asked = asyncio.run_coroutine_threadsafe(self._custom.page(owner_of(self._caller)), self._loop)
        try:
            return OwnFunctions(asked.result())
        except Unavailable as away:
            return away


async def own_catalogue(custom: CustomIndicators, caller: Envelope) -> Sequence[Indicator]:
    """What the caller's plan lets them use of their own, by name; what cannot be computed any more is left out."""
    if not _may_have_own(caller):
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


def _may_be_own(caller: Envelope, name: str) -> bool:
    """Whatever the plan: of one that has them no more, the user is told what is lacking."""
    return caller.principal.kind == "user" and re.match(NAME_PATTERN, name.lower()) is not None


def _may_call_own(caller: Envelope, refused: InvalidExpression) -> bool:
    return refused.mistake.type == "expression_name" and _may_have_own(caller)


def _may_have_own(caller: Envelope) -> bool:
    entitlements = caller.entitlements
    return caller.principal.kind == "user" and entitlements is not None and "custom_indicators" in entitlements.features
