# make run    install, refresh everything, publish, print a summary
# make ui     the Dagster UI over the same history, on 127.0.0.1:3000 (or PORT=…)
# make dashboard  explore the published results, on 127.0.0.1:8501 (or DASHBOARD_PORT=…)
# make test   the test suite
# make soak   the same with more cases of machine failures, and ten times the made-up examples
# make check  format, lint, types, architecture, no credential in a tracked file
# make audit  known weaknesses of the locked dependencies; asks api.osv.dev
# make bench  what the README says about speed and false alarms, measured here (half an hour)
PYTHON ?= python3
PORT ?= 3000
DASHBOARD_PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
export DATA_PLATFORM_HOME ?= $(CURDIR)/data

.PHONY: install run ui dashboard test soak check audit bench schema lock clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@echo "Installing the locked versions into $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: install
	@$(BIN)/data-platform run

ui: install
	@umask $${DATA_PLATFORM_UMASK:-077}; \
	  DAGSTER_HOME="$$($(BIN)/data-platform dagster-home)" $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

dashboard: install
	@$(BIN)/data-platform dashboard --port $(DASHBOARD_PORT)

# In memory where there is such a folder: half of the time goes into flushing small files.
test: install
	@if [ -w /dev/shm ]; then export PYTEST_DEBUG_TEMPROOT=/dev/shm; fi; $(BIN)/python -m pytest

soak: install
	@if [ -w /dev/shm ]; then export PYTEST_DEBUG_TEMPROOT=/dev/shm; fi; \
	  HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -m "soak or not soak" --timeout 3600

check: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q -n 0 data_platform_tests/test_secret_scan.py

# In an environment of its own: it is no part of what it judges.
audit:
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && \
	  .venv-audit/bin/pip install --quiet --disable-pip-version-check 'pip-audit>=2.10,<3'; }
	@found=$$(.venv-audit/bin/pip-audit -s osv --disable-pip --require-hashes --progress-spinner off \
	  --timeout 30 -r requirements.lock 2>&1); code=$$?; \
	case "$$found" in \
	  *ConnectionError*|*ServiceError*|*Timeout*) \
	    echo "Nothing was audited: the advisory service api.osv.dev cannot be reached from here."; exit 3;; \
	  *) echo "$$found"; exit $$code;; \
	esac

bench: install
	@for what in scoring redaction end_to_end growth first_start anomalies monitoring; do $(BIN)/python -m benchmarks.$$what || exit 1; done

schema: install
	@$(BIN)/data-platform schema > data_platform/feedback.schema.json

lock:
	uv pip compile --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-emit-index-url --no-header pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .venv-audit data build *.egg-info
