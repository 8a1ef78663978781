"""Routes for the many requests of programs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class ModelRoute(APIRoute):
    """A route of a function of the model's `name` in the path, and of the request, which it reads itself.

    FastAPI looks at the function's parameters for the documentation alone, not again at each request.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            answer: Response = await self.endpoint(name=request.path_params["name"], request=request)
            return answer

        return handle
