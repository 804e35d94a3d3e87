# Each target does the whole job on a fresh machine that has Python 3.11 to 3.13 and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: install demo test check clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/pipeline demo
	@echo "  ('pipeline' lies in $(BIN); put it on the path with: . $(BIN)/activate)"

# Lint, types, then every test; no root needed, at most 8 minutes on 2 cores.
test: check
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache demo-music
