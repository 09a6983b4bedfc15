"""The page at `/`: three files, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent
# The browser holds the page to what it says: nothing is loaded from or sent to another place
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_router() -> APIRouter:
    """The routes of the page."""
    router = APIRouter(include_in_schema=False)

    def serve(path: str, file: str) -> None:
        headers = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}

        @router.get(path)
        async def page() -> FileResponse:
            return FileResponse(FOLDER / file, headers=headers)

    serve("/", "index.html")
    serve("/page.css", "page.css")
    serve("/page.js", "page.js")
    return router
