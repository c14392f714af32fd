"""Every row names its tenant and is that tenant's alone; what looks across tenants is a function; tenants have settings."""

from alembic import op

from auth_service.adapters.isolation import definer, isolated, released, seen_by_functions

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_OWNER = "user_id uuid, tenant_id uuid, tier text, roles text[], session_id uuid, key_id uuid, expires_at timestamptz"
_ENTRY = "id uuid, tenant_id uuid, username text, email text, tier text, roles text[], is_active boolean, created_at timestamptz"
FUNCTIONS: dict[str, tuple[str, str, str]] = {
    # no user name has an @, and every address does
    "login_of(name text)": (
        "SETOF auth.user_account",
        """
        SELECT u.* FROM auth.user_account u WHERE strpos(name, '@') = 0 AND lower(u.username) = lower(name)
        UNION ALL
        SELECT u.* FROM auth.user_account u WHERE strpos(name, '@') > 0 AND lower(u.email) = lower(name)
        """,
        "STABLE",
    ),
    "resolve_key(digest text, moment timestamptz)": (
        f"TABLE ({_OWNER})",
        """
        SELECT u.id, u.tenant_id, coalesce(t.tier, u.tier), u.roles, NULL::uuid, c.id, c.expires_at
        FROM auth.api_key c JOIN auth.user_account u ON u.id = c.user_id JOIN auth.tenant t ON t.id = u.tenant_id
        WHERE u.is_active AND t.is_active
        AND c.key_sha256 = digest AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > moment)
        """,
        "STABLE",
    ),
    "resolve_session(of_user uuid, of_session uuid, moment timestamptz)": (
        f"TABLE ({_OWNER})",
        """
        SELECT u.id, u.tenant_id, coalesce(t.tier, u.tier), u.roles, c.id, NULL::uuid, c.expires_at
        FROM auth.session c JOIN auth.user_account u ON u.id = c.user_id JOIN auth.tenant t ON t.id = u.tenant_id
        WHERE u.is_active AND t.is_active
        AND c.id = of_session AND c.user_id = of_user AND c.revoked_at IS NULL AND c.expires_at > moment
        """,
        "STABLE",
    ),
    "tenant_of_token(digest text)": (
        "uuid",
        "SELECT r.tenant_id FROM auth.refresh_token r WHERE r.token_sha256 = digest",
        "STABLE",
    ),
    "tenant_of_user(of_user uuid)": ("uuid", "SELECT u.tenant_id FROM auth.user_account u WHERE u.id = of_user", "STABLE"),
    "user_page(before uuid, most integer)": (
        f"TABLE ({_ENTRY})",
        """
        SELECT u.id, u.tenant_id, u.username, u.email, u.tier, u.roles, u.is_active, u.created_at FROM auth.user_account u
        WHERE u.id < coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff') ORDER BY u.id DESC LIMIT most
        """,
        "STABLE",
    ),
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


def upgrade() -> None:
    for statement in (*_TENANTS, *_OWNERS, *_TOKENS):
        op.execute(statement)
    for signature, (returns, body, volatility) in FUNCTIONS.items():
        for statement in definer(f"auth.{signature}", returns, body, volatility=volatility):
            op.execute(statement)
    # after the rows have their tenants: from here on even the owner changes none
    for statement in _POLICIES:
        op.execute(statement)


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION auth.{signature}")
    for table in ("refresh_token", "session", "api_key", "user_account", "tenant"):
        for statement in released(f"auth.{table}", "tenant_all", "functions_select"):
            op.execute(statement)
    for statement in released(
        "auth.audit_event", "tenant_select", "tenant_insert", "nobodys", "functions_select", "functions_update"
    ):
        op.execute(statement)
    for statement in _BACK:
        op.execute(statement)


# Values for the rows that are there already: every tenant so far is its one user's own. No default stays, so that the code says
# what it means.
_TENANTS = (
    """
    ALTER TABLE auth.tenant
        ADD COLUMN personal boolean NOT NULL DEFAULT true,
        ADD COLUMN tier text,
        ADD COLUMN quota text NOT NULL DEFAULT 'split' CONSTRAINT tenant_quota_check CHECK (quota IN ('shared', 'split')),
        ADD COLUMN allowed_origins text[] NOT NULL DEFAULT '{}',
        ADD COLUMN is_active boolean NOT NULL DEFAULT true
    """,
    """
    ALTER TABLE auth.tenant
        ALTER COLUMN personal DROP DEFAULT, ALTER COLUMN quota DROP DEFAULT,
        ALTER COLUMN allowed_origins DROP DEFAULT, ALTER COLUMN is_active DROP DEFAULT
    """,
    """
    ALTER TABLE auth.user_account
        ADD COLUMN tenant_role text NOT NULL DEFAULT 'owner'
            CONSTRAINT user_account_tenant_role_check CHECK (tenant_role IN ('owner', 'admin', 'member')),
        -- what credentials refer to; read backwards, a tenant's members with the newest first
        ADD CONSTRAINT user_account_tenant_id_key UNIQUE (tenant_id, id)
    """,
    "ALTER TABLE auth.user_account ALTER COLUMN tenant_role DROP DEFAULT",
)


def _owned(table: str) -> tuple[str, ...]:
    """A user who moves to another tenant takes these rows along."""
    return (
        f"ALTER TABLE auth.{table} ADD COLUMN tenant_id uuid",
        f"UPDATE auth.{table} c SET tenant_id = u.tenant_id FROM auth.user_account u WHERE u.id = c.user_id",  # noqa: S608
        f"""
        ALTER TABLE auth.{table}
            ALTER COLUMN tenant_id SET NOT NULL,
            DROP CONSTRAINT {table}_user_id_fkey,
            ADD CONSTRAINT {table}_tenant_id_fkey FOREIGN KEY (tenant_id, user_id)
                REFERENCES auth.user_account (tenant_id, id) ON UPDATE CASCADE
        """,
    )


_OWNERS = (
    *_owned("api_key"),
    *_owned("session"),
    # the keys of a user who moves; the other index holds no revoked ones
    "CREATE INDEX api_key_of_owner ON auth.api_key (tenant_id, user_id)",
    "ALTER TABLE auth.session ADD CONSTRAINT session_tenant_id_key UNIQUE (tenant_id, id)",
    "CREATE INDEX session_by_end ON auth.session (expires_at)",
)

_TOKENS = (
    "ALTER TABLE auth.refresh_token ADD COLUMN tenant_id uuid",
    "UPDATE auth.refresh_token r SET tenant_id = s.tenant_id FROM auth.session s WHERE s.id = r.session_id",
    """
    ALTER TABLE auth.refresh_token
        ALTER COLUMN tenant_id SET NOT NULL,
        DROP CONSTRAINT refresh_token_session_id_fkey,
        ADD CONSTRAINT refresh_token_tenant_id_fkey FOREIGN KEY (tenant_id, session_id)
            REFERENCES auth.session (tenant_id, id) ON UPDATE CASCADE ON DELETE CASCADE
    """,
)

_POLICIES = (
    *isolated("auth.tenant", column="id"),
    *(statement for table in ("user_account", "api_key", "session", "refresh_token") for statement in isolated(f"auth.{table}")),
    # the trail is read and added to, never changed; what belongs to no tenant may be recorded by all and is read by none
    *isolated("auth.audit_event", commands=("SELECT", "INSERT")),
    "CREATE POLICY nobodys ON auth.audit_event FOR INSERT WITH CHECK (tenant_id IS NULL)",
    *(
        seen_by_functions(f"auth.{table}")
        for table in ("tenant", "user_account", "api_key", "session", "refresh_token", "audit_event")
    ),
    seen_by_functions("auth.audit_event", command="UPDATE"),
)

_BACK = (
    """
    ALTER TABLE auth.refresh_token
        DROP CONSTRAINT refresh_token_tenant_id_fkey,
        ADD CONSTRAINT refresh_token_session_id_fkey FOREIGN KEY (session_id) REFERENCES auth.session (id) ON DELETE CASCADE,
        DROP COLUMN tenant_id
    """,
    "DROP INDEX auth.session_by_end",
    "DROP INDEX auth.api_key_of_owner",
    "ALTER TABLE auth.session DROP CONSTRAINT session_tenant_id_key",
    *(
        f"""
        ALTER TABLE auth.{table}
            DROP CONSTRAINT {table}_tenant_id_fkey,
            ADD CONSTRAINT {table}_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.user_account (id),
            DROP COLUMN tenant_id
        """
        for table in ("session", "api_key")
    ),
    "ALTER TABLE auth.user_account DROP CONSTRAINT user_account_tenant_id_key, DROP COLUMN tenant_role",
    """
    ALTER TABLE auth.tenant
        DROP COLUMN personal, DROP COLUMN tier, DROP COLUMN quota, DROP COLUMN allowed_origins, DROP COLUMN is_active
    """,
)
