# The README's verbs. State of a checkout lies in ./var (STATE=… for another place).
STATE  ?= var
PORT   ?= 8774
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEBIAN := python3-venv python3-dev gcc pkg-config libvirt-dev

.PHONY: up down clean test check bench install install-test host

up: install  ## start the cloud on this machine and boot a first server
	@$(BIN)/kilonova host prepare
	@$(BIN)/kilonova up --state $(STATE) --port $(PORT) --detach
	@$(BIN)/kilonova hello --state $(STATE)

down:  ## stop the cloud; guests and their disks stay
	@$(BIN)/kilonova down --state $(STATE)

clean:  ## remove every trace of the cloud from this machine
	@if [ -x $(BIN)/kilonova ]; then $(BIN)/kilonova clean --yes --state $(STATE); fi

test: install-test  ## every test, real guests included
	@$(BIN)/kilonova host prepare
	@$(BIN)/python -m pytest -q tests

check: install-test  ## layout, types, style, imports, house numbers
	@$(BIN)/ruff check src tests examples
	@$(BIN)/ruff format --check src tests examples
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tests/house.py

bench: install  ## measure the figures of SPECIFICATION.md and print them
	@$(BIN)/kilonova host prepare
	@$(BIN)/python -m tests.bench

install: $(VENV)/.installed

install-test: $(VENV)/.installed-test

$(VENV)/.installed: pyproject.toml
	@missing=$$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(DEBIAN) 2>/dev/null | grep -c ' installed$$'); \
	if [ "$$missing" != "$(words $(DEBIAN))" ]; then \
		echo "→ Installing $(DEBIAN)"; \
		apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $(DEBIAN) >/dev/null; \
	fi
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "→ Installing Python parts into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[libvirt]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[libvirt,dev]'
	@touch $@
