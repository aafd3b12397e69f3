# greenroom from a checkout. `make help` lists what there is; nothing else has to be set up.
#
# .venv is made when it is missing, made anew in a checkout that was moved, and brought up to date when pyproject.toml
# changes: the stamp .venv/installed-* holds the digest of what that file says of the package and its dependencies (above
# the settings of the tools). While it is right nothing here needs a network.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUDGET_SECONDS ?=
# Most tests wait for something: five at a time keep two cores busy. WORKERS=0 for one, in this process (a debugger).
WORKERS ?= 5
ONLY ?=
ARGS ?=

# The budget of the slow tests and the skipping of browser tests are pytest plugins of ours: tests/plugins/.
# Compiled modules are kept, though an image may forbid it: else each of hundreds of processes compiles our source anew.
PYTEST := PYTHONDONTWRITEBYTECODE= PYTHONPATH=tests/plugins $(BIN)/pytest -p slow_budget -p chromium -p longest_first

.PHONY: help run test test-slow check docs bench clean
.PHONY: _venv _venv_dev _chromium

help:  ## this list
	@echo "greenroom: what make can do here"
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

# In the foreground of a terminal the server is a job of its own, so that Ctrl-C reaches it alone and make ends well when
# it does; Ctrl-Z is ignored, for make would take a stopped server for one that has failed. setpriv: should make be ended
# from elsewhere, the shell ends with it, and the server must not be left without them. (Fields 5 and 8 of proc(5)'s stat
# are our process group and the one that the terminal listens to.)
run: _venv  ## start greenroom with its own PostgreSQL on http://127.0.0.1:8787
	@export ENVIRONMENT="$${ENVIRONMENT:-development}"; \
	read -r -a stat 2>/dev/null </proc/self/stat || stat=(); \
	if [ -t 0 ] && [ "$${stat[4]}" ] && [ "$${stat[4]}" = "$${stat[7]}" ]; then \
		trap '' TSTP; set -m; \
		$(shell setpriv --pdeathsig HUP true 2>/dev/null && echo setpriv --pdeathsig HUP) $(BIN)/greenroom serve $(ARGS); \
	else exec $(BIN)/greenroom serve $(ARGS); fi

# pip compiles nothing for them, a third of the installation: they compile what they read, and it stays.
# While mypy keeps one core busy the tests begin. They are compiled first, once: else each worker would, and in a fresh
# checkout that is 9 s of CPU for each of them.
test: INSTALL_OPTIONS := --no-compile
test: _venv_dev _chromium  ## lint, types and tests; ARGS="tests/http -x" goes to pytest
	@$(MAKE) check & checking=$$!; \
	$(PYTEST) --collect-only -qq >/dev/null 2>&1 </dev/null; \
	kill -0 $$checking 2>/dev/null || wait $$checking || exit 1; \
	$(PYTEST) -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS); tests=$$?; \
	wait $$checking || { echo "make check failed, see above the tests" >&2; exit 1; }; \
	exit $$tests

test-slow: _venv_dev _chromium  ## full-size fault and load tests, as many as BUDGET_SECONDS=360 allows (all without)
	@BUDGET_SECONDS="$(BUDGET_SECONDS)" PYTHONHASHSEED=0 $(PYTEST) -m slow --hypothesis-seed=0 $(ARGS)

check: _venv_dev  ## lint, format and types only
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "these are not formatted: run $(BIN)/ruff format"; $(BIN)/ruff format --check; exit 1; }
	@$(BIN)/mypy

docs: _venv_dev  ## docs/asyncapi.json and the tables of frames in docs/wire-protocol.md, from the schemas
	@$(BIN)/greenroom asyncapi --write docs

bench: _venv_dev  ## greenroom beside its peers, about 30 minutes; ONLY=fanout for one scenario, ONLY=runtime for the actors
	@failed=0; \
	$(if $(filter runtime,$(ONLY)),,$(BIN)/python bench/run.py $(if $(ONLY),--only $(ONLY)) $(ARGS) || failed=$$?;) \
	if [ $$failed = 130 ]; then exit 130; fi; \
	$(if $(filter-out runtime,$(ONLY)),,$(BIN)/python bench/runtime/run.py $(ARGS) || failed=$$?;) \
	exit $$failed

clean:  ## remove what was installed and built; data in .greenroom/ stays
	@rm -rf $(VENV) build dist src/greenroom.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis bench/.build clients/js/node_modules
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
	@if [ -d .greenroom ]; then echo "kept: .greenroom/, the data of make run"; fi

# -- .venv --------------------------------------------------------------------------------------------------------------

_venv:
	@$(call install,run,.)

_venv_dev:
	@$(call install,dev,.[dev],$(INSTALL_OPTIONS))

# $(1): the name of the stamp; $(2), $(3): what pip is told. What dev installs is enough for run too.
define install
set -e; \
want="$$(sed '/^\[tool\.pytest/,$$d' pyproject.toml | sha256sum | cut -c-16)"; \
has() { [ "$$(cat $(VENV)/installed-$$1 2>/dev/null)" = "$$want" ]; }; \
is_usable() { [ "$$(cat $(VENV)/made-in 2>/dev/null)" = "$$PWD" ] && $(BIN)/python -c '' 2>/dev/null; }; \
is_installed() { { has dev || has $(1); } && is_usable; }; \
if [ $(1) = run ] && is_installed; then exit 0; fi; \
for it in . $(VENV) src/greenroom.egg-info .mypy_cache .ruff_cache .pytest_cache; do \
	if [ -e $$it ] && [ ! -w $$it ]; then \
		echo "$$(realpath $$it) cannot be written by $$(id -un); it belongs to $$(stat -c %U $$it)." >&2; \
		echo "Run make as that user, or remove what it has made, or take a checkout of your own." >&2; \
		exit 1; \
	fi; \
done; \
if is_installed; then exit 0; fi; \
if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	echo "greenroom needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	echo "Install one (Debian 12: apt-get install python3 python3-venv), or name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	exit 1; \
fi; \
if ! is_usable; then rm -rf $(VENV); fi; \
if [ ! -d $(VENV) ] && ! said="$$($(PYTHON) -m venv $(VENV) 2>&1)"; then \
	rm -rf $(VENV); \
	echo "$$said" >&2; \
	echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv; then again." >&2; \
	exit 1; \
fi; \
echo "$$PWD" > $(VENV)/made-in; rm -f $(VENV)/installed-*; \
echo "Installing greenroom and what it needs into $(VENV) (once; a minute or two)"; \
trap 'echo; exit 130' INT; \
log=$(VENV)/install.log; \
if ! $(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off $(3) -e '$(2)' 2>&1 | tee $$log | $(call progress); then \
	tail -n 15 $$log >&2; \
	echo "The installation failed; all of it is in $$log. Without a network it cannot be done. Then again: make $(MAKECMDGOALS)" >&2; \
	exit 1; \
fi; \
echo "$$want" > $(VENV)/installed-$(1)
endef

# One line that changes in a terminal, nothing elsewhere.
define progress
if [ -t 1 ]; then \
	while read -r word what _; do \
		case "$$word" in Collecting|Downloading|Building|Installing) printf '\r\033[K  %s %s' "$$word" "$${what:0:50}";; esac; \
	done; printf '\r\033[K'; \
else cat > /dev/null; fi
endef

# -- Chromium, for the tests marked `browser` ---------------------------------------------------------------------------

# Asked for once: a refusal is remembered in .venv until it is made anew. Without Chromium these tests are skipped.
# libatomic1 is for the node in Playwright's wheel: a bare Debian has none, and Chromium does not bring it.
_chromium: _venv_dev
	@can_browse() { command -v chromium chromium-browser google-chrome && $(BIN)/playwright --version; } >/dev/null 2>&1; \
	if can_browse || [ -e $(VENV)/no-chromium ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=env; elif sudo -n true 2>/dev/null; then as_root="sudo -n env"; else as_root=; fi; \
	if [ "$$as_root" ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the browser tests (once)"; \
		apt() { $$as_root DEBIAN_FRONTEND=noninteractive apt-get "$$@"; }; log=$(VENV)/chromium.log; \
		{ apt update && apt install -y --no-install-recommends chromium libatomic1; } >$$log 2>&1 </dev/null; \
		if can_browse; then exit 0; fi; \
		echo "Chromium could not be installed ($$log says why)." >&2; \
	fi; \
	echo "There is no Chromium: browser tests are skipped. To run them: apt-get install chromium libatomic1" >&2; \
	touch $(VENV)/no-chromium
