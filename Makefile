# Everything goes into ./.venv; nothing needs root.
#
#   make demo    install netjail and see it at work
#   make test    run the tests
#   make bench   compare its cost with native, strace and a minimal tracer
#   make check   ruff and mypy
#   make schema  write the JSON Schema of policy files anew
#   make wheel   build dist/*.whl and dist/*.tar.gz
#   make clean   remove what make made, .venv included

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := pyproject.toml setup.py $(wildcard netjail/kernel/*.[ch] netjail/kernel/build.py)
SOURCES := $(filter-out netjail/kernel/_core.c,$(SOURCES))

.PHONY: help demo test bench check schema wheel clean

help:
	@sed -n 's/^#   //p' Makefile

# The environment, with netjail as it stands in this directory. Its stamp is
# older than the C core after an edit: then it is built again.
$(VENV)/.netjail: $(SOURCES)
	@.ci/prerequisites $(PYTHON)
	@echo "installing netjail into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable .
	@touch $@

# The same with what the tests and checks need.
$(VENV)/.dev: $(SOURCES)
	@.ci/prerequisites $(PYTHON)
	@echo "installing netjail and its development tools into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.netjail

demo: $(VENV)/.netjail
	@docs/demo.sh $(BIN)/netjail

# make test ARGS='-k vault -x'
test: $(VENV)/.dev
	@$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/.dev
	@$(BIN)/python tests/bench/run.py $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

schema: $(VENV)/.netjail
	@$(BIN)/python -c 'from netjail.policy.schema import *; new = generate(); open(FILE, "w").write(new)'

wheel: $(VENV)/.dev
	@$(BIN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info netjail/kernel/_core.c netjail/kernel/_core.*.so netjail/kernel/*.o
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
