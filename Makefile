# Every goal makes the virtual environment that it needs: Python >= 3.11 and make are enough to start.
PYTHON ?= python3
MODEL ?= mlp# What `make demo` trains: mlp or softmax.
PAIRS ?= 20000# How many random programs and schedules `make fuzz` runs.
SEED ?= 0# Which ones.
TESTS ?=# What `make test` runs: all, or paths and options for pytest.

GPU_PYTHON ?=# The interpreter of `make gpu`, where it should not make one.

VENV := .venv
BIN := $(VENV)/bin
GPU := $(or $(GPU_PYTHON),$(BIN)/python)

.PHONY: help demo test test-peers test-cuda12 fuzz check format bench gpu clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo    train a digit classifier with one compiled step (MODEL=mlp or softmax)'
	@echo 'make test    run the tests (TESTS="tests/data -k idx" for some of them)'
	@echo 'make test-peers  compare operations, layers and optimizers with torch'
	@echo 'make test-cuda12  compile the kernels with the packages of CUDA 12'
	@echo 'make fuzz    run random schedules of random programs (PAIRS=20000 SEED=0)'
	@echo 'make check   format, lint, layers and types, as CI checks them'
	@echo 'make format  rewrite the sources in the project format'
	@echo 'make bench   time everything against its rivals, and write docs/performance.md'
	@echo 'make gpu     on a machine with a GPU: its tests, compute-sanitizer, timings against torch'
	@echo 'make clean   remove the virtual environment and the caches'

demo: $(VENV)/.installed-demo
	$(BIN)/python tutorials/train_mnist.py --model $(MODEL)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 8 $(TESTS)

test-peers: $(VENV)/.installed-peers
	$(BIN)/python -m pytest tests/peers

# The packages of CUDA 12 and 13 exclude each other, so 12 has an environment of its own.
CUDA12_TESTS := $(addprefix tests/codegen/cuda/test_, \
    nvrtc.py golden.py tensor_cores.py boxes.py warp_groups.py roles.py)
test-cuda12:
	$(MAKE) VENV=.venv-cuda12 .venv-cuda12/.installed-cuda12-test
	.venv-cuda12/bin/python -m pytest $(CUDA12_TESTS)

fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzz.py --pairs $(PAIRS) --seed $(SEED)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks --page docs/performance.md

# With GPU_PYTHON, an interpreter that has all of it already; nothing is installed then.
gpu: $(if $(GPU_PYTHON),,$(VENV)/.installed-gpu)
	PYTHONPATH=.:runtime $(GPU) -m pytest -q tests/gpu tests/emulator tests/cuda_cases
	PYTHONPATH=.:runtime $(GPU) -m benchmarks.gpu.sanitize
	PYTHONPATH=.:runtime $(GPU) -m benchmarks.gpu

clean:
	rm -rf $(VENV) .venv-cuda12 build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One stamp an extra, so that the tests do not wait for what only the benchmarks need.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

# pip comes last when an environment is made, so where it is, the environment is whole.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    found=$$(command -v '$(PYTHON)' >/dev/null && $(PYTHON) --version 2>&1 || echo 'not found'); \
	    echo "tensorc needs Python >= 3.11, and '$(PYTHON)' is $$found." >&2; \
	    echo "Name another: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	    exit 1; }
	$(PYTHON) -m venv $(VENV)
