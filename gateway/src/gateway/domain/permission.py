"""What a caller's credential may be used for, and from where: asked on every request, from what was resolved before."""

from gateway.domain.errors import NotFromHere
from gateway.domain.ports import Resolved
from shared.errors import ScopeRequired
from shared.scopes import Scope

__all__ = ["check_permission"]


def check_permission(caller: Resolved, client_ip: str, scope: Scope | None) -> None:
    """NotFromHere first, so that elsewhere nobody learns what a key is good for; then ScopeRequired."""
    if caller.allowed_ips is not None and not caller.allowed_ips.admits(client_ip):
        raise NotFromHere
    if scope is not None and scope not in caller.principal.scopes:
        raise ScopeRequired(scope)
