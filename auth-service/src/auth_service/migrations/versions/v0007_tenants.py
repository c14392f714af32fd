"""Users move between tenants; tenants have a quota of their own, origins, and are found by administrators."""

from alembic import op

from auth_service.adapters.isolation import definer, seen_by_functions
from auth_service.migrations.versions.v0002_isolation import FUNCTIONS as BEFORE

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_USER_PAGE = "user_page(before uuid, most integer)"
_USERS = "user_page(begins text, of_tier text, active boolean, before uuid, most integer)"
_TENANTS = "tenant_page(begins text, of_tier text, active boolean, before uuid, most integer)"
_KEYS = "key_page(of_user uuid, of_tenant uuid, moment timestamptz, before uuid, most integer)"
_USER = "id uuid, tenant_id uuid, username text, email text, tier text, roles text[], is_active boolean, created_at timestamptz"
_TENANT = (
    "id uuid, name text, created_at timestamptz, personal boolean, tier text, quota text, allowed_origins text[], "
    "is_active boolean, members bigint"
)
_KEY = (
    "id uuid, tenant_id uuid, user_id uuid, name text, key_hint text, scopes text[], created_at timestamptz, "
    "expires_at timestamptz, last_used_at timestamptz"
)

FUNCTIONS: dict[str, tuple[str, str, str]] = {
    # into the tenant of the transaction and no other; what the user's credentials refer to moves them along
    "join_tenant(of_user uuid, of_tenant uuid, as_role text)": (
        "boolean",
        """
        WITH moved AS (
            UPDATE auth.user_account u SET tenant_id = of_tenant, tenant_role = as_role
            WHERE u.id = of_user AND of_tenant = NULLIF(current_setting('kalpi.tenant', true), '')::uuid
            RETURNING u.id
        )
        SELECT EXISTS (SELECT FROM moved)
        """,
        "VOLATILE",
    ),
    # a quota is the tier's, so a tenant without one has none to share
    "terms_of(of_tenant uuid)": (
        "TABLE (quota text, members bigint, allowed_origins text[])",
        """
        SELECT s.quota, CASE s.quota WHEN 'split' THEN (
            SELECT count(*) FROM auth.user_account u WHERE u.tenant_id = of_tenant AND u.is_active
        ) END, s.allowed_origins
        FROM (
            SELECT CASE WHEN t.tier IS NOT NULL AND NOT t.personal THEN t.quota END AS quota, t.allowed_origins
            FROM auth.tenant t WHERE t.id = of_tenant
        ) s
        """,
        "STABLE",
    ),
    "origins()": (
        "TABLE (origin text)",
        """
        SELECT DISTINCT o.origin FROM auth.tenant t CROSS JOIN unnest(t.allowed_origins) AS o (origin)
        WHERE t.is_active AND t.allowed_origins <> '{}'
        """,
        "STABLE",
    ),
    "owner_of_key(of_key uuid)": (
        "TABLE (tenant_id uuid, user_id uuid)",
        "SELECT c.tenant_id, c.user_id FROM auth.api_key c WHERE c.id = of_key",
        "STABLE",
    ),
}
# a plan for what is asked, each time: one for every question could use no index of a filter
PAGES: dict[str, tuple[str, str]] = {
    _USERS: (
        _USER,
        """
        SELECT u.id, u.tenant_id, u.username, u.email, u.tier, u.roles, u.is_active, u.created_at FROM auth.user_account u
        WHERE (begins IS NULL OR lower(u.username) LIKE begins OR lower(u.email) LIKE begins)
        AND (of_tier IS NULL OR u.tier = of_tier) AND (active IS NULL OR u.is_active = active)
        AND (before IS NULL OR u.id < before) ORDER BY u.id DESC LIMIT most
        """,
    ),
    _TENANTS: (
        _TENANT,
        """
        SELECT t.id, t.name, t.created_at, t.personal, t.tier, t.quota, t.allowed_origins, t.is_active,
            (SELECT count(*) FROM auth.user_account u WHERE u.tenant_id = t.id)
        FROM auth.tenant t
        WHERE (begins IS NULL OR lower(t.name) LIKE begins)
        AND (of_tier IS NULL OR t.tier = of_tier) AND (active IS NULL OR t.is_active = active)
        AND (before IS NULL OR t.id < before) ORDER BY t.id DESC LIMIT most
        """,
    ),
    _KEYS: (
        _KEY,
        """
        SELECT c.id, c.tenant_id, c.user_id, c.name, c.key_hint, c.scopes, c.created_at, c.expires_at, k.last_used_at
        FROM auth.api_key c LEFT JOIN auth.api_key_use k ON k.key_id = c.id
        WHERE c.revoked_at IS NULL AND (c.replaced_by IS NULL OR c.expires_at > moment)
        AND (of_user IS NULL OR c.user_id = of_user)
        AND (of_tenant IS NULL OR c.tenant_id = of_tenant) AND (before IS NULL OR c.id < before) ORDER BY c.id DESC LIMIT most
        """,
    ),
}
_INDEXES = (
    "CREATE INDEX user_account_username_prefix ON auth.user_account (lower(username) text_pattern_ops)",
    "CREATE INDEX user_account_email_prefix ON auth.user_account (lower(email) text_pattern_ops)",
    "CREATE INDEX user_account_of_tier ON auth.user_account (tier, id)",
    "CREATE INDEX user_account_disabled ON auth.user_account (id) WHERE NOT is_active",
    # how many share a quota is asked with every credential
    "CREATE INDEX user_account_active ON auth.user_account (tenant_id) WHERE is_active",
    "CREATE INDEX tenant_name_prefix ON auth.tenant (lower(name) text_pattern_ops)",
    "CREATE INDEX tenant_of_tier ON auth.tenant (tier, id) WHERE tier IS NOT NULL",
    "CREATE INDEX tenant_disabled ON auth.tenant (id) WHERE NOT is_active",
    "CREATE INDEX tenant_with_origins ON auth.tenant (id) WHERE is_active AND allowed_origins <> '{}'",
)


def upgrade() -> None:
    for statement in _INDEXES:
        op.execute(statement)
    op.execute(f"DROP FUNCTION auth.{_USER_PAGE}")
    _make(FUNCTIONS)
    for signature, (columns, body) in PAGES.items():
        for statement in _page(signature, columns, body):
            op.execute(statement)
    op.execute(seen_by_functions("auth.user_account", command="UPDATE"))


def downgrade() -> None:
    op.execute("DROP POLICY functions_update ON auth.user_account")
    for signature in (*FUNCTIONS, *PAGES):
        op.execute(f"DROP FUNCTION auth.{signature}")
    _make({_USER_PAGE: BEFORE[_USER_PAGE]})
    for statement in _INDEXES:
        op.execute(f"DROP INDEX auth.{statement.split()[2]}")


def _make(functions: dict[str, tuple[str, str, str]]) -> None:
    for signature, (returns, body, volatility) in functions.items():
        for statement in definer(f"auth.{signature}", returns, body, volatility=volatility):
            op.execute(statement)


def _page(signature: str, columns: str, body: str) -> tuple[str, ...]:
    return (
        f"""
        CREATE FUNCTION auth.{signature} RETURNS TABLE ({columns})
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
        AS $body$
        #variable_conflict use_column
        BEGIN
            RETURN QUERY {body};
        END
        $body$
        """,
        f"REVOKE EXECUTE ON FUNCTION auth.{signature} FROM PUBLIC",
    )
