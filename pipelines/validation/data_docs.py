"""Data Docs: a table's expectations and their results, as HTML by Great Expectations' own renderers.

The page template is ours: it loads no script or style from elsewhere, so that a page can be read without a network and
shown under another site's address, and the same results give the same bytes.
"""

from __future__ import annotations

import html
import inspect
import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import great_expectations
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, DictLoader

from pipelines.validation.assessment import Assessment, finite, shortened
from pipelines.validation.masks import OwnMask
from pipelines.validation.suite import Check, Result

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 75rem; padding: 0 1rem; }
nav, ul { color: #555; } ul { columns: 4; padding-left: 1.2rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; } h4, h5, h6 { margin: .8rem 0 .2rem; font-size: 1.05rem; }
i.fas { font-style: normal; font-weight: 600; } i.text-success::after { content: "met"; color: #1a7f37; }
i.text-danger::after { content: "failed"; color: #cf222e; } i.text-warning::after { content: "error"; color: #9a6700; }
.collapse, .collapse-toggle { display: block; } .ge-section { margin-bottom: 1rem; }
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1.0">
<title>{{ page_title }}</title><style>{% include 'style.css' %}</style></head>
<body><nav><a href="index.html">All tables of this run</a></nav><h3>{{ page_title }}</h3>
<ul>{% for section in sections %}<li><a href="#section-{{ loop.index }}">{{ section["section_name"] }}</a></li>
{% endfor %}</ul>
{% for section in sections %}{% set section_loop = loop -%}{% include 'section.j2' %}{% endfor %}
</body></html>
"""
UNDRAWN = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1.0">
<title>{title}</title><style>{style}</style></head>
<body><nav><a href="index.html">All tables of this run</a></nav><h3>{title}</h3>
<p>This page could not be drawn ({why}). The report of the run has the results.</p></body></html>
"""
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1.0">
<title>{title}</title><style>{style}</style></head><body><h3>{title}</h3>
<table><tr><th>Table</th><th>Rows</th><th>Quarantined</th><th>Expectations met</th></tr>{rows}</table>
<h4>Reasons</h4>{reasons}</body></html>
"""


def pages(assessments: Mapping[str, Assessment], run: str, at: datetime) -> dict[str, str]:
    """The page of each table; for a page that cannot be rendered, one that says why.

    Args:
        run: the name of the run, such as its window.
        at: the instant of the run.
    """
    view = DefaultJinjaPageView()
    view.env.loader = ChoiceLoader([DictLoader({"page.j2": PAGE, "style.css": STYLE}), view.env.loader])
    numbers = itertools.count(1)
    view.env.filters["generate_html_element_uuid"] = lambda prefix=None: f"{prefix or ''}{next(numbers)}"
    return {name: _page(view, assessment, run, at) for name, assessment in assessments.items()}


def _page(view: DefaultJinjaPageView, assessment: Assessment, run: str, at: datetime) -> str:
    try:
        return str(view.render(_document(assessment, run, at)))
    except Exception as error:  # a failure to render a page must not keep the results from being reported
        why = html.escape(f"{type(error).__name__}: {shortened(str(error))}")
        return UNDRAWN.format(title=html.escape(assessment.table), style=STYLE, why=why)


def _document(assessment: Assessment, run: str, at: datetime) -> Any:
    successes = sum(result.success for result in assessment.results)
    count = len(assessment.results)
    suite = ExpectationSuiteValidationResult(
        success=not assessment.rejections,
        results=[_render(result) for result in assessment.results],
        suite_name=assessment.table,
        statistics={
            "evaluated_expectations": count,
            "successful_expectations": successes,
            "unsuccessful_expectations": count - successes,
            "success_percent": 100 * successes / count if count else None,
        },
        meta={
            "run_id": {"run_name": run, "run_time": at.isoformat()},
            "great_expectations_version": great_expectations.__version__,
        },
    )
    document = ValidationResultsPageRenderer(run_info_at_end=True).render(suite)
    del document.sections[0].content_blocks[0]  # links to pages of suites, which are not built
    return document


def index(title: str, assessments: Mapping[str, Assessment], reasons: Sequence[str]) -> str:
    """The page that links to the tables' pages, which lie beside it."""
    rows = "".join(
        f'<tr><td><a href="{quote(name, safe="")}.html">{html.escape(name)}</a></td><td>{one.rows:,}</td>'
        f"<td>{html.escape(', '.join(f'{reason} {n:,}' for reason, n in one.quarantined.items()) or 'none')}</td>"
        f"<td>{sum(result.success for result in one.results)} of {len(one.results)}</td></tr>"
        for name, one in assessments.items()
    )
    paragraphs = "".join(f"<p>{html.escape(str(shortened(reason)))}</p>" for reason in reasons)
    return INDEX.format(title=html.escape(title), style=STYLE, rows=rows, reasons=paragraphs)


def _render(result: Result) -> Any:
    sample = [value for value in result.sample if value is not None]
    configuration = result.check.expectation.configuration
    configuration.description = describe(result.check)
    return ExpectationValidationResult(
        success=result.success,
        expectation_config=configuration,
        result={**finite(result.observed), "partial_unexpected_list": finite(sample)},
        exception_info={
            "raised_exception": result.error is not None,
            "exception_message": shortened(result.error or ""),
            "exception_traceback": "",
        },
    )


def describe(check: Check) -> str:
    """An expectation in words, with its severity; one of ours by the first paragraph of its docstring."""
    words = check.title
    if check.in_sql or isinstance(check.expectation, OwnMask):
        about = (inspect.getdoc(type(check.expectation)) or check.type).split("\n\n")[0].replace("\n", " ")
        words = f"{about.replace('`', '')} {words}"
    return f"{check.severity.value} ({check.reason}): {words}".replace("$", "$$")
