"""Nobody's hashes are kept like the users', whose parameters change when the settings do and they log in again."""

from auth_service.domain.ports import Database, Hasher

__all__ = ["keep_nobody_alike"]


async def keep_nobody_alike(database: Database, hasher: Hasher) -> None:
    """Unavailable."""
    await hasher.learn(await database.lookups.parameter_sets())
