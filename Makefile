# Everything from a fresh clone: `make lab` to use it, `make test` to trust it.
# PYTHON=... names the interpreter, ARGS="..." passes arguments on, WHEELS=URL takes a prebuilt llama-cpp-python,
# CMAKE_ARGS="-DGGML_CUDA=on" builds it for CUDA, TIMES=1 prints how long each part of setting up took.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
EXTRAS := demo,lab,hub,sweeps,serve
DEV_EXTRAS := $(EXTRAS),dev
# VS Code's widget manager, for tests: its bundle alone, not the packages that it was made from.
VSCODE := build/vscode/package/dist/ipywidgets.js
VSCODE_PACKAGE := @vscode/jupyter-ipywidgets8@1.0.9

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help lab demo test test-fast test-real test-browser check check-widgets bench fuzz matrix binding dist torch \
  notebooks clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

lab: $(READY)  ## Open JupyterLab on the quickstart notebook
	$(BIN)/exsa-lab lab $(ARGS)

demo: $(READY)  ## Run the quickstart without a browser and write quickstart.html
	$(BIN)/exsa-lab demo $(ARGS)

test: $(DEV_READY) $(VSCODE)  ## Run every test: fast, real models, notebooks, browser
	$(BIN)/python -m pytest $(ARGS)

# The three parts of `make test`, for CI. Only the first is spread over the cores: the others use them all.
test-fast: $(DEV_READY)  ## Run the tests that need neither weights nor a browser, in parallel
	$(BIN)/python -m pytest -m "not real and not browser" -n auto --dist loadfile $(ARGS) tests

test-real: $(DEV_READY)  ## Run the tests on the real model pair, and the notebooks
	$(BIN)/python -m pytest -m "real and not browser" $(ARGS)

test-browser: $(DEV_READY) $(VSCODE)  ## Run the tests in a real JupyterLab
	$(BIN)/python -m pytest -m browser $(ARGS) tests

check: $(DEV_READY)  ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory check-widgets; \
	elif [ -n "$$CI" ]; then echo "npm is not installed, and CI checks the widgets' scripts too." >&2; exit 1; \
	else echo "NOT CHECKED: the widgets' scripts, for npm is not installed."; fi

check-widgets: node_modules/.package-lock.json  ## Lint the widgets' scripts, and test in node what needs no page
	npm run --silent check

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(VSCODE):
	@mkdir -p build/vscode
	@cd build/vscode && npm pack --silent $(VSCODE_PACKAGE) >package.txt && tar -xzf "$$(cat package.txt)" || \
	  echo "npm did not bring VS Code's widget manager: its tests are skipped." >&2

bench: $(READY)  ## Measure decoding on this machine
	$(BIN)/exsa-lab bench $(or $(ARGS),decode)

fuzz: $(DEV_READY)  ## Throw random inputs at what reads them: ARGS="all --seconds 180"
	$(BIN)/python -m tests.fuzz $(or $(ARGS),all)

matrix: $(DEV_READY)  ## Try every Python that is here, and print a table
	$(BIN)/python scripts/matrix.py $(ARGS)

binding: $(DEV_READY)  ## Say what the next release of llama-cpp-python would move
	$(BIN)/python scripts/check_binding.py $(ARGS)

dist: $(DEV_READY)  ## Build sdist and wheel, and try the wheel in an empty environment
	$(BIN)/python scripts/make_dist.py

torch: $(DEV_READY)  ## Install what the tests of distilling need; it is large, and they skip without it
	$(BIN)/python -m pip install --disable-pip-version-check "torch==2.13.0" gguf

notebooks: $(DEV_READY)  ## Run the notebooks and store their outputs
	$(BIN)/python scripts/store_outputs.py notebooks/*.ipynb

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first interpreter that is new enough, PYTHON first where it is given.
define set-up
@started=$$(date +%s); found=; \
for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$python"; break; fi; \
done; \
if [ -z "$$found" ]; then \
  echo "exsa_lab needs Python 3.11 or newer, and none was found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
  exit 1; \
fi; \
[ -x $(BIN)/python ] || "$$found" -m venv $(VENV); \
$(BIN)/python scripts/set_up.py --extras $(1) --started $$started $(if $(WHEELS),--wheels "$(WHEELS)") $(if $(TIMES),--times)
endef
SET_UP := pyproject.toml cmake/only-libllama.cmake scripts/set_up.py scripts/llama_wheel.py

$(READY): $(SET_UP)
	$(call set-up,$(EXTRAS))
	@touch $@

# What `make lab` needs, and what checks and tests need besides.
$(DEV_READY): $(SET_UP)
	$(call set-up,$(DEV_EXTRAS))
	@touch $(READY) $@
