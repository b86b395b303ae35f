# Every target works as the first command typed: it sets up .venv if needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LAVA := lava-nc==0.10.0

.PHONY: setup demo test test-slow lint check bench clean

setup: $(STAMP)

# lava-nc declares Python 3.10 only and would drag in wrong versions of everything else, hence its
# dependencies come first, and it last and alone.
$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ADLRNS needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' asteval
	$(BIN)/python -m pip install --quiet --ignore-requires-python --no-deps $(LAVA)
	@touch $@

demo: $(STAMP)
	$(BIN)/adlrns-map demo --output out/demo

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow --timeout=3600

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

bench: $(STAMP)
	$(BIN)/python benchmarks/bench_chip.py --json out/bench_chip.json
	$(BIN)/python benchmarks/bench_partition.py --json out/bench_partition.json
	$(BIN)/python benchmarks/bench_place.py --json out/bench_place.json
	$(BIN)/python benchmarks/bench_compile.py --json out/bench_compile.json
	$(BIN)/python benchmarks/bench_digits.py --json out/bench_digits.json
	$(BIN)/python benchmarks/bench_convert.py --json out/bench_convert.json
	$(BIN)/python benchmarks/bench_kernels.py --json out/bench_kernels.json

clean:
	rm -rf $(VENV) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
