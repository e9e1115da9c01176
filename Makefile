# Everything a newcomer needs: `make demo`, `make test`. Each target does its own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The newest torch that is tested. Only networks/, training/ and the torch engine need it.
TORCH ?= torch==2.13.0

.PHONY: demo test lint dev clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# After a change of the C++ kernels: make dev
dev: $(VENV)/bin/python
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet "scikit-build-core>=0.11" "nanobind>=2.4" ninja cmake
	$(BIN)/pip install --quiet --no-build-isolation --config-settings=editable.mode=redirect --editable ".[dev]"

clean:
	rm -rf build dist demo-out .venv
