"""Removing the versions that nobody needs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import InvalidInput, MissingData
from pipelines.ingestion.repository import pointer_of, versions_in
from pipelines.ingestion.retention import needed
from pipelines.ingestion.versions import is_version

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ingestion.repository import Repository


@dataclass(frozen=True)
class Collected:
    """What was kept and removed, or would be.

    Attributes:
        kept: version -> who needs it.
        removed: versions whose pointers went.
        freed: place (cache, remote) -> files and bytes.
    """

    kept: dict[str, list[str]]
    removed: list[str]
    freed: dict[str, dict[str, int]]


def collect(context: Context, repository: Repository, keep: int, remote: bool, dry_run: bool) -> Collected:
    """Remove this use case's versions that nobody needs: their pointers, then the objects that only they have.

    The caller holds the store alone. Killed and run again, it goes on where it was. A version that is not in the
    records stays, since nothing says whose it is.

    Args:
        keep: of how many snapshots, counted from the newest, the versions stay.
        remote: whether their objects go from the DVC remote too.
        dry_run: only say what would go.

    Raises:
        InvalidInput: if `keep` is less than 1, or the cache may be others' too.
        FlightdeckError: if it cannot be known what is needed, and then nothing was removed.
    """
    if keep < 1:
        raise InvalidInput(f"--keep {keep}: the newest snapshot always stays; give 1 or more")
    repository.require_own_cache()
    taken = context.snapshots.taken()
    ours = dict.fromkeys(snapshot.version for snapshot in taken)
    needs = {version: why for version, why in needed(context, taken, keep).items() if is_version(version)}
    pointers = versions_in(repository.root)
    kept = {
        version: needs.get(version, ["not in the records"])
        for version in pointers
        if version in needs or version not in ours
    }
    used = {value for version in kept for value in (version, *repository.tree(version).values())}
    for version in needs.keys() - kept.keys():  # its pointer was lost; what is left of it stays
        used |= _objects(repository, version)
    others = [version for version in ours if version not in needs]
    left = repository.present(others, remote)  # more than have pointers, where a removal was killed or left the remote
    unused = _all_objects(repository, left) - used

    removed = [version for version in others if version in pointers]
    if not dry_run:
        for version in removed:
            pointer_of(version, repository.root).unlink()
    freed = {"remote": repository.remove(unused, remote=True, dry_run=dry_run)} if remote else {}
    freed["cache"] = repository.remove(unused, remote=False, dry_run=dry_run)
    return Collected(kept, removed, freed)


def _all_objects(repository: Repository, versions: Iterable[str]) -> set[str]:
    return set().union(*(_objects(repository, version) for version in versions))


def _objects(repository: Repository, version: str) -> set[str]:
    """A version's tree and files; none where the tree is no more."""
    with suppress(MissingData):
        return {version, *repository.tree(version).values()}
    return set()
