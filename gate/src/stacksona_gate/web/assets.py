"""Style sheets, scripts and pictures of the pages: under their content's hash, so that browsers keep them for good."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from stacksona_gate.domain.errors import NotFound

FOLDER: Final = Path(__file__).parent / "static"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_GOOD: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served."""

    name: str
    digest: str
    media_type: str
    data: bytes

    @property
    def path(self) -> str:
        return f"/static/{self.digest}/{self.name}"


class Assets:
    """The files, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = (path for path in sorted(folder.iterdir()) if path.suffix in TYPES)
        self._by_name = {path.name: _asset(path) for path in found}

    def path(self, name: str) -> str:
        """Where a page finds the file."""
        return self._by_name[name].path

    def serve(self, request: Request) -> Response:
        """Raises NotFound, also for a file of another version."""
        asset = self._by_name.get(request.path_params["name"])
        if asset is None or asset.digest != request.path_params["digest"]:
            raise NotFound("there is no such file: reload the page")
        headers = {"Cache-Control": FOR_GOOD, "X-Content-Type-Options": "nosniff", "Content-Type": asset.media_type}
        return Response(asset.data, headers=headers)


def _asset(path: Path) -> Asset:
    data = path.read_bytes()
    digest = base64.urlsafe_b64encode(sha256(data).digest()[:12]).decode()
    return Asset(path.name, digest, TYPES[path.suffix], data)
