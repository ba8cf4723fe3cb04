"""Builds the Dify packages: a .difypkg is a plain zip. The same files give the same bytes, wherever they are packed.

usage: pack.py FOLDER    writes both packages there and prints each one's identifier, as Dify computes it
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
import zipfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
SDK: Final = ROOT / "sdk" / "python" / "src" / "stacksona"
SOURCES: Final = ("plugin", "trigger")
KINDS: Final = frozenset({".md", ".py", ".svg", ".txt", ".yaml"})
NEEDED: Final = ("manifest.yaml", "main.py", "requirements.txt", "README.md", "PRIVACY.md", "_assets/icon.svg")

_TIME: Final = (2026, 1, 1, 0, 0, 0)
_FILE: Final = 0o100644 << 16
_UNIX: Final = 3


def contents(source: str) -> dict[str, bytes]:
    """A package's files by their names in it. The Python client comes along as source, since no index has it."""
    folder = HERE / source
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if _is_packed(path)}
    paths |= {f"stacksona/{path.name}": path for path in SDK.iterdir() if path.suffix == ".py"}
    paths["LICENSE"] = ROOT / "LICENSE"
    missing = [name for name in NEEDED if name not in paths]
    if missing:
        raise SystemExit(f"{source}: {', '.join(missing)} is missing")
    # Line ends as they are in the repository, whatever a checkout made of them.
    return {name: paths[name].read_bytes().replace(b"\r\n", b"\n") for name in sorted(paths)}


def _is_packed(path: Path) -> bool:
    return path.is_file() and path.suffix in KINDS and "__pycache__" not in path.parts


def packed(files: dict[str, bytes]) -> bytes:
    """The zip: sorted names with forward slashes, one time for all, no entries for folders. Stored, not compressed:
    what compressing gives depends on the library's version."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr, entry.create_system = _FILE, _UNIX
            archive.writestr(entry, files[name])
    return out.getvalue()


def identifier(files: dict[str, bytes]) -> str:
    """``author/name:version@checksum``, by which Dify knows a package."""
    manifest = files["manifest.yaml"].decode()
    author, name, version = (_member(manifest, key) for key in ("author", "name", "version"))
    hashes = (hashlib.sha256(one.encode()).digest() + hashlib.sha256(files[one]).digest() for one in sorted(files))
    return f"{author}/{name}:{version}@{hashlib.sha256(b''.join(hashes)).hexdigest()}"


def file_name(files: dict[str, bytes]) -> str:
    """``name-version.difypkg``"""
    manifest = files["manifest.yaml"].decode()
    return f"{_member(manifest, 'name')}-{_member(manifest, 'version')}.difypkg"


def _member(manifest: str, name: str) -> str:
    found = re.search(rf"^{name}: *(\S+)$", manifest, re.MULTILINE)
    if found is None:
        raise SystemExit(f"the manifest has no {name}")
    return found[1]


def pack(folder: Path) -> list[Path]:
    """Writes both packages. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source in SOURCES:
        files = contents(source)
        path = folder / file_name(files)
        path.write_bytes(packed(files))
        sys.stdout.write(f"{path}\n  {identifier(files)}\n")
        written.append(path)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    pack(Path(sys.argv[1]))
