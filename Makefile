# Flightdeck. `make help` lists the targets. Needs make and Python 3.11, 3.12 or 3.13 with venv and pip; nothing else.

unexport PYTHONDONTWRITEBYTECODE # imports would cost twice as much, in every process
export PYTHON

BIN := .venv/bin
INSTALLED := .venv/.installed
FIND_PYTHON = python=$$(sh infra/find_python.sh) || exit 1; "$$python"
PYTEST_ARGS ?=
BENCHMARKS ?= data_plane point_in_time streaming_windows materialize serving serving_choices

COVERED ?= tests

# of tests: one more than cores, since some wait for servers and for Airflow
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PYTEST = pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
TESTS = $(BIN)/python -m $(PYTEST)

.PHONY: help setup up demo stop clean status test thorough soak lint coverage e2e bench figures lock

help: ## this list
	@grep -E '^[a-z0-9]+:.*##' Makefile | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(INSTALLED) ## make .venv and install the pinned requirements

$(INSTALLED): requirements.txt pyproject.toml infra/install.py
	@$(FIND_PYTHON) infra/install.py

up: $(INSTALLED) ## start MLflow, the model server and Airflow, and wait until they are healthy
	@$(BIN)/python -m infra.supervisor up

demo: up ## start everything and run the whole story on real data
	@$(BIN)/python -m infra.story

status: $(INSTALLED) ## say what runs
	@$(BIN)/python -m infra.supervisor status

stop: ## stop everything
	@$(FIND_PYTHON) -m infra.supervisor down

clean: ## stop everything and remove what runs wrote (var, or FLIGHTDECK_HOME)
	@$(FIND_PYTHON) -m infra.supervisor clean

test: $(INSTALLED) ## the quick tests, on embedded databases
	@$(TESTS) $(PYTEST_ARGS) tests

thorough: $(INSTALLED) ## the tests that take longer: PostgreSQL, Redis, killed processes, whole chains
	@$(TESTS) -m "thorough and not soak" $(PYTEST_ARGS) tests

soak: $(INSTALLED) ## random tests with many examples, kills and days, then a steady load; writes docs/soak.txt, to be committed
	@echo "make soak at $$(git rev-parse --short HEAD) on $$(date -I), $$(getconf _NPROCESSORS_ONLN) cores" > docs/soak.txt
	@$(TESTS) -m "soak or hypothesis" --hypothesis-profile soak --disable-warnings --durations 20 $(PYTEST_ARGS) tests \
		>> docs/soak.txt; status=$$?; cat docs/soak.txt; exit $$status
	@$(BIN)/python -m benchmarks.steady

lint: $(INSTALLED) ## ruff, mypy --strict, import contracts and figures, over the whole tree; .pre-commit-config.yaml does the same
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports
	@$(BIN)/python -m benchmarks.figures --check

coverage: $(INSTALLED) ## `make test` a third slower, telling what share of the lines ran and which did not
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m $(PYTEST) $(PYTEST_ARGS) $(COVERED)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

e2e: $(INSTALLED) ## the tests that start real servers
	@$(BIN)/python -m pytest -m e2e $(PYTEST_ARGS) tests

bench: $(INSTALLED) ## measure the data plane and the model server beside their peers; writes benchmarks/results (over an hour)
	@for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

figures: $(INSTALLED) ## mark the results whose ground has changed; fails where README or docs quote one as today's
	@$(BIN)/python -m benchmarks.figures

lock: ## compile pyproject.toml to requirements.txt (LOCK_ARGS=--upgrade renews the pins)
	@$(FIND_PYTHON) infra/install.py lock
