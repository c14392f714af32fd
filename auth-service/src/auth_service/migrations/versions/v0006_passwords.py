"""Throttling of guesses by network and account, tokens that are used once, and mail that waits to be sent."""

from alembic import op

from auth_service.adapters.isolation import definer, isolated, released, seen_by_functions

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FUNCTIONS: dict[str, tuple[str, str]] = {
    "knows_network(of_user uuid, of_network text, since timestamptz)": (
        "boolean",
        """
        SELECT EXISTS (
            SELECT FROM auth.known_network n WHERE n.user_id = of_user AND n.network = of_network AND n.last_at > since
        )
        """,
    ),
    "one_time_of(digest text)": (
        "SETOF auth.one_time_token",
        "SELECT t.* FROM auth.one_time_token t WHERE t.token_sha256 = digest",
    ),
    # $argon2id$v=19$m=65536,t=3,p=4$… without salt and hash
    "parameter_sets()": (
        "TABLE (parameters text, users bigint)",
        """
        SELECT h.parameters, count(*) FROM (
            SELECT substring(u.password_hash FROM '^[$]argon2id[$]v=[0-9]+[$][a-z0-9=,]+') AS parameters FROM auth.user_account u
        ) h WHERE h.parameters IS NOT NULL GROUP BY h.parameters ORDER BY h.parameters
        """,
    ),
}
_OF_USER = "FOREIGN KEY (tenant_id, user_id) REFERENCES auth.user_account (tenant_id, id) ON UPDATE CASCADE"


def upgrade() -> None:
    for statement in _TABLES:
        op.execute(statement)
    for signature, (returns, body) in FUNCTIONS.items():
        for statement in definer(f"auth.{signature}", returns, body):
            op.execute(statement)
    for table in ("known_network", "one_time_token"):
        for statement in (*isolated(f"auth.{table}"), seen_by_functions(f"auth.{table}")):
            op.execute(statement)


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION auth.{signature}")
    for table in ("known_network", "one_time_token"):
        for statement in released(f"auth.{table}", "tenant_all", "functions_select"):
            op.execute(statement)
    for table in ("mail", "one_time_token", "known_network", "throttle"):
        op.execute(f"DROP TABLE auth.{table}")
    op.execute(_FAILURES)
    op.execute("CREATE INDEX login_failure_by_age ON auth.login_failure (last_at)")


_TABLES = (
    # what was counted is an hour old at most and starts anew
    "DROP TABLE auth.login_failure",
    """
    CREATE TABLE auth.throttle (
        key text NOT NULL CONSTRAINT throttle_pkey PRIMARY KEY,
        account text,
        count double precision NOT NULL,
        last_at timestamptz NOT NULL,
        blocked_until timestamptz NOT NULL
    )
    """,
    "CREATE INDEX throttle_by_age ON auth.throttle (last_at)",
    "CREATE INDEX throttle_of_account ON auth.throttle (account) WHERE account IS NOT NULL",
    f"""
    CREATE TABLE auth.known_network (
        tenant_id uuid NOT NULL,
        user_id uuid NOT NULL,
        network text NOT NULL,
        last_at timestamptz NOT NULL,
        CONSTRAINT known_network_pkey PRIMARY KEY (user_id, network),
        CONSTRAINT known_network_tenant_id_fkey {_OF_USER}
    )
    """,
    "CREATE INDEX known_network_of_owner ON auth.known_network (tenant_id, user_id)",
    f"""
    CREATE TABLE auth.one_time_token (
        id uuid NOT NULL CONSTRAINT one_time_token_pkey PRIMARY KEY,
        tenant_id uuid NOT NULL,
        user_id uuid,
        purpose text NOT NULL CONSTRAINT one_time_token_purpose_check CHECK (purpose IN ('reset', 'invite')),
        email text NOT NULL,
        role text,
        token_sha256 text NOT NULL CONSTRAINT one_time_token_token_sha256_key UNIQUE,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        CONSTRAINT one_time_token_tenant_id_fkey {_OF_USER}
    )
    """,
    "CREATE INDEX one_time_token_of_owner ON auth.one_time_token (tenant_id, user_id)",
    "CREATE INDEX one_time_token_newest ON auth.one_time_token (user_id, purpose, created_at)",
    """
    CREATE TABLE auth.mail (
        id uuid NOT NULL CONSTRAINT mail_pkey PRIMARY KEY,
        kind text NOT NULL,
        address text NOT NULL,
        made_at timestamptz NOT NULL,
        due_at timestamptz NOT NULL,
        attempts integer NOT NULL
    )
    """,
    "CREATE INDEX mail_by_due ON auth.mail (due_at)",
)

_FAILURES = """
    CREATE TABLE auth.login_failure (
        key text NOT NULL CONSTRAINT login_failure_pkey PRIMARY KEY,
        count integer NOT NULL,
        last_at timestamptz NOT NULL
    )
"""
