"""Who was assigned, who failed and who answered are told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.judge_rules import rules
from pipelines.configuration import load_params
from pipelines.deployment.evidence import evidence
from pipelines.deployment.foretold import slice_value
from pipelines.deployment.pairing import Look, paired
from pipelines.deployment.tally import Tally, tally
from pipelines.instants import midnight
from pipelines.judge import Evidence, Judgement, judge_evidence
from pipelines.records import Plan
from pipelines.traffic import serves_challenger
from tests.conftest import TOY
from tests.services import thorough

BEGAN = datetime(2024, 4, 1, tzinfo=UTC)
MATURITY = timedelta(days=1)
STAGES = {"shadow": 0.0, "5": 0.05, "25": 0.25, "50": 0.5, "100": 1.0}
NAMES = list(STAGES)
WATCH = load_params(TOY).rollout.watch
RULES = rules()  # five stages, as here
Fails = Callable[[int], bool]


def never(n: int) -> bool:
    return False


def plan(version: int, stage: str) -> Plan:
    return Plan(version, "r", stage, "1", "u", "s", "2", "u2", "s2", STAGES[stage], BEGAN)


def requests(
    of: Plan, entities: Sequence[str], champion_fails: Fails = never, challenger_fails: Fails = never
) -> pd.DataFrame:
    """What a server logs: the assigned version answers, or the other one where it failed; neither, and it is no row."""
    rows = []
    for n, entity in enumerate(entities):
        failed = {"1": champion_fails(n), "2": challenger_fails(n)}
        if all(failed.values()):
            continue
        first, second = ("2", "1") if serves_challenger("r", entity, of.share) else ("1", "2")
        at = BEGAN + timedelta(seconds=n)
        rows.append(
            {
                "entity": entity,
                "block": at.date().isoformat(),
                "closes_at": midnight(at.date() + timedelta(days=1), "UTC"),
                "predicted_at": at,
                "plan": of.version,
                "share": of.share,
                "served": second if failed[first] else first,
                "scores": {version: None if failed[version] else 0.2 + 0.001 * (n % 7) for version in ("1", "2")},
                "milliseconds": {"1": 1.0, "2": 1.0},
                "errors": {version: "no output" for version in ("1", "2") if failed[version]},
                "label": float(n % 5 == 0),
                "known_at": at + timedelta(hours=12),
            }
        )
    return pd.DataFrame(rows)


def seen(plans: Sequence[Plan], *parts: pd.DataFrame) -> Evidence:
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(**{at: pd.to_datetime(rows[at], utc=True) for at in ("closes_at", "predicted_at", "known_at")})
    now = BEGAN + timedelta(days=9)
    look = Look(now, BEGAN, "1", "2", plans, plans[-1].stage, NAMES, MATURITY, 0.16, 5.0, 100)
    return evidence(tally(paired(rows, look), look, WATCH, Tally()), look, WATCH)


def judged(found: Evidence) -> Judgement:
    return judge_evidence(found, RULES)


def rules_of(judgement: Judgement) -> list[str]:
    """Every rule that applied, in order."""
    return [line.split(" by ")[1].split(":")[0].split(" ")[0] for line in judgement.explanation if " by " in line]


def names(count: int) -> list[str]:
    return [f"pump {n}" for n in range(count)]


def a_tenth(n: int) -> bool:
    return n % 10 == 3


def always(n: int) -> bool:
    return True


@pytest.mark.parametrize("stage", ["5", "25", "50"])
def test_a_champion_that_fails_moves_nobody_to_the_other_arm_and_does_not_hold_its_successor(stage: str) -> None:
    one, healthy = plan(4, stage), seen([plan(4, stage)], requests(plan(4, stage), names(6000)))
    found = seen([one], requests(one, names(6000), champion_fails=a_tenth))
    assert found.split == healthy.split and found.exposure == healthy.exposure
    assert not {"sample_ratio", "misrouted"} & set(rules_of(judged(found)))
    assert len(found.errors.share) == 600 and not found.errors.challenger.any() and found.failures == 0


@pytest.mark.parametrize("fails", [a_tenth, always], ids=["some", "not loaded"])
@pytest.mark.parametrize("stage", ["5", "50", "100"])
def test_a_challenger_that_fails_is_rolled_back_by_its_errors(stage: str, fails: Fails) -> None:
    one = plan(4, stage)
    found = seen([one], requests(one, names(6000), challenger_fails=fails))
    answer = judged(found)
    assert (answer.action, answer.rule) == ("ROLLBACK", "combined_evidence") and "errors" in answer.next_step
    assert not {"sample_ratio", "misrouted"} & set(rules_of(answer))
    assert found.split == seen([one], requests(one, names(6000))).split and found.errors.challenger.all()
    if fails is always:
        assert found.exposure.requests == 0, "the champion answered everything"


def test_of_an_entity_only_the_first_event_counts() -> None:
    """Later ones are not independent of it."""
    one, entities = plan(4, "50"), ["x", "y", "x", "x", "y", "z"]
    found = seen([one], requests(one, entities, lambda n: n in (0, 4), lambda n: n in (1, 2, 3, 4)))
    assert (found.errors.challenger.tolist(), found.trials, found.failures) == ([True, False], 3, 2)


def test_versions_that_fail_alike_are_no_evidence_against_each_other() -> None:
    one = plan(4, "50")
    found = seen([one], requests(one, names(6000), a_tenth, lambda n: n % 10 in (3, 4)))
    both = seen([one], requests(one, names(6000), lambda n: n % 10 in (3, 5), lambda n: n % 10 in (3, 4)))
    assert judged(found).log_e["errors"] > 10 > judged(both).log_e["errors"]
    assert "sample_ratio" not in rules_of(judged(both))


@thorough
def test_a_loss_of_4_percent_of_the_challengers_entities_is_found() -> None:
    one, count = plan(4, "50"), 120_000
    kept = [n for n in names(count) if not (serves_challenger("r", n, 0.5) and int(n.split()[1]) % 25 == 0)]
    found = seen([one], requests(one, kept, champion_fails=a_tenth))
    assert count - len(kept) == pytest.approx(0.04 * count / 2, rel=0.05)
    assert judged(found).rule == "sample_ratio"


def misroute(rows: pd.DataFrame, wrong: Sequence[int], to: str | None = None) -> pd.DataFrame:
    other = rows.served.map({"1": "2", "2": "1"}) if to is None else to
    return rows.assign(served=rows.served.where(~rows.index.isin(wrong), other))


@pytest.mark.parametrize("stage", NAMES)
def test_an_answer_of_the_wrong_version_without_a_failure_is_a_routing_fault(stage: str) -> None:
    one = plan(4, stage)
    rows = requests(one, names(2000), champion_fails=a_tenth, challenger_fails=lambda n: n % 10 == 7)
    assert not seen([one], rows).flags.misrouted
    assert seen([one], misroute(rows, [5])).flags.misrouted
    assert seen([one], misroute(rows, [5], to="9")).flags.misrouted, "a version of no plan"
    well = requests(one, names(2000))
    answer = judged(seen([one], misroute(well, range(0, 2000, 50))))
    assert (answer.action, answer.rule) == ("HOLD", "misrouted") and "flightdeck explain" in answer.next_step


def test_a_row_is_held_against_the_plan_that_it_names() -> None:
    """An entity may be the champion's at 5 % and the challenger's at 50 %: each row has its own plan."""
    early, late = plan(4, "5"), plan(5, "50")
    first, second = requests(early, names(3000)), requests(late, names(6000))
    found = seen([early, late], first, second)
    assert not found.flags.misrouted
    mine = sum(serves_challenger("r", name, 0.05) for name in names(3000))
    new = sum(serves_challenger("r", name, 0.5) for name in names(6000)[3000:])
    assert [vars(count) for count in found.split] == [
        {"share": 0.05, "challenger": mine, "champion": 3000 - mine},
        {"share": 0.5, "challenger": new, "champion": 3000 - new},
    ]
    assert seen([early, late], first.assign(plan=5), second).flags.misrouted


@pytest.mark.parametrize("stage", ["shadow", "100"])
def test_where_all_go_one_way_there_is_no_draw(stage: str) -> None:
    one = plan(4, stage)
    assert seen([one], requests(one, names(500), champion_fails=a_tenth)).split == ()


def test_only_requests_that_were_assigned_to_the_challenger_and_answered_by_it_are_its_exposure() -> None:
    one = plan(4, "25")
    rows = requests(one, names(4000), champion_fails=a_tenth, challenger_fails=lambda n: n % 10 == 7)
    mine = [n for n, name in enumerate(names(4000)) if serves_challenger("r", name, 0.25)]
    assert seen([one], rows).exposure.requests == sum(n % 10 != 7 for n in mine)
    assert (rows.served == "2").sum() > len(mine)


@pytest.mark.parametrize("stage", ["shadow", "25"])
def test_the_judge_holds_where_the_challenger_left_more_than_a_share_unscored(stage: str) -> None:
    """Neither scored nor failed: too late for the answer, which is not at random."""
    one = plan(4, stage)
    rows = requests(one, names(6000), challenger_fails=a_tenth)
    late = rows.index[(rows.served == "1") & rows.errors.map(len).eq(0)]
    most = round(WATCH.max_unscored_share * len(rows))
    assert 0 < most < len(late)

    def without(count: int) -> Evidence:
        of_champion = [{"1": scores["1"]} if n in late[:count] else scores for n, scores in rows.scores.items()]
        return seen([one], rows.assign(scores=pd.Series(of_champion)))

    assert not without(most).flags.missing_data and "missing_data" not in rules_of(judged(without(most)))
    above = without(most + 1)
    assert above.flags.missing_data and "missing_data" in rules_of(judged(above))


@given(st.sampled_from(NAMES), st.integers(1, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_failures_change_neither_the_split_nor_are_they_routing_faults(
    stage: str, seed: int, theirs: float, ours: float
) -> None:
    """Whoever fails how often: of the entities that are in the log, the arms are those of the plan."""
    draw = np.random.default_rng(seed).random((2, 300))
    one = plan(4, stage)
    rows = requests(one, names(300), lambda n: bool(draw[0, n] < theirs), lambda n: bool(draw[1, n] < ours))
    if rows.empty:
        return
    found = seen([one], rows)
    assert not found.flags.misrouted
    for count in found.split:
        mine = sum(serves_challenger("r", entity, one.share) for entity in rows.entity)
        assert (count.challenger, count.champion) == (mine, len(rows) - mine)


def test_a_slice_is_the_same_text_in_a_frame_and_in_a_request() -> None:
    assert [slice_value(one) for one in (7.0, 7, np.float64(7), True, np.bool_(True), "true", 7.5, "AA")] == [
        *("7", "7", "7", "1", "1", "true", "7.5", "AA")
    ]
