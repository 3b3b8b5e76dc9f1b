"""pip's configuration is passed to uv, and the compiled pins fit every machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from infra import install
from infra.install import REPO, portable, uv_variables


@pytest.mark.parametrize("level", ["global", "install", ":env:"])
def test_find_links_of_every_level_reach_uv(tmp_path: Path, level: str) -> None:
    assert uv_variables(f"{level}.find-links='{tmp_path}'\n", {}) == {"UV_FIND_LINKS": str(tmp_path)}


def test_a_variable_outranks_the_install_section_and_that_outranks_global(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    lines = [
        f":env:.find-links='{tmp_path}/c'",
        f"install.find-links='{tmp_path}/b'",
        f"global.find-links='{tmp_path}/a'",
    ]
    links = [uv_variables("\n".join(lines[start:]), {})["UV_FIND_LINKS"] for start in range(3)]
    assert links == [f"{tmp_path}/c", f"{tmp_path}/b", f"{tmp_path}/a"]


def test_several_find_links_are_passed_in_the_format_of_uv(tmp_path: Path) -> None:
    other = tmp_path / "other wheels"
    other.mkdir()
    config = f"global.find-links='\\n{tmp_path}\\n{other.as_uri()}\\nhttps://example.org/links.html'"
    assert uv_variables(config, {})["UV_FIND_LINKS"] == f"{tmp_path},{other},https://example.org/links.html"


def test_find_links_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    config = f"global.find-links='{gone}'\nglobal.extra-index-url='{gone.as_uri()}'\nglobal.index-url='{gone}'"
    assert uv_variables(config, {}) == {}


def test_indexes_have_the_same_meaning_as_in_pip(tmp_path: Path) -> None:
    extra = f"https://b.example/simple {tmp_path.as_uri()}"
    config = f"global.index-url='https://a.example/simple'\nglobal.extra-index-url='{extra}'"
    assert uv_variables(config, {}) == {
        "UV_DEFAULT_INDEX": "https://a.example/simple",
        "UV_INDEX": extra,
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_variables_set_for_uv_itself_are_kept(tmp_path: Path) -> None:
    assert uv_variables(f"global.find-links='{tmp_path}'", {"UV_FIND_LINKS": "/mine"}) == {}


def test_without_configuration_nothing_is_passed_on() -> None:
    assert uv_variables("", {}) == {}


def test_pins_name_no_accelerator_library_and_no_local_version() -> None:
    accelerators = "nvidia-cublas==13.1\ncuda-bindings==13.0\ntriton==3.7 ; sys_platform == 'linux'\n"
    assert portable(f"numpy==2.4.6\n{accelerators}torch==2.13.0+cpu\n") == "numpy==2.4.6\ntorch==2.13.0\n"


def test_the_committed_pins_are_portable() -> None:
    pins = (REPO / "requirements.txt").read_text()
    assert portable(pins) == pins
    assert not re.search(r"^-|://|^\S+ @ ", pins, re.MULTILINE)
    assert all("==" in line for line in pins.splitlines())


def test_an_install_is_quiet_by_default_and_shows_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = tmp_path / "bin" / "uv"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --quiet ] || echo " + package==1"\nsleep 0.3\n'
        'case "$*" in *broken*) echo "no such package" >&2; exit 2;; esac\n'
    )
    fake.chmod(0o755)
    monkeypatch.setattr(install, "VENV", tmp_path)
    monkeypatch.setattr(install, "ALIVE", 0.1)
    install.uv(["pip", "install"], {"PATH": os.defpath})
    out = capfd.readouterr().out
    assert "package" not in out and "still running" in out
    install.uv(["pip", "install"], {"PATH": os.defpath, install.VERBOSE: "1"})
    assert "+ package==1" in capfd.readouterr().out
    with pytest.raises(subprocess.CalledProcessError):
        install.uv(["pip", "install", "broken"], {"PATH": os.defpath})
    assert "no such package" in capfd.readouterr().err
