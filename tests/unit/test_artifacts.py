"""Files that cross slices have one type, one name and one reader: each document is read back as it was written."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.artifacts.card import GRAPH, ModelCard
from pipelines.artifacts.document import Document
from pipelines.artifacts.evaluation import SCORED, Evaluation, read_scored, scored_uri
from pipelines.artifacts.feature_report import read_feature_report
from pipelines.artifacts.manifest import Manifest, Origin
from pipelines.artifacts.model import ModelRef, read_model
from pipelines.artifacts.provenance import Machine, Provenance
from pipelines.artifacts.summary import Summary, read_summary
from pipelines.artifacts.trials import Trials
from pipelines.errors import CorruptData, MissingData
from pipelines.store import Store
from tests import artifacts
from tests.conftest import ROOT
from tests.editing import edit, rewrite

FOLDER = "memory"


def provenance(**changes: Any) -> Provenance:
    whole = Provenance.now({"training": {"seed": 1}}, Machine(device="cpu", processes=1, threads=2))
    return whole.model_copy(update=changes)


MAKERS: dict[type[Document], Callable[..., Document]] = {
    Manifest: artifacts.manifest,
    ModelCard: artifacts.model_card,
    Evaluation: artifacts.evaluation,
    Summary: artifacts.summary,
    Provenance: provenance,
}
REQUIRED = [(kind, name) for kind in MAKERS for name, field in kind.model_fields.items() if field.is_required()]
WRONG = [
    (Manifest, lambda m: m.update(as_of="yesterday"), "'yesterday' as as_of "),
    (Manifest, lambda m: m["windows"].update(test=["2024-03-01", "never"]), "'never' as windows.test.1 "),
    (Manifest, lambda m: m["model_inputs"].update(numeric="x"), "'x' as model_inputs.numeric "),
    (ModelCard, lambda m: m.update(threshold=None), "None as threshold "),
    (ModelCard, lambda m: m["training_set"].update(sha256=["a"]), "as training_set.sha256 "),
    (ModelCard, lambda m: m.update(seed="one"), "'one' as seed "),
    (Evaluation, lambda m: m["metrics"].update(roc_auc="good"), "'good' as metrics.roc_auc"),
    (Evaluation, lambda m: m.update(behaviour=[{"name": "a", "kind": "b", "status": "maybe", "rows": 1, "reason": ""}]),
     "'maybe' as behaviour.0.status "),
    (Evaluation, lambda m: m.update(slices={"kind": [{"value": "a", "rows": "few"}]}), "'few' as slices.kind.0.rows "),
    (Summary, lambda m: m.update(window=["2024-04-01", "never"]), "'never' as window.1 "),
    (Summary, lambda m: m.update(n_labelled=None), "None as n_labelled "),
    (Provenance, lambda m: m["machine"].update(threads="all"), "'all' as machine.threads "),
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def written(store: Store, document: Document) -> Path:
    document.write(store, str(store.root))
    return Path(document.place(str(store.root)))


every = pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)


@every
def test_a_document_comes_back_as_it_was_written(store: Store, kind: type[Document]) -> None:
    document = MAKERS[kind]()
    file = written(store, document)
    content = file.read_bytes()
    again = kind.read(store, f"{store.root}/")
    assert again.files == document.files and again.sha256.keys() - again.files.keys() == {kind.FILE}
    assert again.as_json() == json.loads(content) == document.sealed()
    again.write(store, str(store.root))
    assert file.read_bytes() == content, "writing it again gives the same bytes"


@every
def test_a_document_lies_in_a_folder_only_where_its_file_is_identical(store: Store, kind: type[Document]) -> None:
    document, folder = MAKERS[kind](), str(store.root)
    assert not document.lies_in(store, folder)
    file = written(store, document)
    assert document.lies_in(store, folder)
    rewrite(file, lambda content: content.update(since_then={"a": 1}))
    assert not document.lies_in(store, folder), "other code has written more"
    document.write(store, folder)
    edit(file, lambda content: content.update(since_then={"a": 1}))
    assert not document.lies_in(store, folder), "the file was altered"


numbers = st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(st.none() | st.booleans() | numbers | st.text(max_size=5), lambda v: st.lists(v, max_size=3)
                      | st.dictionaries(st.text(max_size=5), v, max_size=3), max_leaves=6)  # fmt: skip
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).flatmap(
    lambda at: st.integers(-12, 14).map(lambda hours: at.replace(tzinfo=timezone(timedelta(hours=hours))).isoformat())
)
days = st.dates().map(str)
hours = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat())
metrics = st.dictionaries(st.text(max_size=5), st.none() | numbers, max_size=4)
windows = st.dictionaries(st.sampled_from(["train", "validation", "test"]), st.tuples(days, days).map(list))
slices = st.lists(
    st.builds(lambda figures, rows: {**figures, "value": "a", "rows": rows}, metrics, st.integers(0, 9)), max_size=3
)
documents = st.one_of(
    st.builds(artifacts.manifest, as_of=instants, windows=windows, releases=st.none() | st.text(max_size=5)),
    st.builds(artifacts.model_card, params=st.dictionaries(st.text(max_size=5), values), refit=st.booleans()),
    st.builds(artifacts.evaluation, metrics=metrics, slices=st.dictionaries(st.text(max_size=5), slices | st.none())),
    st.builds(
        artifacts.evaluation,
        window=st.none() | st.tuples(days, days).map(list),
        intervals=st.dictionaries(st.text(max_size=5), st.tuples(st.none() | numbers, numbers).map(list)),
    ),
    st.builds(
        artifacts.summary,
        window=st.tuples(days, days).map(list) | st.tuples(hours, hours).map(list),
        as_of=instants,
        metrics=metrics,
        score_drift=st.none() | numbers,
    ),
)


@settings(max_examples=60, deadline=None)
@given(documents)
def test_the_values_of_a_document_are_read_exactly_as_written(document: Document) -> None:
    """Numbers keep their type (1 is not 1.0), instants their offset, and absent keys stay absent."""
    content = json.dumps(document.sealed())
    again = type(document).of(json.loads(content), FOLDER)
    assert json.dumps(again.as_json()) == content and again.sealed() == document.sealed()


@every
def test_unknown_keys_of_another_version_are_ignored(store: Store, kind: type[Document]) -> None:
    file = written(store, MAKERS[kind]())
    plain = kind.read(store, str(store.root))
    rewrite(file, lambda document: document.update(since_then={"a": 1}))
    newer = kind.read(store, str(store.root))
    assert newer.model_copy(update={"sha256": {}}) == plain.model_copy(update={"sha256": {}})
    assert "since_then" not in newer.as_json()


@pytest.mark.parametrize(("kind", "name"), REQUIRED, ids=lambda one: getattr(one, "__name__", one))
def test_a_missing_key_is_refused_with_its_place_and_the_remedy(store: Store, kind: type[Document], name: str) -> None:
    file = written(store, MAKERS[kind]())
    if name == "sha256":
        edit(file, lambda document: document.pop(name))
        problem = "lacks sha256" if kind.UNSEALED else "carries no digest of its own"
    else:
        rewrite(file, lambda document: document.pop(name))
        problem = f"lacks {name}"
    with pytest.raises(CorruptData, match=re.escape(f"{file} {problem}; {kind.REMEDY}")):
        kind.read(store, str(store.root))


@pytest.mark.parametrize(("kind", "change", "problem"), WRONG)
def test_a_value_of_another_type_is_refused_with_its_place_and_the_remedy(
    store: Store, kind: type[Document], change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    file = written(store, MAKERS[kind]())
    rewrite(file, change)
    with pytest.raises(CorruptData) as refused:
        kind.read(store, str(store.root))
    assert str(refused.value).startswith(f"{file} has ") and str(refused.value).endswith(f"; {kind.REMEDY}")
    assert problem in str(refused.value)


@every
@pytest.mark.parametrize("content", ["[]", "null", '"text"', "{}"])
def test_a_file_that_is_no_document_is_refused(store: Store, kind: type[Document], content: str) -> None:
    Path(kind.place(str(store.root))).write_text(content)
    with pytest.raises(CorruptData, match=f"; {kind.REMEDY}$"):
        kind.read(store, str(store.root))


@every
def test_an_absent_document_is_missing_data(store: Store, kind: type[Document]) -> None:
    with pytest.raises(MissingData, match=re.escape(kind.place(str(store.root)))):
        kind.read(store, str(store.root))


@every
def test_a_document_is_frozen(kind: type[Document]) -> None:
    document = MAKERS[kind]()
    for name in kind.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(document, name, None)


@every
def test_an_edited_document_is_refused(store: Store, kind: type[Document]) -> None:
    file = written(store, MAKERS[kind]())
    edit(file, lambda document: document.update(since_then=1))
    with pytest.raises(CorruptData, match=rf"was altered.* restore it, or {kind.REMEDY}"):
        kind.read(store, str(store.root))


@every
def test_only_a_manifest_is_read_without_a_digest_of_its_own(store: Store, kind: type[Document]) -> None:
    """Older manifests have none; every other document always had one, or can be written anew."""
    document = MAKERS[kind]()
    file = written(store, document)
    edit(file, lambda value: value["sha256"].pop(kind.FILE))
    if kind is Manifest:
        assert kind.read(store, str(store.root)) == document
        return
    with pytest.raises(CorruptData, match=f"carries no digest of its own; {kind.REMEDY}"):
        kind.read(store, str(store.root))


def test_a_summary_is_read_by_its_own_uri(store: Store) -> None:
    file = written(store, artifacts.summary())
    read = read_summary(store, str(file))
    assert read == Summary.read(store, str(store.root)) and "sha256" not in read.figures
    assert read.tracked == {"roc_auc": 0.7, "roc_auc_drop": 0.0, "score_drift": 0.01, "drift_share": 0.0,
                            "n_labelled": 1000}  # fmt: skip


def test_the_origin_of_a_manifest_leaves_out_its_own_digest(store: Store) -> None:
    written(store, artifacts.manifest())
    manifest = Manifest.read(store, str(store.root))
    trained = artifacts.model_card().training_set
    assert manifest.origin.sha256 == trained.sha256 == manifest.files
    assert all(getattr(manifest.origin, name) == getattr(trained, name) for name in Origin.model_fields)
    assert [str(day) for day in manifest.span] == ["2023-12-01", "2024-04-01"]


def test_a_model_is_read_whole_or_not_at_all(store: Store) -> None:
    uri, graph = str(store.root), b"graph"
    card = artifacts.model_card(sha256={GRAPH: store.sha256(graph)})
    card.write(store, uri)
    with pytest.raises(MissingData, match=GRAPH):
        read_model(store, ModelRef(uri))
    store.write_bytes(f"{uri}/{GRAPH}", graph)
    model = read_model(store, ModelRef(f"{uri}/", card.sha256[GRAPH]))
    assert (model.uri, model.graph, model.sha256) == (uri, graph, card.sha256[GRAPH])
    with pytest.raises(CorruptData, match=f"holds another model than the registered one: .* registered is {'0' * 12};"):
        read_model(store, ModelRef(uri, artifacts.DIGEST))
    store.write_bytes(f"{uri}/{GRAPH}", b"another")
    with pytest.raises(CorruptData, match=r"model\.json names .* restore it or train the model again"):
        read_model(store, ModelRef(uri))
    artifacts.model_card(sha256={}).write(store, uri)
    with pytest.raises(CorruptData, match="names no digest"):
        read_model(store, ModelRef(uri))


def test_scored_rows_are_those_that_the_evaluation_names(store: Store) -> None:
    import pyarrow as pa

    uri = str(store.root)
    digest = store.write_table(scored_uri(uri), pa.table({"score": [0.5]}))
    evaluation = artifacts.evaluation(sha256={SCORED: digest})
    assert read_scored(store, f"{uri}/", evaluation)["score"].tolist() == [0.5]
    for other in ({SCORED: artifacts.DIGEST}, {}):
        with pytest.raises(CorruptData, match=r"is not the file that metrics\.json names; evaluate the model again"):
            read_scored(store, uri, artifacts.evaluation(sha256=other))
    store.delete(scored_uri(uri))
    with pytest.raises(MissingData, match=SCORED):
        read_scored(store, uri, evaluation)


def test_trials_and_reports_come_back_as_they_were_written(store: Store) -> None:
    tried = {"params": {"a": 1}, "validation_log_loss": None, "state": "failed"}
    one = Trials.model_validate({"trials": [tried], "best_trial": 0})
    one.write(store, str(store.root))
    assert Trials.read(store, str(store.root)) == one and one.tried == ()
    assert store.read_json(f"{store.root}/{Trials.FILE}") == {"trials": [tried], "best_trial": 0}
    two = one.model_copy(update={"trials": one.trials * 2})
    assert two.tried == two.trials
    report = artifacts.feature_report(views={"heat": {"verdict": "HOLD", "metrics": {"null_rate": 0.5}}})
    place = f"{store.root}/{report.name}"
    store.write_json(place, report.as_json())
    assert read_feature_report(store, place) == report and report.name == "2024-04-01_2024-04-02.json"
    assert store.read_json(place)["views"]["heat"]["metrics"] == {"null_rate": 0.5}, "figures are kept"
    nothing: list[Any] = [[], {"trials": [{}], "best_trial": 0}]
    for wrong in nothing:
        store.write_json(f"{store.root}/{Trials.FILE}", wrong)
        with pytest.raises(CorruptData, match=r"trials\.json holds no trials .*; train the model again"):
            Trials.read(store, str(store.root))


NAME = re.compile(r"\S*\w\.json")  # names of files have no space; a pattern such as f"{window}.json" is not a name
READ_BY_HAND = re.compile(r"(^|[._])(card|evaluation|manifest|summary|provenance|trials)$")
OUTPUTS = {
    ("__main__.py", "outputs.json"),
    ("console/code.py", "values.json"),
}  # written where their caller says: no artifacts


def outside() -> Iterator[tuple[str, ast.AST]]:
    """Every syntax node of the package outside of `artifacts`, with its file."""
    package = ROOT / "pipelines"
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package)
        if place.parts[0] != "artifacts":
            yield from ((str(place), node) for node in ast.walk(ast.parse(file.read_text())))


def test_files_of_artifacts_are_named_in_one_place() -> None:
    texts = [(file, node.value) for file, node in outside() if isinstance(node, ast.Constant)]
    named = {(file, text) for file, text in texts if isinstance(text, str) and (NAME.fullmatch(text) or SCORED in text)}
    assert len({file for file, _ in texts}) > 100 and named - OUTPUTS == set()


def test_no_artifact_is_read_as_plain_json() -> None:
    subscripts = [
        (file, ast.unparse(node))
        for file, node in outside()
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
        and READ_BY_HAND.search(ast.unparse(node.value))
    ]
    assert subscripts == []
