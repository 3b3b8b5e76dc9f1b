"""A version's description in MLflow: a block of Markdown from its tags and metrics, within text that people wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping

BEGIN, END = "<!-- flightdeck: made from tags and metrics, and written again -->", "<!-- end of flightdeck -->"
SPAN = "`[^`\\n]*`"
HEAD = f"{SPAN}(?:, on what was known by {SPAN})? {re.escape(BEGIN)}"  # BEGIN is not first: lists show the beginning
BLOCK = re.compile(f"{HEAD}(?:(?!{re.escape(BEGIN)}).)*?{re.escape(END)}", re.DOTALL)
ROLLOUT = {  # of the judge's last decision, by the line that shows it
    "Rule": "rollout.rule",
    "Evidence": "rollout.evidence",
    "Next": "rollout.next",
}
METRICS = ("roc_auc", "log_loss", "brier")
LONGEST, LONGEST_TEXT = 80, 300  # characters of one value; the tag has all of it
LIMIT = 5000  # characters that MLflow's database holds


def block(tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """One line that ends with BEGIN, a short list, and END; long reasons stay in the tags."""
    knowledge = f", on what was known by {_code(tags['as_of'])}" if "as_of" in tags else ""
    values = ", ".join(f"{_code(name)} {metrics[name]:.4f}" for name in METRICS if name in metrics)
    facts = {"Test window": values or "not measured"}
    if "decision_id" in tags:
        facts["Gate"] = f"passed by decision {_code(tags['decision_id'])}"
    if "parent_version" in tags:
        facts["Champion before"] = f"version {_code(tags['parent_version'])}"
    if "rollout.verdict" in tags:
        facts["Rollout"] = f"{_code(tags.get('rollout.name', ''))} ended with {_code(tags['rollout.verdict'])}"
        facts["Rollout"] += "; see the tag `rollout.reason`"
        facts |= {head: _text(tags[tag]) for head, tag in ROLLOUT.items() if tags.get(tag)}
    if "verify.verdict" in tags:
        facts["Built again"] = f"{_code(tags['verify.verdict'])}; see the tag `verify.why`"
    line = f"{_code(tags.get('family', 'model'))}{knowledge} {BEGIN}"
    return "\n".join((line, "", *(f"- {name}: {value}" for name, value in facts.items()), "", END))


def insert_block(text: str, block_text: str) -> str:
    """A description with its block replaced by `block_text`, or with the block after the text if it has none yet.

    Text outside the block stays; idempotent. If the result is too long for MLflow, the description stays as it is, and
    only the tags have the news.
    """
    result = (
        BLOCK.sub(lambda _: block_text, text)
        if BLOCK.search(text)
        else f"{text}\n\n{block_text}"
        if text
        else block_text
    )
    return result if len(result) <= LIMIT else text


def _text(value: str) -> str:
    """A value as text in which nothing is markup."""
    plain = " ".join(re.sub(r"[`<>*_\[\]#|\\]", " ", value).split())
    return plain if len(plain) <= LONGEST_TEXT else plain[: LONGEST_TEXT - 1] + "…"


def _code(value: str) -> str:
    """A value as a code span, in which nothing is markup."""
    plain = " ".join(re.sub(r"[`<>]", " ", value).split()) or "-"
    return f"`{plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + '…'}`"
