"""The page at `/`, on which an image is given and an answer shown; nothing of it comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from cifar.images import png
from cifar.serving import description

if TYPE_CHECKING:
    from cifar.serving.app import Service

FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/icon.svg": "icon.svg"}
"""What is answered at which address; it holds no secret."""
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def mount(app: FastAPI, service: Service) -> None:
    """Answer with the page, and with the images that it offers."""
    for path, name in FILES.items():
        app.add_api_route(path, _file(Path(__file__).with_name(name)), methods=["GET", "HEAD"], include_in_schema=False)

    @app.get("/examples", **description.of("Test images that a model's run recorded",
                                           {200: "PNG files, in base64", 404: "unknown model"}))  # fmt: skip
    async def examples(model: str | None = None) -> Response:
        files = await service.threaded(list, map(png, service.model(model).examples))
        return JSONResponse({"examples": [{"b64": base64.b64encode(file).decode()} for file in files]})


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """What answers with a file, which browsers keep and ask for again: by its hash."""
    content = path.read_bytes()
    headers = {"etag": f'"{hashlib.sha256(content).hexdigest()[:16]}"', "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[path.suffix])

    return answer
