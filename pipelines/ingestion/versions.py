"""Data versions by DVC, without git: one repository around the store, one pointer file for each version.

A version is DVC's hash of the folder (`<md5>.dir`). Its pointer lies in `versions/<md5>/raw.dvc`: `dvc pull` there
restores exactly that version, and `dvc gc -w` keeps it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import yaml
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.local import LocalFileSystem
from filelock import FileLock

from pipelines.errors import MissingData


def version_of(folder: Path) -> tuple[str, int]:
    """DVC's hash of a folder and the number of its files, computed without writing anything.

    Raises:
        MissingData: if there is no such folder.
    """
    if not folder.is_dir():
        raise MissingData(f"{folder} does not exist; ingest a window first")
    filesystem = LocalFileSystem()
    nowhere = HashFileDB(filesystem, str(folder.parent / ".unused"))
    _, _, tree = build(nowhere, str(folder), filesystem, "md5", dry_run=True)
    return str(tree.hash_info.value), len(tree)


def keep_version(folder: Path, root: Path, remote: str) -> tuple[str, int]:
    """Add a folder to the repository at `root`, push it, leave the version's pointer; as `version_of`.

    Concurrent callers wait for one another: DVC allows one at a time. A file that appears meanwhile is in the version
    or not; the version that is given says which.
    """
    with FileLock(root / ".dvc.lock"):
        version, files = version_of(folder)
        if pointer_of(version, folder, root).exists():
            return version, files
        with warnings.catch_warnings(), _open(root, remote) as repo:
            warnings.simplefilter("ignore", DeprecationWarning)  # DVC's own
            repo.add(str(folder))
            repo.push(targets=[f"{folder}.dvc"])
        added = folder.with_name(f"{folder.name}.dvc").read_text()
        (out,) = yaml.safe_load(added)["outs"]
        pointer = pointer_of(out["md5"], folder, root)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        beside = pointer.with_suffix(".tmp")
        beside.write_text(added)
        beside.replace(pointer)
    return str(out["md5"]), int(out["nfiles"])


def pointer_of(version: str, folder: Path, root: Path) -> Path:
    """Where the pointer file of a version lies."""
    return root / "versions" / version.removesuffix(".dir") / f"{folder.name}.dvc"


def _open(root: Path, remote: str) -> Repo:
    if not (root / ".dvc" / "config").exists():
        Repo.init(str(root), no_scm=True, force=True).close()
    repo = Repo(str(root))
    with repo.config.edit() as config:
        config["core"].update({"analytics": False, "check_update": False, "remote": "versions", "autostage": False})
        config["remote"]["versions"] = {"url": remote}
    return repo
