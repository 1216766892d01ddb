# Everything that a checkout needs is made here, inside the project, once for each change of a lock file.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.dev
SAMPLE_READY := $(VENV)/.sample
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
NODE_READY := node_modules/.package-lock.json
HTMX := flask_valetpro_stripe/static/valetpro_stripe/htmx.min.js
OLD_SQLALCHEMY := .sqlalchemy-2.0

# The first Python here that is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
# Arguments for pytest, as in: make test PYTEST="-k refund"
PYTEST ?=
WORKERS ?= 2

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --system-certs --custom-compile-command "make lock"

# Both of the machine's cores; ALONE is for the tests that start processes enough of their own.
RUN_PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
ALONE := -m alone tests/chaos
# What stands on SQLAlchemy runs again on the oldest one: in `make test` what is marked so, in `make test-all` all of it.
ON_SQLALCHEMY := tests/unit tests/connections tests/payments tests/webhooks tests/engines tests/reconcile tests/story \
	tests/sample_app
# Seconds that `make test` may take on CI's machine once everything is installed; 0 for any. It shall come down to 720.
TIME_BUDGET ?= 1800
OLDEST = $(shell grep -rl 'mark\.oldest' tests --include='test_*.py')
# Each new enough Python that starts, as version=path: a shim of pyenv may name a Python that is not chosen here.
PYTHONS = $(sort $(shell for python in python3.11 python3.12 python3.13 python3.14 $(HOME)/.pyenv/versions/3.*/bin/python3; do \
	$$python -c 'import sys; v = sys.version_info; v >= (3, 11) and print(f"{v[0]}.{v[1]}={sys.executable}")' 2>/dev/null; \
	done | sort -V -t= -u -k1,1))
# What stands on the dependencies and asks for no other server.
ON_BOUNDS := tests/unit tests/webhooks tests/payments tests/connections tests/secrets/test_contract.py \
	tests/engines/test_celery.py tests/health/test_metrics.py tests/sample_app/test_extras.py
EXTRAS := aws celery gcp metrics twilio vault
UV_PIP := $(BIN)/uv pip
# The versions of the package and its extras are what the second argument makes of pyproject.toml; the rest is the newest.
define TEST_BOUNDS
	@test -n "$(PYTHONS)" || { echo "No Python 3.11 or newer was found."; exit 1; }
	@set -e; for python in $(PYTHONS); do \
		venv=.venv-$(1)-$${python%%=*}; echo "Python $${python%%=*}, $(1)"; \
		$(BIN)/uv venv --quiet --clear --python $${python#*=} $$venv; \
		$(UV_PIP) compile --quiet --system-certs --no-strip-extras --python $$venv $(2) \
			$(EXTRAS:%=--extra %) pyproject.toml --output-file $$venv/bounds.txt > /dev/null; \
		$(UV_PIP) install --quiet --system-certs --python $$venv -r $$venv/bounds.txt --group dev; \
		$$venv/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not browser and not alone" \
			$(or $(PYTEST),-k "not postgresql" $(ON_BOUNDS)); \
	done
endef
NEED_PYTHON = @test -n "$(PYTHON)" || \
	{ echo "No Python 3.11 or newer was found. Name one: make PYTHON=/path/to/python3"; exit 1; }

# Hundreds of processes start in a run of the tests, and without it each would compile the package again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo quick test test-all chaos coverage installed parts lint types pytest pytest-oldest assets wheel lock test-min test-max clean

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 32

demo: $(SAMPLE_READY) $(HTMX) ## Serve the valet desk and the Stripe simulator on 127.0.0.1
	@$(BIN)/python tools/demo.py

quick: $(READY) $(HTMX) ## Run the unit, simulator and OpenAPI tests
	$(RUN_PYTEST) $(or $(PYTEST),tests/unit tests/simulator tests/openapi)

test: ## Run what lands: every check, and each behaviour once
	@began=$$(date +%s) && $(MAKE) installed && ready=$$(date +%s) && $(MAKE) lint types pytest pytest-oldest && \
	$(BIN)/python -m tests.budget $$((ready - began)) $$(($$(date +%s) - ready)) $(TIME_BUDGET)

test-all: installed ## Run every combination, and chaos at its middle size
	CHAOS=middle $(MAKE) lint types pytest pytest-oldest ALL=--all

chaos: installed ## Run the chaos tests at their full size: hours
	CHAOS=full $(BIN)/python -m pytest --all $(or $(PYTEST),tests/chaos)

coverage: installed ## Run the tests and print the package's line and branch coverage
	$(RUN_PYTEST) $(ALL) --cov --cov-report=term:skip-covered $(or $(PYTEST),-m "not alone")

installed: parts $(READY) $(HTMX) $(OLD_SQLALCHEMY)/.ready

parts: ## Look for Chromium, PostgreSQL and Redis, and install them where that is allowed
	$(NEED_PYTHON)
	@$(PYTHON) tools/system_parts.py

lint: $(READY) ## Check the style
	$(BIN)/ruff check .
	$(BIN)/flake8 .

types: $(READY) ## Check the types
	$(BIN)/mypy

pytest: $(READY) $(HTMX) ## Run the tests only
	$(RUN_PYTEST) $(ALL) $(or $(PYTEST),-m "not alone")
	$(if $(PYTEST),,$(BIN)/python -m pytest $(ALL) $(ALONE))

pytest-oldest: $(READY) $(HTMX) $(OLD_SQLALCHEMY)/.ready ## Run them on SQLAlchemy 2.0
	PYTHONPATH=$(CURDIR)/$(OLD_SQLALCHEMY) $(BIN)/python -c 'import sqlalchemy as s; assert s.__version__.startswith("2.0."), s'
	PYTHONPATH=$(CURDIR)/$(OLD_SQLALCHEMY) $(RUN_PYTEST) $(ALL) $(or $(PYTEST),$(if $(ALL),$(ON_SQLALCHEMY),-m oldest $(OLDEST)))

test-min: $(BIN)/uv $(HTMX) ## Test the lowest dependencies that we allow, on every Python here
	$(call TEST_BOUNDS,min,--no-deps --resolution lowest-direct)

test-max: $(BIN)/uv $(HTMX) ## Test the newest dependencies that we allow, on every Python here
	$(call TEST_BOUNDS,max,--group dev)

assets: $(HTMX) ## Bring htmx into the package

wheel: $(READY) $(HTMX) ## Build the wheel into dist/
	$(BIN)/pip wheel --no-deps --no-build-isolation --wheel-dir dist .

lock: $(READY) $(BIN)/uv ## Lock the newest dependencies that fit
	$(LOCK) --group dev --extra testing pyproject.toml --output-file requirements/dev.txt
	$(LOCK) --group sample --constraints requirements/dev.txt pyproject.toml --output-file requirements/sample.txt
	$(LOCK) --no-deps requirements/openapi.in --output-file requirements/openapi.txt
	$(LOCK) --no-deps requirements/sqlalchemy-2.0.in --output-file requirements/sqlalchemy-2.0.txt
	npm install --package-lock-only

clean: ## Remove all that this file made
	rm -rf $(VENV) .venv-m* $(OLD_SQLALCHEMY) node_modules build dist instance *.egg-info $(HTMX)

$(BIN)/python:
	$(NEED_PYTHON)
	@CI=true $(PYTHON) tools/system_parts.py venv
	$(PYTHON) -m venv $(VENV)

$(BIN)/uv: | $(BIN)/python
	$(BIN)/pip install --quiet uv

# The demo starts within a minute of a bare clone: it takes a third of the tests' packages, compiled when first used.
$(SAMPLE_READY): requirements/sample.txt | $(BIN)/python
	@echo "Installing the demo's packages, once: this takes most of a minute."
	$(INSTALL) --no-compile -r requirements/sample.txt
	@touch $@

# Of requirements/openapi.txt only Stripe's API description is wanted, not the HTTP stack that it asks for.
$(READY): requirements/dev.txt requirements/openapi.txt | $(BIN)/python
	$(INSTALL) -r requirements/dev.txt
	$(INSTALL) --no-deps -r requirements/openapi.txt
	@touch $@

$(NODE_READY): package.json package-lock.json
	npm ci --loglevel=error
	@touch $@

$(HTMX): $(NODE_READY)
	@mkdir -p $(@D)
	cp node_modules/htmx.org/dist/htmx.min.js $@

$(OLD_SQLALCHEMY)/.ready: requirements/sqlalchemy-2.0.txt $(READY)
	rm -rf $(OLD_SQLALCHEMY)
	$(INSTALL) --no-deps --target $(OLD_SQLALCHEMY) -r requirements/sqlalchemy-2.0.txt
	@touch $@
