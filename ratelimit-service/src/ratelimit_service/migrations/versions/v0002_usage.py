"""Requests as they were answered: a log, what they add up to, and partitions that are made and dropped by a function."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "ratelimit"
_ID = "uuid NOT NULL"
_TEXT = "text NOT NULL"
_COUNT = "bigint NOT NULL"
_USE = ("requests", "units", "bytes_out", "hits", "latency_us")
_TRAFFIC = ("requests", "units", "bytes_out", "latency_us")
_DEMAND = ("requests", "units", "failed")
GRAINS = ("minute", "hour", "day")
PARTITIONED = (
    "request_log",
    "usage_inbox",
    "usage_units",
    *(f"{table}_{grain}" for table in ("usage", "traffic", "demand") for grain in GRAINS),
)


def upgrade() -> None:
    for name, by, columns, key in _tables():
        op.execute(
            f"CREATE TABLE {SCHEMA}.{name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())}, "
            f"CONSTRAINT {name}_pkey PRIMARY KEY ({key})) PARTITION BY RANGE ({by})"
        )
    op.execute(f"CREATE INDEX request_log_failed ON {SCHEMA}.request_log (day, id) WHERE status >= 400")
    op.execute(
        f"""
        CREATE TABLE {SCHEMA}.caller_seen (
            tenant_id uuid, user_id uuid, first_day date NOT NULL, last_day date NOT NULL,
            CONSTRAINT caller_seen_pkey PRIMARY KEY (tenant_id, user_id)
        )
        """
    )
    op.execute(f"CREATE INDEX caller_seen_first ON {SCHEMA}.caller_seen (first_day)")
    for statement in _functions():
        op.execute(statement)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {SCHEMA}.make_partition(text, date, date), {SCHEMA}.drop_partition(text, date)")
    for table in (*PARTITIONED, "caller_seen"):
        op.execute(f"DROP TABLE {SCHEMA}.{table}")


def _tables() -> list[tuple[str, str, dict[str, str], str]]:
    """Name, what it is partitioned by, columns, and the key."""
    day, whose = {"day": "date NOT NULL"}, dict.fromkeys(("tenant_id", "user_id", "key_id"), _ID)
    at = {"at": "timestamptz NOT NULL"}
    log = {
        "id": _ID,
        **at,
        **whose,
        **dict.fromkeys(("session", "tier", "subject", "method", "endpoint", "indicator", "symbol"), _TEXT),
        "status": "smallint NOT NULL",
        "cache": _TEXT,
        "latency_us": "integer NOT NULL",
        "units": "integer NOT NULL",
        "bytes_out": _COUNT,
        "request_id": _TEXT,
        "kept": "real NOT NULL",
    }
    inbox = {"batch_id": _ID, "events": "integer NOT NULL", "lost_events": _COUNT, "lost_units": _COUNT}
    use = {**at, **whose, "method": _TEXT, "endpoint": _TEXT, "status": "smallint NOT NULL", **dict.fromkeys(_USE, _COUNT)}
    traffic = {
        **at,
        "method": _TEXT,
        "endpoint": _TEXT,
        "status": "smallint NOT NULL",
        "cache": _TEXT,
        "tier": _TEXT,
        "slot": "smallint NOT NULL",
        **dict.fromkeys(_TRAFFIC, _COUNT),
    }
    demand = {**at, "kind": _TEXT, "name": _TEXT, **dict.fromkeys(_DEMAND, _COUNT)}
    return [
        ("request_log", "day", {**day, **log}, "day, id"),
        ("usage_inbox", "day", {**day, **inbox}, "day, batch_id"),
        ("usage_units", "day", {**day, "subject": _TEXT, "tier": _TEXT, "units": _COUNT}, "day, subject"),
        *((f"usage_{grain}", "at", use, "tenant_id, user_id, at, endpoint, method, status, key_id") for grain in GRAINS),
        *((f"traffic_{grain}", "at", traffic, "at, endpoint, method, status, cache, tier, slot") for grain in GRAINS),
        *((f"demand_{grain}", "at", demand, "at, kind, name") for grain in GRAINS),
    ]


def _functions() -> list[str]:
    """The app role owns no table, so it makes and drops partitions by these, which run as the owner and know these tables alone.

    A day begins at midnight UTC, whatever the session's time zone.
    """
    known = ", ".join(f"'{table}'" for table in PARTITIONED)
    rights = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'"
    # one at a time: two that make the same one would be an error
    lock = f"PERFORM pg_advisory_xact_lock({int.from_bytes(b'partitn')});"
    check = f"IF parent NOT IN ({known}) THEN RAISE EXCEPTION 'no partitions of %', parent; END IF;"
    name = "format('%s_%s', parent, to_char(first, 'YYYYMMDD'))"
    return [
        f"""
        CREATE FUNCTION {SCHEMA}.make_partition(parent text, first date, until date) RETURNS void {rights} AS $body$
        BEGIN
            {check} {lock}
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS {SCHEMA}.%I PARTITION OF {SCHEMA}.%I FOR VALUES FROM (%L) TO (%L)',
                {name}, parent, to_char(first, 'YYYY-MM-DD 00:00+00'), to_char(until, 'YYYY-MM-DD 00:00+00')
            );
        END $body$
        """,
        f"""
        CREATE FUNCTION {SCHEMA}.drop_partition(parent text, first date) RETURNS void {rights} AS $body$
        BEGIN
            {check} {lock}
            EXECUTE format('DROP TABLE IF EXISTS {SCHEMA}.%I', {name});
        END $body$
        """,
        f"REVOKE EXECUTE ON FUNCTION {SCHEMA}.make_partition(text, date, date) FROM PUBLIC",
        f"REVOKE EXECUTE ON FUNCTION {SCHEMA}.drop_partition(text, date) FROM PUBLIC",
    ]
