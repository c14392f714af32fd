"""API keys have scopes and an allow-list, may be replaced by another, and are known to have been used."""

from alembic import op

from auth_service.adapters.isolation import definer, isolated, released, seen_by_functions
from auth_service.migrations.versions.v0002_isolation import FUNCTIONS as BEFORE

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_RESOLVED = (
    "user_id uuid, tenant_id uuid, tier text, roles text[], session_id uuid, key_id uuid, expires_at timestamptz, "
    "scopes text[], allowed_ips cidr[]"
)
# those of a session are all that the roles allow, which is the service's to say
REPLACED = {
    "resolve_key(digest text, moment timestamptz)": (
        f"TABLE ({_RESOLVED})",
        """
        SELECT u.id, u.tenant_id, coalesce(t.tier, u.tier), u.roles, NULL::uuid, c.id, c.expires_at, c.scopes, c.allowed_ips
        FROM auth.api_key c JOIN auth.user_account u ON u.id = c.user_id JOIN auth.tenant t ON t.id = u.tenant_id
        WHERE u.is_active AND t.is_active
        AND c.key_sha256 = digest AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > moment)
        """,
        "STABLE",
    ),
    "resolve_session(of_user uuid, of_session uuid, moment timestamptz)": (
        f"TABLE ({_RESOLVED})",
        """
        SELECT u.id, u.tenant_id, coalesce(t.tier, u.tier), u.roles, c.id, NULL::uuid, c.expires_at, '{}'::text[], NULL::cidr[]
        FROM auth.session c JOIN auth.user_account u ON u.id = c.user_id JOIN auth.tenant t ON t.id = u.tenant_id
        WHERE u.is_active AND t.is_active
        AND c.id = of_session AND c.user_id = of_user AND c.revoked_at IS NULL AND c.expires_at > moment
        """,
        "STABLE",
    ),
}
_USED = "keys_used(ids uuid[], moments timestamptz[])"
_USED_BODY = """
    -- two processes that write the same keys in another order would wait for each other
    SELECT pg_advisory_xact_lock(x'6b65797573656473'::bigint);
    INSERT INTO auth.api_key_use AS known (key_id, tenant_id, last_used_at)
    SELECT c.id, c.tenant_id, used.moment
    FROM unnest(ids, moments) AS used (id, moment) JOIN auth.api_key c ON c.id = used.id
    ON CONFLICT (key_id) DO UPDATE SET last_used_at = greatest(known.last_used_at, excluded.last_used_at)
"""


def upgrade() -> None:
    for statement in (*_KEYS, *_USES):
        op.execute(statement)
    _put_functions(REPLACED)
    for statement in definer(f"auth.{_USED}", "void", _USED_BODY, volatility="VOLATILE"):
        op.execute(statement)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION auth.{_USED}")
    _put_functions({signature: BEFORE[signature] for signature in REPLACED})
    for statement in (*released("auth.api_key_use", "tenant_select", "functions_all"), *_BACK):
        op.execute(statement)


def _put_functions(functions: dict[str, tuple[str, str, str]]) -> None:
    for signature, (returns, body, volatility) in functions.items():
        # what a function returns cannot be changed in place
        op.execute(f"DROP FUNCTION auth.{signature}")
        for statement in definer(f"auth.{signature}", returns, body, volatility=volatility):
            op.execute(statement)


# A key made before scopes could do all that its user may, and goes on doing so. No default stays: the code says what it means.
_KEYS = (
    """
    ALTER TABLE auth.api_key
        ADD COLUMN scopes text[] NOT NULL DEFAULT '{indicators:read,bars:read,batch,screener,keys:manage}',
        ADD COLUMN allowed_ips cidr[],
        ADD COLUMN replaced_by uuid,
        ADD CONSTRAINT api_key_tenant_id_key UNIQUE (tenant_id, id)
    """,
    "ALTER TABLE auth.api_key ALTER COLUMN scopes DROP DEFAULT",
    "ALTER TABLE auth.api_key NO FORCE ROW LEVEL SECURITY",
    """
    UPDATE auth.api_key c SET scopes = c.scopes || 'admin'::text
    FROM auth.user_account u WHERE u.id = c.user_id AND 'admin' = ANY (u.roles)
    """,
    # the trail told of keys without these: what it tells of a key is to be the key
    "ALTER TABLE auth.audit_event NO FORCE ROW LEVEL SECURITY",
    """
    INSERT INTO auth.audit_event
        (id, occurred_at, noun, event, actor, request_id, details, user_id, tenant_id, key_id, before, after)
    SELECT gen_random_uuid(), now(), 'key', 'recorded', 'svc:migrate', '', '{}', c.user_id, c.tenant_id, c.id,
        '{"scopes": null, "allowed_ips": null, "replaced_by": null}',
        jsonb_build_object('scopes', c.scopes, 'allowed_ips', c.allowed_ips, 'replaced_by', c.replaced_by)
    FROM auth.api_key c ORDER BY c.id
    """,
    "ALTER TABLE auth.audit_event FORCE ROW LEVEL SECURITY",
    "ALTER TABLE auth.api_key FORCE ROW LEVEL SECURITY",
)

_USES = (
    """
    CREATE TABLE auth.api_key_use (
        key_id uuid NOT NULL CONSTRAINT api_key_use_pkey PRIMARY KEY,
        tenant_id uuid NOT NULL,
        last_used_at timestamptz NOT NULL,
        CONSTRAINT api_key_use_tenant_id_fkey FOREIGN KEY (tenant_id, key_id)
            REFERENCES auth.api_key (tenant_id, id) ON UPDATE CASCADE ON DELETE CASCADE
    ) WITH (fillfactor = 70)
    """,
    # read by its tenant; written by the function alone, for a batch is of many
    *isolated("auth.api_key_use", commands=("SELECT",)),
    seen_by_functions("auth.api_key_use", command="ALL"),
)

_BACK = (
    "DROP TABLE auth.api_key_use",
    """
    ALTER TABLE auth.api_key
        DROP CONSTRAINT api_key_tenant_id_key, DROP COLUMN scopes, DROP COLUMN allowed_ips, DROP COLUMN replaced_by
    """,
)
