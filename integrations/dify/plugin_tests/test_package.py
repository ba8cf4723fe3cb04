"""The packages: the same bytes each time, and what the marketplace and the daemon ask of them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from integrations.dify import pack
from integrations.dify.plugin_tests.local import LocalPlugin

Json = dict[str, Any]
SOURCES = pytest.mark.parametrize("source", pack.SOURCES)


def read(source: str, name: str) -> Any:
    return yaml.safe_load(pack.contents(source)[name])


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    hashes = []
    for number, zone in enumerate(("UTC", "Asia/Tokyo")):
        out = tmp_path / str(number)
        done = subprocess.run(
            [sys.executable, pack.__file__, out],
            env=os.environ | {"TZ": zone, "PYTHONHASHSEED": str(number)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()})
        assert "stacksona/stacksona_gate:0.1.0@" in done.stdout
    assert hashes[0] == hashes[1]
    assert set(hashes[0]) == {"stacksona_gate-0.1.0.difypkg", "stacksona_gate_trigger-0.1.0.difypkg"}


@SOURCES
def test_the_zip_is_plain(source: str) -> None:
    with zipfile.ZipFile(io.BytesIO(pack.packed(pack.contents(source)))) as archive:
        names = [entry.filename for entry in archive.infolist()]
        assert archive.testzip() is None
    assert names == sorted(names)
    assert not [name for name in names if name.endswith("/") or "\\" in name or name.startswith(("/", "."))]
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".env"))]


@SOURCES
def test_a_file_that_was_touched_or_has_other_line_ends_changes_nothing(source: str) -> None:
    files = pack.contents(source)
    assert not [name for name, content in files.items() if b"\r\n" in content]
    assert pack.identifier(files) == pack.identifier(dict(reversed(files.items())))


@SOURCES
def test_the_manifest_is_what_the_marketplace_asks_for(source: str) -> None:
    manifest, files = read(source, "manifest.yaml"), pack.contents(source)
    assert (manifest["type"], manifest["author"]) == ("plugin", "stacksona")
    assert manifest["meta"]["runner"] == {"language": "python", "version": "3.12", "entrypoint": "main"}
    assert manifest["meta"]["arch"] == ["amd64", "arm64"]
    for icon in (manifest["icon"], manifest["icon_dark"]):
        picture = files[f"_assets/{icon}"]
        assert ElementTree.fromstring(picture).tag.endswith("svg")  # noqa: S314 — our own file
        assert b"<script" not in picture
    assert len(files[manifest["privacy"]]) > 200
    assert len(files["README.md"]) > 500
    assert files["README.md"].isascii() or b"\xe2\x80\xa6" in files["README.md"]  # English


@SOURCES
def test_the_sdk_is_new_enough_for_the_marketplace(source: str) -> None:
    assert b"dify_plugin>=0.10.2,<0.11" in pack.contents(source)["requirements.txt"].splitlines()


def test_a_trigger_stands_alone() -> None:
    assert set(read("trigger", "manifest.yaml")["plugins"]) == {"triggers"}
    assert set(read("plugin", "manifest.yaml")["plugins"]) == {"tools"}


@SOURCES
def test_nothing_of_the_gate_is_packed_but_its_client(source: str) -> None:
    files = pack.contents(source)
    assert [name for name, content in files.items() if b"stacksona_gate." in content and name.endswith(".py")] == []
    client = {path.name: path.read_bytes() for path in pack.SDK.glob("*.py")}
    assert {name.removeprefix("stacksona/"): one for name, one in files.items() if "stacksona/" in name} == client


def test_every_tool_is_in_the_manifest_with_its_source() -> None:
    files = pack.contents("plugin")
    named = read("plugin", "provider/stacksona_gate.yaml")["tools"]
    assert sorted(named) == sorted(name for name in files if name.startswith("tools/") and name.endswith(".yaml"))
    for name in named:
        assert read("plugin", name)["extra"]["python"]["source"] in files


def test_what_the_operator_sets_is_no_parameter_of_the_models() -> None:
    for name in read("plugin", "provider/stacksona_gate.yaml")["tools"]:
        tool = read("plugin", name)
        forms = {one["name"]: one["form"] for one in tool["parameters"]}
        fixed = {"tool_name", "occurrence", "risk_level", "workflow_name", "metadata", "expires_in", "wait_seconds"}
        assert {forms[one] for one in fixed & set(forms)} <= {"form"}
        for one in tool["parameters"]:
            assert ("llm_description" in one) == (one["form"] == "llm")
        assert len(tool["description"]["llm"]) > 40


def test_both_start_under_the_real_sdk(plugin: LocalPlugin, trigger: LocalPlugin) -> None:
    assert (plugin.manifest["name"], trigger.manifest["name"]) == ("stacksona_gate", "stacksona_gate_trigger")
