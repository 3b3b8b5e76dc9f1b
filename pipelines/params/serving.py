"""`serving` of params.yaml: what a prediction waits for, and what it does without."""

from __future__ import annotations

from typing import Literal

from pipelines.params.section import Positive, Section

Choice = Literal["refuse", "missing"]


class Serving(Section):
    """The model server's answers where something is late or lacking.

    Attributes:
        when_store_fails: `refuse` calls with 503 while the online store does not answer, or score on `missing` values.
        when_stale: the same for requests of which a stored row is older than its view's ttl, or of the future.
        store_wait_ms: that a read of the online store may take; one that takes longer has failed.
        shadow_wait_ms: that an answer of the champion may wait for the challenger; 5 ms and 0.05 for each row once
            three of its runs in a row took more than 5 ms. Then its score of these requests is left out, and the judge
            holds where that is more than `rollout.watch.max_unscored_share`.
        challenger_wait_ms: that the challenger's own answers may wait for it; then it has failed on them.
    """

    when_store_fails: Choice = "refuse"
    when_stale: Choice = "missing"
    store_wait_ms: Positive = 1000
    shadow_wait_ms: Positive = 50
    challenger_wait_ms: Positive = 1000
