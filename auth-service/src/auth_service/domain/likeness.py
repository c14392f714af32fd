"""Nobody's hashes are kept like the users', whose parameters change when the settings do and they log in again."""

import asyncio

from auth_service.domain.ports import Database, Hasher
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["keep_nobody_alike"]

EVERY_S = 600.0
_AGAIN_S = 5.0
_log = get_logger("likeness")


async def keep_nobody_alike(database: Database, hasher: Hasher) -> None:
    while True:
        try:
            await hasher.learn(await database.lookups.parameter_sets())
        except Unavailable as error:
            _log.info("hashes are not looked at now", why=error.detail)
            await asyncio.sleep(_AGAIN_S)
        else:
            await asyncio.sleep(EVERY_S)
