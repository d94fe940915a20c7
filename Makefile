# Two commands: `make compare` runs the quick study, `make test` the fast tests. Both make .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed-$(shell cat requirements.txt Makefile | cksum | cut -d ' ' -f 1)
TRACKING := $(VENV)/tracking-$(shell cat requirements-tracking.txt | cksum | cut -d ' ' -f 1)
SCALE := $(VENV)/scale-$(shell cat requirements-scale.txt | cksum | cut -d ' ' -f 1)

.PHONY: compare test test-slow faults fuzz coverage check bench clean

compare: $(INSTALLED)
	$(BIN)/python compare.py

test: $(INSTALLED) $(TRACKING) $(SCALE)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(INSTALLED) $(TRACKING) $(SCALE)
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

# 100 runs killed at random moments and resumed; some 15 minutes on 2 cores.
faults: $(INSTALLED)
	SAMENET_KILLS=100 $(BIN)/python -m pytest tests/faults -q

# 20,000 made-up study files, command lines, records, IDX and npz files; some 10 minutes.
fuzz: $(INSTALLED)
	SAMENET_FUZZ=20000 $(BIN)/python -m pytest tests/fuzz -q

coverage: $(INSTALLED) $(TRACKING) $(SCALE)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --cov --cov-report=term

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# About an hour on 2 cores, which must have nothing else to do.
bench: $(INSTALLED) $(SCALE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.loops
	$(BIN)/python -m benchmarks.harness
	$(BIN)/python -m benchmarks.many
	$(BIN)/python -m benchmarks.scaling

# The mark's name holds what is installed: a changed requirements.txt installs again, a second call does not.
$(INSTALLED):
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 11) else "samenet needs Python 3.11, found " + sys.version.split()[0] + "; name one: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	rm -f $(VENV)/installed-*
	touch $@

# Optional to users; without it the tests of tracking are skipped.
$(TRACKING): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-tracking.txt
	rm -f $(VENV)/tracking-*
	touch $@

# Optional too; without it the tests of clusters and of Parquet are skipped.
$(SCALE): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-scale.txt
	rm -f $(VENV)/scale-*
	touch $@

clean:
	rm -rf $(VENV)
