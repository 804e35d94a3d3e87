# Each target does the whole job on a fresh machine that has Python 3.11 to 3.13 and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# The tests start hundreds of processes: where bytecode is forbidden each compiles every source anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test suite soak test-faults test-faults-mutants check clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/pipeline demo
	@echo "  ('pipeline' lies in $(BIN); put it on the path with: . $(BIN)/activate)"

# Lint, types and every test; no root needed, at most 8 minutes on 2 cores. Twice as many workers as
# cores: many tests wait, for a disk or for a limit to pass. A thread that spins while it waits for
# another takes the core from the one that it waits for: here they sleep. Lint and types run beside them.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory -j2 check suite

suite: export OMP_WAIT_POLICY := passive
suite: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 4 --dist worksteal

# A night of 200 tracks with a hundred random kills, a thousand tracks through one lane, and a night of
# a thousand damaged files; at most 5 minutes. SOAK_SEED=… makes the same choices again, MUTANTS_SEED=…
# other damages.
soak: $(INSTALLED)
	$(BIN)/python -m pytest -q -s tests/soak

# Kills, power cuts, full and broken disks, one row of the fault matrix each; at most 8 minutes. Needs
# root, strace, e2fsprogs, libfaketime and loop devices; what is missing skips it, and says so.
test-faults: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/faults

# Is that suite awake? Breaks a copy of the project in four ways; each must turn it red.
test-faults-mutants: $(INSTALLED)
	$(BIN)/python -m tests.faults.mutants

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache demo-music
