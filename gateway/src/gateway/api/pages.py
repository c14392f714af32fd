"""The gateway's own pages: the public OpenAPI document and its reader."""

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
    """The page's scripts come from here: nothing is fetched from elsewhere."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Kalpi",
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon.png",
    )


def mount_assets(app: FastAPI) -> None:
    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]), name="assets")
