"""The gateway's own pages: the public OpenAPI document and its reader."""

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

__all__ = ["mount_assets", "router"]

_ASSETS = "/docs/assets"
_DOCUMENT = files("gateway").joinpath("openapi.json")

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def document() -> Response:
    return Response(_DOCUMENT.read_bytes(), media_type="application/json")


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The page's scripts come from here: nothing is fetched from elsewhere, and no other is run."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


def _page() -> tuple[bytes, str]:
    """And what a browser may do with it."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Kalpi",
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon.png",
    )
    # the one script within the page is allowed by its hash (CSP level 3, section 2.3.1)
    body = bytes(page.body)
    (script,) = re.findall(rb"<script>(.*?)</script>", body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return body, policy


_PAGE, _POLICY = _page()


def mount_assets(app: FastAPI) -> None:
    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]), name="assets")
