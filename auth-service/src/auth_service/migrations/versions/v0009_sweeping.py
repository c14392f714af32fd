"""What has ended is found by when it did, and removed a batch at a time."""

from alembic import op

from auth_service.adapters.isolation import definer, seen_by_functions

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# a row that somebody else has locked is left for the next time, so a sweep waits for nobody and two of them share the work
_REMOVE = """
    WITH gone AS (DELETE FROM auth.{table} WHERE ({key}) IN ({ended} LIMIT most FOR UPDATE OF o SKIP LOCKED) RETURNING 1)
    SELECT count(*) FROM gone
"""
_SESSION_END = "LEAST(s.expires_at, s.revoked_at)"
_SWEPT = {
    # before their sessions: one family may have more of them than a statement should remove
    "sweep_refresh_tokens": _REMOVE.format(
        table="refresh_token",
        key="id",
        ended=f"SELECT o.id FROM auth.session s JOIN auth.refresh_token o ON o.session_id = s.id "  # noqa: S608 - ours
        f"WHERE {_SESSION_END} <= ended_before ORDER BY {_SESSION_END}",
    ),
    "sweep_sessions": _REMOVE.format(
        table="session",
        key="id",
        # of the oldest alone, whose tokens go first: those of all that have ended would be looked for batch after batch
        ended=f"SELECT o.id FROM auth.session o WHERE o.id = ANY (ARRAY(SELECT s.id FROM auth.session s "  # noqa: S608 - ours
        f"WHERE {_SESSION_END} <= ended_before ORDER BY {_SESSION_END} LIMIT most)) "
        "AND NOT EXISTS (SELECT FROM auth.refresh_token r WHERE r.session_id = o.id)",
    ),
    "sweep_one_time_tokens": _REMOVE.format(
        table="one_time_token",
        key="id",
        ended="SELECT o.id FROM auth.one_time_token o WHERE o.expires_at <= ended_before ORDER BY o.expires_at",
    ),
    "sweep_networks": _REMOVE.format(
        table="known_network",
        key="user_id, network",
        ended="SELECT o.user_id, o.network FROM auth.known_network o WHERE o.last_at <= ended_before ORDER BY o.last_at",
    ),
}
_TABLES = ("refresh_token", "session", "one_time_token", "known_network")
_ARGUMENTS = "(ended_before timestamptz, most integer)"
_KEYS = f"ended_keys{_ARGUMENTS}"
_KEYS_BODY = """
    SELECT c.tenant_id, c.user_id, c.id FROM auth.api_key c WHERE LEAST(c.expires_at, c.revoked_at) <= ended_before
    ORDER BY LEAST(c.expires_at, c.revoked_at) LIMIT most
"""


def upgrade() -> None:
    for statement in _INDEXES:
        op.execute(statement)
    # from here on nobody reads these tables, which is why what takes long came first
    op.execute("DROP INDEX auth.session_by_expiry")
    for table in _TABLES:
        op.execute(seen_by_functions(f"auth.{table}", command="DELETE"))
        # FOR UPDATE sees what may be updated
        op.execute(seen_by_functions(f"auth.{table}", command="UPDATE"))
    for name, body in _SWEPT.items():
        for statement in definer(f"auth.{name}{_ARGUMENTS}", "bigint", body, volatility="VOLATILE"):
            op.execute(statement)
    for statement in definer(f"auth.{_KEYS}", "TABLE (tenant_id uuid, user_id uuid, id uuid)", _KEYS_BODY):
        op.execute(statement)


def downgrade() -> None:
    for signature in (*(f"{name}{_ARGUMENTS}" for name in _SWEPT), _KEYS):
        op.execute(f"DROP FUNCTION auth.{signature}")
    for table in _TABLES:
        for command in ("delete", "update"):
            op.execute(f"DROP POLICY functions_{command} ON auth.{table}")
    for statement in _INDEXES_BACK:
        op.execute(statement)


_INDEXES = (
    "ALTER INDEX auth.session_by_end RENAME TO session_by_expiry",
    "CREATE INDEX session_by_end ON auth.session (LEAST(expires_at, revoked_at))",
    """
    CREATE INDEX api_key_by_end ON auth.api_key (LEAST(expires_at, revoked_at))
        WHERE LEAST(expires_at, revoked_at) IS NOT NULL
    """,
    "CREATE INDEX one_time_token_by_end ON auth.one_time_token (expires_at)",
    "CREATE INDEX known_network_by_age ON auth.known_network (last_at)",
)
_INDEXES_BACK = (
    "DROP INDEX auth.session_by_end",
    "CREATE INDEX session_by_end ON auth.session (expires_at)",
    "DROP INDEX auth.api_key_by_end",
    "DROP INDEX auth.one_time_token_by_end",
    "DROP INDEX auth.known_network_by_age",
)
