"""The page at `/`, for trying a model on images, and the one at `/docs`; neither loads external files."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from cifar.images.io import encode_png
from cifar.serving import openapi, schemas
from cifar.serving.service import Service

FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/icon.svg": "icon.svg"}
"""Files by address; they contain no secrets."""
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def mount(app: FastAPI, service: Service) -> None:
    """Add the routes of the pages, and of example images."""
    for path, name in FILES.items():
        app.add_api_route(path, _file(Path(__file__).with_name(name)), include_in_schema=False)

    @app.get(
        "/examples", summary="Test images that a model's run recorded", response_model=schemas.Examples,
        responses=openapi.errors(404), response_description="PNG files, in base64",
    )  # fmt: skip
    async def examples(model: str | None = None) -> Response:
        files = await service.threaded(list, map(encode_png, service.model(model).examples))
        return JSONResponse({"examples": [{"b64": base64.b64encode(file).decode()} for file in files]})

    description = Description(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def document() -> Response:
        return Response(description.document(), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return HTMLResponse(description.page(str(request.base_url)))


class Description:
    """The OpenAPI document of an application as JSON and as a page, which are made again when it changes."""

    ADDRESS = "http://address.invalid/"

    def __init__(self, app: FastAPI):
        self._app = app
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                         trim_blocks=True, lstrip_blocks=True)  # fmt: skip
        self._template = environment.get_template("docs.html")  # of no external files, unlike FastAPI's own page
        self._made_of: dict[str, Any] = {}
        self._document, self._page = b"", ""

    def document(self) -> bytes:
        self._update()
        return self._document

    def page(self, address: str) -> str:
        """Return the page for a service at `address`."""
        self._update()
        return self._page.replace(self.ADDRESS, html.escape(address))

    def _update(self) -> None:
        current = self._app.openapi()
        if current is not self._made_of:
            self._made_of, self._document = current, json.dumps(current).encode()
            self._page = self._template.render(current, address=self.ADDRESS)


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """Return a route function of a file, cached by browsers and revalidated by its hash."""
    content = path.read_bytes()
    headers = {"etag": f'"{hashlib.sha256(content).hexdigest()[:16]}"', "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[path.suffix])

    return answer
