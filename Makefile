# The README's verbs. State of a checkout lies in ./var (STATE=… for another place).
STATE  ?= var
PORT   ?= 8774
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEBIAN := python3-venv python3-dev gcc pkg-config libvirt-dev
TESTS  := postgresql libvirt-clients procps

# Install those of the Debian packages $(1) that are not there yet.
define debian
	@have=$$(dpkg-query -W -f '$${db:Status-Status}\n' $(1) 2>/dev/null | grep -c '^installed$$'); \
	if [ "$$have" != "$(words $(1))" ]; then \
		echo "→ Installing $(1)"; \
		apt-get -q update >/dev/null && DEBIAN_FRONTEND=noninteractive \
			apt-get -q -y install --no-install-recommends $(1) >/dev/null; \
	fi
endef

.PHONY: up down clean test check bench conformance coverage actions guides install install-test host

up: install  ## start the cloud on this machine and boot a first server
	@$(BIN)/kilonova host prepare
	@$(BIN)/kilonova up --state "$(STATE)" --port $(PORT) --detach
	@$(BIN)/kilonova hello --state "$(STATE)"

down:  ## stop the cloud; guests and their disks stay
	@$(BIN)/kilonova down --state "$(STATE)"

clean:  ## remove every trace of the cloud from this machine
	@if [ -x $(BIN)/kilonova ]; then $(BIN)/kilonova clean --yes --state "$(STATE)"; \
	elif [ -e "$(STATE)/cloud-uuid" ]; then echo "Cleaning needs kilonova itself: run 'make install' first"; exit 1; \
	else echo "There is no cloud in $(STATE)"; fi

test: install-test  ## every test, real guests included
	@$(BIN)/kilonova host prepare
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder tests

check: install-test  ## layout, types, style, imports, house numbers
	@$(BIN)/ruff check src tests examples
	@$(BIN)/ruff format --check src tests examples
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tests/house.py

bench: install  ## measure the figures of SPECIFICATION.md and print them
	@$(BIN)/kilonova host prepare
	@$(BIN)/python -m tests.bench

conformance: install-test  ## suites that others wrote, against a running cloud; counts go to docs/evidence
	@$(BIN)/kilonova host prepare
	@$(BIN)/python -m tests.conformance $(AREAS)

coverage: install-test  ## docs/coverage.md anew, from the traffic of the tests of the APIs and the clients
	@rm -rf .traffic
	@KILONOVA_TRAFFIC="$(CURDIR)/.traffic" $(BIN)/python -m pytest -q tests/talk tests/client
	@$(BIN)/python tests/traffic.py tests .traffic
	@$(BIN)/python tests/coverage_table.py

actions: install-test  ## docs/actions.md anew: what was done to servers on simulated and real hosts, and the crash suite
	@rm -rf .traffic
	@KILONOVA_TRAFFIC="$(CURDIR)/.traffic/vm" $(BIN)/python -m pytest -q tests/vm
	@$(BIN)/python tests/traffic.py vm .traffic/vm
	@KILONOVA_TRAFFIC="$(CURDIR)/.traffic/flow" $(BIN)/python -m pytest -q -n 2 tests/flow
	@$(BIN)/python tests/action_table.py .traffic/flow

guides: install-test  ## run the transcripts of docs/guide and write what is printed today
	@PYTHONPATH=tests $(BIN)/python tests/client/transcript.py docs/guide/*.md

install: $(VENV)/.installed

install-test: $(VENV)/.installed-test

$(VENV)/.installed: pyproject.toml
	$(call debian,$(DEBIAN))
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "→ Installing Python parts into $(VENV)"
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[libvirt]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(call debian,$(TESTS))
	@echo "→ Installing what checks and tests need into $(VENV)"
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[libvirt,dev]'
	@touch $@
