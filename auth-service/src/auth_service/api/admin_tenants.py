"""Tenants as an administrator of the platform sees them."""

from uuid import UUID

from fastapi import APIRouter

from auth_service.api.dependencies import ADMINISTRATOR, After, AskedAccounts, Domain, From, Limit
from auth_service.api.schemas.tenants import AdminTenantAnswer, AdminTenantChange, NewTenantBody, TenantPage
from auth_service.domain.tenants import NewTenant

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/admin/tenants", tags=["admin"], dependencies=ADMINISTRATOR)


@router.get("", summary="Tenants, newest first")
async def tenants(domain: Domain, asked: AskedAccounts, limit: Limit = 50, cursor: After = None) -> TenantPage:
    """Personal ones too, and those that were closed when their last member left."""
    return TenantPage.of(await domain.all_tenants.list(asked, before=cursor, limit=limit + 1), limit)


@router.post("", status_code=201, summary="Make a tenant for a user who is there")
async def create_tenant(body: NewTenantBody, domain: Domain, origin: From) -> AdminTenantAnswer:
    new = NewTenant(body.name, body.owner_id, body.tier, body.quota)
    return AdminTenantAnswer.model_validate(await domain.all_tenants.create(new, origin))


@router.get("/{tenant_id}", summary="One of them")
async def tenant(tenant_id: UUID, domain: Domain) -> AdminTenantAnswer:
    return AdminTenantAnswer.model_validate(await domain.all_tenants.get(tenant_id))


@router.patch("/{tenant_id}", summary="Change a tenant's tier or how its members use it, disable or enable it")
async def change_tenant(tenant_id: UUID, body: AdminTenantChange, domain: Domain, origin: From) -> AdminTenantAnswer:
    """Of a disabled tenant no member logs in, and no member's key or session stands for anybody, until it is enabled again."""
    return AdminTenantAnswer.model_validate(await domain.all_tenants.change(tenant_id, body.changes(), origin))
