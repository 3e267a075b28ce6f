# make demo, make test, make check, make bench: each does its own set-up.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$p; break; fi; done)
FAST := -m "not slow and not browser and not influx and not broker"

.PHONY: demo test check lint faults bench servers venv clean

venv: $(STAMP)

$(STAMP): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer is needed: apt-get install python3"; exit 1; fi
	@if ! $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; fi
	@if [ ! -x $(PY) ]; then $(PYTHON) -m venv $(VENV); fi
	@echo "installing the packages of pyproject.toml into $(VENV)"
	@$(PY) -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $(STAMP)

servers: $(STAMP)
	@$(PY) scripts/servers.py

demo: $(STAMP)
	@$(VENV)/bin/meterprint demo

test: servers
	@$(PY) -m pytest

lint: $(STAMP)
	@$(PY) -m ruff format --check -q .
	@$(PY) -m ruff check -q .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports --no-cache

check: lint
	@$(PY) -m pytest -q $(FAST)

faults: servers
	@$(PY) -m tests.faults $(PARTS)

bench: servers
	@$(PY) scripts/telegraf.py
	@$(PY) -m bench

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
