"""The DVC repository around a local store: one cache, one remote, one pointer file for each version. No git.

A version's pointer lies in `versions/<md5>/raw.dvc`: `dvc pull` there restores exactly that version, and `dvc gc -w`
keeps it. A pointer is written last, when cache and remote hold every object of its version.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from configobj import ConfigObj
from dvc.config import ConfigError
from dvc.lock import LockError
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_objects.fs.local import LocalFileSystem
from filelock import FileLock

from pipelines.environment import restoring
from pipelines.errors import FlightdeckError, InvalidInput, MissingData

if TYPE_CHECKING:
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    from pipelines.context import Context

ATTEMPTS = 10  # at reading a folder whose files are being replaced
OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")
CONFIG = {
    "core": {
        "no_scm": "true",
        "analytics": "false",
        "check_update": "false",
        "autostage": "false",
        "remote": "versions",
    }
}
HEAD = "# Written by Flightdeck. Settings of your own, such as credentials of the remote, go to config.local beside it."


@contextmanager
def open_repository(context: Context) -> Iterator[DataRepository]:
    """The repository of a context's store, created if need be. It is locked: DVC allows one process at a time.

    Raises:
        InvalidInput: if the store is no local folder.
    """
    root = local_root(context)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".dvc.lock"):
        _configure(root, context.settings.versions_remote)
        try:
            with _alone(root), Repo(str(root)) as repo, repo.lock:
                yield DataRepository(root, repo)
        except ConfigError as error:
            raise InvalidInput(f"FLIGHTDECK_DVC_REMOTE is no remote that DVC knows ({error}); correct it") from None
        except LockError:
            raise FlightdeckError(f"another DVC command is at work in {root}; try again when it has ended") from None


def local_root(context: Context) -> Path:
    """The folder of a context's store.

    Raises:
        InvalidInput: if it is on an object store.
    """
    if not context.data.store.local:
        raise InvalidInput(
            f"FLIGHTDECK_STORE_URI={context.settings.store}: DVC gives versions to local folders only; keep the store "
            "in one, and name the object store in FLIGHTDECK_DVC_REMOTE, to which every version is pushed"
        )
    return Path(context.data.store.root).absolute()


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Inside, DVC reads this repository's settings and no others: the user's or machine's may name another cache.

    Its cache of known hashes lies in the repository too, so that it moves and disappears with it.
    """
    nowhere, site = str(root / ".dvc" / "no-settings"), str(root / ".dvc" / "site")
    with restoring(DVC_GLOBAL_CONFIG_DIR=nowhere, DVC_SYSTEM_CONFIG_DIR=nowhere, DVC_SITE_CACHE_DIR=site):
        yield


def _configure(root: Path, remote: str) -> None:
    """Write DVC's settings; a remote on this machine is a relative path, so that the home can be moved."""
    config = root / ".dvc" / "config"
    url = remote if "://" in remote else os.path.relpath(remote, config.parent)
    settings = ConfigObj({**CONFIG, 'remote "versions"': {"url": url}}, interpolation=False, indent_type="    ")
    settings.initial_comment = [HEAD]
    text = "\n".join(settings.write()) + "\n"
    if config.exists() and config.read_text() == text:
        return
    config.parent.mkdir(exist_ok=True)
    _replace_text(config, text)


def pointer_of(version: str, root: Path) -> Path:
    """Where the pointer of a version lies."""
    return root / "versions" / version.removesuffix(".dir") / "raw.dvc"


def versions_in(root: Path) -> dict[str, int]:
    """Every version that has a pointer, and how many files it has."""
    pointers = sorted((root / "versions").glob("*/raw.dvc"))
    outs = [yaml.safe_load(pointer.read_text())["outs"][0] for pointer in pointers]
    return {str(out["md5"]): int(out["nfiles"]) for out in outs}


def _replace_text(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text)
    os.replace(beside, path)


class DataRepository:
    """An open repository. Hashes are md5; a version is the hash of a tree, which ends in `.dir`.

    Attributes:
        cache: the objects on this machine, read-only files named by their hashes.
    """

    def __init__(self, root: Path, repo: Repo) -> None:
        self.root, self.repo = root, repo
        self.cache: HashFileDB = repo.cache.local

    @cached_property
    def remote(self) -> HashFileDB:
        """The objects at the DVC remote."""
        with _using_remote():
            return self.repo.cloud.get_remote_odb("versions")

    # ---- in

    def keep(self, folder: Path, before: str | None = None) -> tuple[str, int]:
        """Add a folder to the cache, push it, and write its pointer; returns its version and the number of its files.

        Only files that changed are hashed: DVC's state knows the others by inode, time and size. A call after one that
        was killed has the same result.

        Args:
            before: an earlier version. If the remote has it, its objects are not looked up there again.

        Raises:
            MissingData: if there is no such folder.
            FlightdeckError: if the remote cannot be used, or the files are replaced faster than they can be read.
        """
        meta, tree = self._add(folder)
        version, objects = str(tree.oid), set(_hashes(tree))
        pointer = pointer_of(version, self.root)
        there = self._at_remote({version, before or version})
        if version not in there:
            pushed = set(self.tree(before).values()) if before and before in there else set()
            self._push(objects - pushed)
            self._push({version})  # last: a tree at the remote implies that its files are there
        out = {"md5": version, "size": meta.size, "nfiles": len(tree), "hash": "md5", "path": folder.name}
        pointer.parent.mkdir(parents=True, exist_ok=True)
        _replace_text(pointer, yaml.safe_dump({"outs": [out]}, sort_keys=False))
        return version, len(tree)

    def _add(self, folder: Path) -> tuple[Meta, Tree]:
        """Add a folder's files to the cache and return its tree; every cached file matches its hash.

        A file may be replaced between hashing and copying, and DVC would keep the new content under the old hash. So
        every copy is hashed too (`verify`); if one differs, it is dropped and the folder is read again.
        """
        here = LocalFileSystem()
        for _ in range(ATTEMPTS):
            try:
                _, meta, tree = build(self.cache, os.path.abspath(folder), here, "md5")
                lacking = self._lacking(_hashes(tree))
                new = {
                    str(digest.value): os.path.join(folder, *key) for key, _, digest in tree if digest.value in lacking
                }
                self.cache.add([*new.values()], here, [*new], verify=True)
            except FileNotFoundError:  # a file that disappeared meanwhile
                if folder.is_dir():
                    continue
                raise MissingData(f"{folder} does not exist; ingest a window first") from None
            if not self._lacking(new):
                self.cache.add(tree.path, tree.fs, tree.oid)
                return meta, tree
        raise FlightdeckError(
            f"{folder} changed {ATTEMPTS} times while it was read; take the snapshot when ingestion has ended"
        )

    def _push(self, objects: Collection[str]) -> None:
        new = sorted(set(objects) - self._at_remote(objects))
        with _using_remote():
            self.remote.add([self.cache.oid_to_path(value) for value in new], self.cache.fs, new)

    # ---- out

    def tree(self, version: str) -> dict[str, str]:
        """Relative path -> hash of every file of a version.

        Raises:
            MissingData: if neither the cache nor the remote has the version.
        """
        where = self.fetch([version])[version]
        return {entry["relpath"]: entry["md5"] for entry in json.loads(where.read_bytes())}

    def fetch(self, objects: Collection[str]) -> dict[str, Path]:
        """The paths of these objects in the cache; those that it lacks are pulled from the remote first.

        Raises:
            MissingData: if the remote lacks one too, or its copy is altered.
        """
        if lacking := self._lacking(objects):
            there = sorted(self._at_remote(lacking))
            with _using_remote():
                self.cache.add([self.remote.oid_to_path(value) for value in there], self.remote.fs, there, verify=True)
            if lacking := self._lacking(lacking):
                raise MissingData(
                    f"{len(lacking)} objects are neither in the cache nor, unaltered, at the DVC remote "
                    f"(FLIGHTDECK_DVC_REMOTE); the first is {min(lacking)}"
                )
        return {value: Path(self.cache.oid_to_path(value)) for value in objects}

    def _lacking(self, objects: Collection[str]) -> set[str]:
        """The objects that the cache lacks. One that is not read-only is hashed, and dropped if it differs."""
        hashes = set(objects)
        return hashes.difference(self.cache.oids_exist(hashes))

    def _at_remote(self, objects: Collection[str]) -> set[str]:
        if not objects:
            return set()
        with _using_remote():
            return set(self.remote.oids_exist(set(objects)))

    # ---- away

    def present(self, versions: Collection[str], remote: bool) -> set[str]:
        """Those of these versions whose trees are in the cache or, if `remote`, at the remote."""
        return (set(versions) - self._lacking(versions)) | (self._at_remote(versions) if remote else set())

    def require_own_cache(self) -> None:
        """Raises InvalidInput where the cache lies outside the store: it may hold data of others."""
        place = Path(self.cache.path).resolve()
        if not place.is_relative_to(self.root.resolve()):
            raise InvalidInput(
                f"the DVC cache of {self.root} is {place}, where others may keep data of theirs, so nothing is "
                f"removed; take cache.dir out of {self.root / '.dvc' / 'config.local'}"
            )

    def remove(self, objects: Collection[str], remote: bool, dry_run: bool) -> dict[str, int]:
        """Remove objects from the remote, or from the cache together with leftovers of killed processes.

        At the remote trees go first, since a tree there implies that its files are there; in the cache they go last, so
        that a removal that was killed can be completed.

        Returns:
            The number of files and of bytes freed.
        """
        place = self.remote if remote else self.cache
        there = self._at_remote(objects) if remote else set(objects) - self._lacking(objects)
        ordered = sorted(there, key=lambda value: value.endswith(".dir") is not remote)
        paths = [*([] if remote else self._leftovers()), *map(place.oid_to_path, ordered)]
        with _using_remote() if remote else nullcontext():
            sizes = [place.fs.size(path) or 0 for path in paths]
            for path in [] if dry_run else paths:
                place.fs.remove(path)
        return {"files": len(paths), "bytes": sum(sizes)}

    def _leftovers(self) -> list[str]:
        """Incomplete copies: until a copy is complete, DVC gives it a name that no object has."""
        return [str(path) for path in Path(self.cache.path).glob("??/*") if not OBJECT.fullmatch(path.name)]


def _hashes(tree: Tree) -> list[str]:
    return [str(digest.value) for _, _, digest in tree]


@contextmanager
def _using_remote() -> Iterator[None]:
    """Turn the errors of any kind of remote into ours. The URI is not shown: it may hold a password."""
    try:
        yield
    except Exception as error:
        raise FlightdeckError(
            f"the DVC remote (FLIGHTDECK_DVC_REMOTE) cannot be used: {error!r}; correct it, or try again"
        ) from error
