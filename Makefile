# Everything a newcomer needs: `make demo` and `make test` do all their set-up, in .venv and .venv-dev.
PYTHON ?= python3
# The newest torch that is tested. Only training, Cellpose checkpoints and the torch engine need it.
TORCH ?= torch==2.13.0
OUT ?= demo-out

DEMO := .venv/bin
DEV := .venv-dev/bin
PIP_FLAGS := --quiet --disable-pip-version-check

.PHONY: help demo serve test lint packaging ci dev page clean

help:
	@echo "make demo       segment the sample images into $(OUT)/"
	@echo "make serve      open the workspace in the browser, with sample images"
	@echo "make test       run the tests, those of the page and in the browser too"
	@echo "make lint       style, types and import rules"
	@echo "make packaging  build the wheel, install it alone, segment offline"
	@echo "make page       (re)build the page, after a change in frontend/"
	@echo "make dev        (re)build for development, after a change of the C++ kernels"
	@echo "make clean      remove everything that was built"

demo: .venv/installed
	$(DEMO)/cellbrook segment examples --out $(OUT) --overwrite
	$(DEMO)/python -m cellbrook.testing.samples $(OUT)/generated
	$(DEMO)/cellbrook segment $(OUT)/generated --overwrite --quiet
	@echo
	@echo "Results are in $(OUT)/ (real images) and $(OUT)/generated/. Look first at"
	@ls $(OUT)/*_overlay.png $(OUT)/generated/*_overlay.png

serve: .venv/installed
	$(DEMO)/cellbrook serve --sample $(ARGS)

test: .venv-dev/installed page
	$(DEV)/python frontend/build.py --run test
	$(DEV)/python frontend/build.py --run test:browser
	$(DEV)/python -m pytest $(ARGS)

page: .venv-dev/installed
	$(DEV)/python frontend/build.py --require

lint: .venv-dev/installed
	$(DEV)/ruff check
	$(DEV)/ruff format --check --quiet
	$(DEV)/mypy
	$(DEV)/lint-imports
	$(DEV)/python frontend/build.py --run check

packaging: .venv-dev/installed
	$(DEV)/python -m pytest tests/packaging --packaging $(ARGS)

ci: lint test packaging

dev:
	rm -f .venv-dev/installed
	$(MAKE) .venv-dev/installed

.venv/installed: pyproject.toml CMakeLists.txt $(wildcard src/cellbrook/_kernels/*)
	$(PYTHON) -m venv .venv
	$(DEMO)/pip install $(PIP_FLAGS) .
	@touch $@

.venv-dev/installed: pyproject.toml CMakeLists.txt $(wildcard src/cellbrook/_kernels/*)
	$(PYTHON) -m venv .venv-dev
	$(if $(TORCH),$(DEV)/pip install $(PIP_FLAGS) $(TORCH))
	$(DEV)/pip install $(PIP_FLAGS) "scikit-build-core>=0.11" "nanobind>=2.4" ninja cmake
	$(DEV)/pip install $(PIP_FLAGS) --no-build-isolation --config-settings=editable.mode=redirect --editable ".[dev]"
	@touch $@

clean:
	rm -rf build dist $(OUT) .venv .venv-dev frontend/node_modules src/cellbrook/server/static
