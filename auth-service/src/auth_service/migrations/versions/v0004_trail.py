# ruff: noqa: S608 - every name in a statement here is ours
"""The audit trail as a chain: what changed, hashes, signed heads, a cursor of what is published, and nothing that can be undone.

What was written before keeps its number and gets its hash from the relay. What those rows do not tell (they had no before and
after) is recorded once, as it is now: from here on, tenants, users and keys can be rebuilt from the trail.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from auth_service.adapters.isolation import definer

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "auth"
_NOBODY = "00000000-0000-0000-0000-000000000000"
_INDEXES: dict[str, list[str | sa.TextClause]] = {
    "audit_event_of_tenant": ["tenant_id", sa.text("seq DESC")],
    "audit_event_of_user": ["user_id", sa.text("seq DESC")],
    "audit_event_of_actor": ["actor", sa.text("seq DESC")],
    "audit_event_of_kind": ["noun", "event", sa.text("seq DESC")],
    "audit_event_of_request": ["request_id", sa.text("seq DESC")],
}


def upgrade() -> None:
    _columns()
    with _every_row():
        for noun in _STATES:
            op.execute(_record(noun))
    _indexes()
    _relay_and_heads()
    for signature in _BEFORE:
        op.execute(f"DROP FUNCTION auth.{signature}")
    _make(_FUNCTIONS)
    for statement in (*_PAGES, *_TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    """The chain ends here: its hashes cover what goes. Facts not yet published are the relay's before this once more."""
    for statement in _NO_TRIGGERS:
        op.execute(statement)
    for function in ("audit_is_kept()", "audit_is_only_sealed()", _PAGE, *_FUNCTIONS):
        op.execute(f"DROP FUNCTION auth.{function}")
    for index in ("audit_event_outbox", "audit_event_by_time", *_INDEXES):
        op.drop_index(index, "audit_event", schema=SCHEMA)
    op.drop_constraint("audit_event_link_check", "audit_event", schema=SCHEMA)
    with _every_row():
        # without what they recorded they tell nothing
        op.execute("DELETE FROM auth.audit_event WHERE event = 'recorded' AND actor = 'svc:migrate'")
        op.execute("UPDATE auth.audit_event SET seq = NULL WHERE seq > (SELECT published_seq FROM auth.audit_relay)")
        for column in ("user_id", "tenant_id"):
            op.execute(f"UPDATE auth.audit_event SET {column} = '{_NOBODY}' WHERE {column} IS NULL")
            op.alter_column("audit_event", column, nullable=False, schema=SCHEMA)
    for column in ("hash", "before", "after"):
        op.drop_column("audit_event", column, schema=SCHEMA)
    unpublished = sa.text("seq IS NULL")
    op.create_index("audit_event_outbox", "audit_event", ["recorded"], postgresql_where=unpublished, schema=SCHEMA)
    for table in ("audit_head", "audit_relay"):
        op.drop_table(table, schema=SCHEMA)
    _make(_BEFORE)


def _columns() -> None:
    op.add_column("audit_event", sa.Column("hash", sa.LargeBinary, nullable=True), schema=SCHEMA)
    for column in ("before", "after"):
        op.add_column("audit_event", sa.Column(column, JSONB, nullable=True), schema=SCHEMA)
    for column in ("user_id", "tenant_id"):
        op.alter_column("audit_event", column, nullable=True, schema=SCHEMA)
    link = "hash IS NULL OR (seq IS NOT NULL AND octet_length(hash) = 32)"
    op.create_check_constraint("audit_event_link_check", "audit_event", link, schema=SCHEMA)


def _indexes() -> None:
    op.drop_index("audit_event_outbox", "audit_event", schema=SCHEMA)
    unsealed = sa.text("hash IS NULL")
    op.create_index("audit_event_outbox", "audit_event", ["seq", "recorded"], postgresql_where=unsealed, schema=SCHEMA)
    for name, columns in _INDEXES.items():
        op.create_index(name, "audit_event", columns, schema=SCHEMA)
    op.create_index("audit_event_by_time", "audit_event", ["occurred_at"], postgresql_using="brin", schema=SCHEMA)


def _relay_and_heads() -> None:
    op.create_table(
        "audit_relay",
        sa.Column("single", sa.Boolean, nullable=False),
        sa.Column("published_seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("single", name="audit_relay_pkey"),
        sa.CheckConstraint("single", name="audit_relay_single_check"),
        schema=SCHEMA,
    )
    op.execute("INSERT INTO auth.audit_relay SELECT true, coalesce(max(seq), 0) FROM auth.audit_event")
    op.create_table(
        "audit_head",
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="audit_head_pkey"),
        schema=SCHEMA,
    )


def _make(functions: "Functions") -> None:
    for signature, (returns, body, volatility) in functions.items():
        for statement in definer(f"auth.{signature}", returns, body, volatility=volatility):
            op.execute(statement)


@contextmanager
def _every_row() -> Iterator[None]:
    """The table's owner sees and writes rows of all tenants meanwhile."""
    forced = "SELECT relforcerowsecurity FROM pg_class WHERE oid = 'auth.audit_event'::regclass"
    was_forced = op.get_bind().execute(sa.text(forced)).scalar_one()
    op.execute("ALTER TABLE auth.audit_event NO FORCE ROW LEVEL SECURITY")
    yield
    if was_forced:
        op.execute("ALTER TABLE auth.audit_event FORCE ROW LEVEL SECURITY")


# ----- what there is; its credentials, and that a key lies in its user's tenant, are not for the trail

_STATES = {
    "tenant": ("auth.tenant t", "to_jsonb(t)"),
    "user": ("auth.user_account t", "to_jsonb(t) - 'password_hash'"),
    "key": ("auth.api_key t", "to_jsonb(t) - ARRAY['key_sha256', 'tenant_id']"),
}
_SUBJECTS = {
    "tenant": ("NULL", "t.id", "NULL"),
    "user": ("t.id", "t.tenant_id", "NULL"),
    "key": ("t.user_id", "t.tenant_id", "t.id"),
}


def _record(noun: str) -> str:
    table, state = _STATES[noun]
    subjects = ", ".join(f"CAST({one} AS uuid)" for one in _SUBJECTS[noun])
    return f"""
        INSERT INTO auth.audit_event
            (id, occurred_at, noun, event, actor, request_id, details, user_id, tenant_id, key_id, after)
        SELECT gen_random_uuid(), now(), '{noun}', 'recorded', 'svc:migrate', '', '{{}}', {subjects}, {state}
        FROM {table} ORDER BY t.id
    """


# ----- rows of every tenant are read and sealed through these alone

Functions = dict[str, tuple[str, str, str]]
_UNION = " UNION ALL ".join(
    f"SELECT t.id, {state} FROM {table} WHERE of_noun = '{noun}'" for noun, (table, state) in _STATES.items()
)
_FUNCTIONS: Functions = {
    "outbox_take(most integer)": (
        "SETOF auth.audit_event",
        "SELECT e.* FROM auth.audit_event e WHERE e.hash IS NULL ORDER BY e.seq, e.recorded LIMIT most",
        "STABLE",
    ),
    "outbox_seal(ids uuid[], seqs bigint[], hashes bytea[])": (
        "void",
        """
        UPDATE auth.audit_event e SET seq = link.seq, hash = link.hash
        FROM unnest(ids, seqs, hashes) AS link (id, seq, hash) WHERE e.id = link.id
        """,
        "VOLATILE",
    ),
    # found by time first, and then the least: the least first would be looked for from the beginning of the trail
    "audit_seq_before(moment timestamptz)": (
        "bigint",
        """
        WITH recent AS MATERIALIZED (SELECT e.seq FROM auth.audit_event e WHERE e.occurred_at >= moment AND e.hash IS NOT NULL)
        SELECT coalesce(
            (SELECT min(seq) - 1 FROM recent),
            (SELECT max(e.seq) FROM auth.audit_event e WHERE e.hash IS NOT NULL),
            0
        )
        """,
        "STABLE",
    ),
    "audit_changes(of_noun text)": (
        "TABLE (subject uuid, event text, before jsonb, after jsonb)",
        """
        SELECT CASE of_noun WHEN 'tenant' THEN e.tenant_id WHEN 'user' THEN e.user_id WHEN 'key' THEN e.key_id END AS subject,
            e.event, e.before, e.after
        FROM auth.audit_event e WHERE e.noun = of_noun ORDER BY subject, e.recorded
        """,
        "STABLE",
    ),
    "audit_states(of_noun text)": (
        "TABLE (subject uuid, state jsonb)",
        f"SELECT s.id, s.state FROM ({_UNION}) AS s (id, state) ORDER BY s.id",
        "STABLE",
    ),
}
_BEFORE: Functions = {
    "outbox_take(most integer)": (
        "SETOF auth.audit_event",
        "SELECT e.* FROM auth.audit_event e WHERE e.seq IS NULL ORDER BY e.recorded LIMIT most",
        "STABLE",
    ),
    "outbox_seal(ids uuid[])": (
        "void",
        """
        UPDATE auth.audit_event e SET seq = (SELECT coalesce(max(l.seq), 0) FROM auth.audit_event l) + taken.nth
        FROM unnest(ids) WITH ORDINALITY AS taken (id, nth) WHERE e.id = taken.id
        """,
        "VOLATILE",
    ),
}

_FILTER = """
    (of_user IS NULL OR user_id = of_user) AND (of_tenant IS NULL OR tenant_id = of_tenant)
    AND (of_actor IS NULL OR actor = of_actor) AND (of_noun IS NULL OR noun = of_noun) AND (of_event IS NULL OR event = of_event)
    AND (since IS NULL OR occurred_at >= since) AND (until IS NULL OR occurred_at < until)
    AND (of_request IS NULL OR request_id = of_request)
    AND hash IS NOT NULL AND seq > after_seq AND seq < before_seq
"""
_PAGE = (
    "audit_page(of_user uuid, of_tenant uuid, of_actor text, of_noun text, of_event text, since timestamptz, until timestamptz, "
    "of_request text, after_seq bigint, before_seq bigint, ascending boolean, most integer)"
)
_PAGES = (
    # a plan for what is asked, each time: one for every question could use no index of a filter
    f"""
    CREATE FUNCTION auth.{_PAGE} RETURNS SETOF auth.audit_event
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
    #variable_conflict use_column
    BEGIN
        IF ascending THEN
            RETURN QUERY SELECT * FROM auth.audit_event WHERE {_FILTER} ORDER BY seq LIMIT most;
        ELSE
            RETURN QUERY SELECT * FROM auth.audit_event WHERE {_FILTER} ORDER BY seq DESC LIMIT most;
        END IF;
    END
    $$
    """,
    f"REVOKE EXECUTE ON FUNCTION auth.{_PAGE} FROM PUBLIC",
)

# ----- what is written stays

_TRIGGERS = (
    """
    CREATE FUNCTION auth.audit_is_kept() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        RAISE insufficient_privilege USING MESSAGE = 'the audit trail is append-only';
    END
    $$
    """,
    """
    CREATE FUNCTION auth.audit_is_only_sealed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        as_it_was auth.audit_event := NEW;
    BEGIN
        as_it_was.seq := OLD.seq;
        as_it_was.hash := OLD.hash;
        IF OLD.hash IS NOT NULL OR NEW.hash IS NULL OR OLD.seq <> NEW.seq OR as_it_was IS DISTINCT FROM OLD THEN
            RAISE insufficient_privilege USING MESSAGE = 'the audit trail is append-only';
        END IF;
        RETURN NEW;
    END
    $$
    """,
    "REVOKE EXECUTE ON FUNCTION auth.audit_is_kept(), auth.audit_is_only_sealed() FROM PUBLIC",
    "CREATE TRIGGER sealed_once BEFORE UPDATE ON auth.audit_event FOR EACH ROW EXECUTE FUNCTION auth.audit_is_only_sealed()",
    "CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON auth.audit_event EXECUTE FUNCTION auth.audit_is_kept()",
    "CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON auth.audit_head EXECUTE FUNCTION auth.audit_is_kept()",
)
_NO_TRIGGERS = (
    "DROP TRIGGER kept ON auth.audit_head",
    "DROP TRIGGER kept ON auth.audit_event",
    "DROP TRIGGER sealed_once ON auth.audit_event",
)
