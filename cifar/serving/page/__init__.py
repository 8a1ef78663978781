"""The page at `/`, for trying a model on images, and the one at `/docs`; neither loads external files."""

from __future__ import annotations

import base64
import hashlib
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

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return HTMLResponse(_documented(app.openapi(), str(request.base_url)))


def _documented(description: dict[str, Any], address: str) -> str:
    """Render an OpenAPI document as HTML without external files, unlike FastAPI's own page."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    return environment.get_template("docs.html").render(description, address=address)


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """Return a route function of a file, cached by browsers and revalidated by its hash."""
    content = path.read_bytes()
    headers = {"etag": f'"{hashlib.sha256(content).hexdigest()[:16]}"', "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[path.suffix])

    return answer
