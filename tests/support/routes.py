"""The routes that ship."""

from gateway.adapters.route_files import shipped_routes
from gateway.domain.route_file import parse_routes
from gateway.domain.routing import RouteTable

ROUTES = parse_routes(shipped_routes())
TABLE = RouteTable(ROUTES)
