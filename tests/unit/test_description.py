"""The generated block in a version's description, and text of users around it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.tracking.description import BEGIN, BLOCK, END, block, insert_block

LETTERS = "aé1 `<>*_[]()#|!-\\\n\r\t\x1c\x85\u2028"  # characters that have a meaning in markup or break lines
VALUES = st.one_of(
    st.text(LETTERS, max_size=200), st.sampled_from([END, BEGIN, f"`{END}", "a\n- b", "[x](y)", "<b>", "`", ""])
)
TAGS = st.dictionaries(
    st.sampled_from(["family", "as_of", "decision_id", "parent_version", "rollout.verdict", "rollout.name",
                     "verify.verdict"]), VALUES)  # fmt: skip
NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([float("nan"), float("inf")]))
METRICS = st.dictionaries(st.sampled_from(["roc_auc", "log_loss", "brier", "other"]), NUMBERS)
TEXT = st.lists(st.one_of(st.text(LETTERS, max_size=20), st.sampled_from([BEGIN, END])), max_size=4).map("".join)


@given(TAGS, METRICS)
def test_the_block_is_one_line_and_a_list_of_short_items_whatever_the_tags(
    tags: dict[str, str], metrics: dict[str, float]
) -> None:
    text = block(tags, metrics)
    line, empty, *items, blank, last = text.splitlines()
    assert (empty, blank, last) == ("", "", END) and line.endswith(BEGIN) and BLOCK.fullmatch(text)
    line = line.removesuffix(BEGIN)
    assert line.startswith("`") and all(item.startswith("- ") and len(item) < 250 for item in items)
    assert all(one.count("`") % 2 == 0 and "<" not in one for one in (line, *items))


@given(TEXT, TAGS, TAGS)
def test_rewriting_changes_the_block_only(text: str, one: dict[str, str], two: dict[str, str]) -> None:
    first, second = block(one, {}), block(two, {"brier": 0.1})
    once = insert_block(text, first)
    assert insert_block(once, first) == once and first in once
    again = insert_block(once, second)
    assert again == insert_block(text, second) and insert_block(again, first) == once
    assert BLOCK.sub("", again).strip() == BLOCK.sub("", text).strip(), "text of users is kept"


def test_a_text_that_leaves_no_room_is_kept_unchanged() -> None:
    assert insert_block("x" * 4990, block({}, {})) == "x" * 4990
    assert len(insert_block("x" * 4000, block({}, {}))) <= 5000
