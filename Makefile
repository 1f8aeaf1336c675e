# Every target sets itself up: Python 3.11 or later and make are all it takes. `make` alone prints this help.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# LiteLLM contradicts other requirements, so it is tested in an environment of its own.
LITELLM := .venv-litellm
# The SDK comes from this checkout, so it has no pin.
PINS := --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-package token-ledger-sdk
export UV_PYTHON_DOWNLOADS := never
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with exactly the pinned packages

demo: $(READY) ## replay real traffic through the SDK and the service, then prove the books (ARGS=--keep leaves it running)
	$(BIN)/python sdk/examples/real_traffic.py $(ARGS)

run: $(READY) ## start the service with its own PostgreSQL and print its URL, a key and a first request
	$(BIN)/token-ledger serve $(ARGS)

# Files come in their order, and not those with most tests first: the longest tests are alone in theirs, and would be last.
# Three at a time on two processors, because tests wait for servers and processes for a third of their time.
test: $(READY) ## run every test that needs pip packages only
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not system and not fuzz" $(ARGS)

fuzz: $(READY) ## send 10,000 generated requests as every kind of caller, for about half an hour
	$(BIN)/pytest -s --durations=0 -m fuzz tests/fuzz $(ARGS)

test-system: $(READY) $(LITELLM)/.ready ## install Debian's PostgreSQL 15, Prometheus, Redis and Chromium where that is allowed, and test with them, and with LiteLLM
	tests/system/install.sh
	PYTHONPATH=sdk $(LITELLM)/bin/pytest sdk/tests/wrapped/litellm_cases.py sdk/tests/wrapped/litellm_proxy_cases.py
	$(BIN)/pytest -m system $(ARGS)

check: $(READY) ## formatting, lint, types, import contracts, generated files, dependencies, the documentation site
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -W "ignore::DeprecationWarning" -m dashboards.build --check
	$(BIN)/python sdk/scripts/generate_sync.py --check
	$(BIN)/python -m tests.documents --check
	$(BIN)/python -m tests.packaging.audit
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY) ## format the code and sort its imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## measure, print a table and write build/bench.json (ONLY=group for one group)
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

pins: $(READY) ## resolve the pinned requirements anew
	$(BIN)/uv pip compile -q $(PINS) pyproject.toml sdk/pyproject.toml --extra tokens --extra tools --extra parquet --group dev -o requirements/dev.txt
	$(BIN)/uv pip compile -q $(PINS) pyproject.toml -c requirements/dev.txt -o requirements/service.txt
	$(BIN)/uv pip compile -q $(PINS) sdk/pyproject.toml --extra openai --extra anthropic --extra google --extra litellm --group litellm -o requirements/litellm.txt

clean: ## remove what the targets have made
	rm -rf $(VENV) $(LITELLM) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): requirements/uv.txt requirements/dev.txt pyproject.toml sdk/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --require-hashes requirements/dev.txt || \
		$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --no-index -e . -e sdk
	touch $(READY)

$(LITELLM)/.ready: $(READY) requirements/litellm.txt
	test -x $(LITELLM)/bin/python || $(PYTHON) -m venv $(LITELLM)
	$(BIN)/uv pip sync --quiet --python $(LITELLM)/bin/python --require-hashes requirements/litellm.txt || \
		$(LITELLM)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/litellm.txt
	touch $(LITELLM)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo run test fuzz test-system check format bench pins clean
