"""The sticky split of requests between champion and challenger.

An entity's place depends on the rollout and the entity alone: the same in every process, independent between rollouts,
and monotone in the share, so that a ramp only ever moves entities from the champion to the challenger.
"""

from __future__ import annotations

from hashlib import blake2b

PLACES = 2**64


def place(rollout_id: str, entity: str) -> int:
    """The entity's place in range(2**64), uniform over entities."""
    return int.from_bytes(blake2b(f"{rollout_id}\x1f{entity}".encode(), digest_size=8).digest(), "big")


def serves_challenger(rollout_id: str, entity: str, share: float) -> bool:
    """Whether the challenger answers this entity while it has `share` (0 to 1) of the traffic.

    Compared as integers: the highest places divided by 2**64 round to 1.0, which a share of 1 must include.
    """
    return place(rollout_id, entity) < share * PLACES
