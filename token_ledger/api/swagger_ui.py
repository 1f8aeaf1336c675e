"""Serves the documentation page at /docs with Swagger UI's own files, so that reading it needs no internet."""

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse, Response

from token_ledger.wire.problems import ProblemError, RequestCode

# The package ships the files of Swagger UI's releases (Apache-2.0); nothing else of it is used.
_DIRECTORY = Path(str(files("fastapi_swagger.resources")))
FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


def _policy(page: str) -> str:
    """Return the policy that lets the page run its own scripts only: the files beside it, and the one within it."""
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
    )


def add_documentation(app: FastAPI) -> None:
    """Serve the documentation page and its files."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{app.title} API",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon-32x32.png",
        # Without this the page would send the address of the document to a validator on the internet.
        swagger_ui_parameters={"validatorUrl": None},
    )

    page.headers["Content-Security-Policy"] = _policy(bytes(page.body).decode())

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        return page

    @app.get("/docs/{name}", include_in_schema=False)
    async def documentation_file(name: str) -> Response:
        if name not in FILES:
            raise ProblemError(RequestCode.NOT_FOUND, f"there is no file {name!r}; open /docs")
        return FileResponse(_DIRECTORY / name, media_type=FILES[name], headers={"Cache-Control": "max-age=86400"})
