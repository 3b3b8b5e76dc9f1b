"""Removal of the data versions that nothing needs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import InvalidInput, MissingData
from pipelines.ingestion.repository import pointer_of, versions_in
from pipelines.ingestion.retention import needs_by_version
from pipelines.ingestion.versions import is_version

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ingestion.repository import DataRepository


@dataclass(frozen=True)
class Cleanup:
    """The outcome of a collection, or of its dry run.

    Attributes:
        remaining: version -> who needs it.
        unneeded: versions whose pointers were removed.
        freed: place (cache, remote) -> files and bytes.
    """

    remaining: dict[str, list[str]]
    unneeded: list[str]
    freed: dict[str, dict[str, int]]


def collect(context: Context, repository: DataRepository, keep: int, remote: bool, dry_run: bool) -> Cleanup:
    """Remove this use case's versions that nothing needs: their pointers, then the objects that no other version has.

    The caller holds the store alone. A run after one that was killed completes it. A version that is not in the
    records stays, since its owner is unknown.

    Args:
        keep: the number of newest snapshots whose versions stay.
        remote: whether to remove the objects from the DVC remote too.
        dry_run: report without removing anything.

    Raises:
        InvalidInput: if `keep` is less than 1, or the cache may hold data of others.
        FlightdeckError: if the needed versions cannot be determined; nothing is removed then.
    """
    if keep < 1:
        raise InvalidInput(f"--keep {keep}: the newest snapshot always stays; give 1 or more")
    repository.require_own_cache()
    snapshots = context.snapshots.taken()
    ours = dict.fromkeys(snapshot.version for snapshot in snapshots)
    needs = {version: why for version, why in needs_by_version(context, snapshots, keep).items() if is_version(version)}
    pointers = versions_in(repository.root)
    remaining = {
        version: needs.get(version, ["not in the records"])
        for version in pointers
        if version in needs or version not in ours
    }
    live_objects = {value for version in remaining for value in (version, *repository.tree(version).values())}
    for version in needs.keys() - remaining.keys():  # its pointer is lost; the objects that it still has stay
        live_objects |= _objects(repository, version)
    others = [version for version in ours if version not in needs]
    present = repository.present(
        others, remote
    )  # more than have pointers, after a removal that was killed or spared the remote
    unused = _all_objects(repository, present) - live_objects

    unneeded = [version for version in others if version in pointers]
    if not dry_run:
        for version in unneeded:
            pointer_of(version, repository.root).unlink()
    freed = {"remote": repository.remove(unused, remote=True, dry_run=dry_run)} if remote else {}
    freed["cache"] = repository.remove(unused, remote=False, dry_run=dry_run)
    return Cleanup(remaining, unneeded, freed)


def _all_objects(repository: DataRepository, versions: Iterable[str]) -> set[str]:
    return set().union(*(_objects(repository, version) for version in versions))


def _objects(repository: DataRepository, version: str) -> set[str]:
    """The hashes of a version's tree and files; none where the tree is gone."""
    with suppress(MissingData):
        return {version, *repository.tree(version).values()}
    return set()
