"""identity providers

Whose word a tenant takes for who people are (design D15). A person's token names no tenant, so this table is read
before one is known: it is global, and only what an operator says stands in it.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "2026_11_23_identity_providers"
down_revision = "2026_11_22_retention"
branch_labels = None
depends_on = None

APP_ROLE = "token_ledger_app"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "identity_providers",
        sa.Column("provider_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("jwks_url", sa.Text(), nullable=True),
        sa.Column("user_claim", sa.Text(), nullable=False),
        sa.Column("role_claim", sa.Text(), nullable=True),
        sa.Column("roles", postgresql.JSONB(), nullable=False),
        sa.Column("default_role", sa.Text(), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("provider_id", name=op.f("identity_providers_pkey")),
    )
    op.create_index(
        "identity_providers_in_force",
        "identity_providers",
        ["issuer", "audience"],
        unique=True,
        postgresql_where=sa.text("removed_at is null"),
    )
    op.create_index("identity_providers_of_tenant", "identity_providers", ["tenant_id"])
    op.execute(f"grant select, insert, update (removed_at) on identity_providers to {APP_ROLE}")


def downgrade() -> None:
    """Remove it; people can't sign in any more."""
    op.drop_table("identity_providers")
