# Everything from a fresh clone: `make lab` to use it, `make test` to trust it.
# Override the interpreter with PYTHON=..., pass arguments on with ARGS="...".

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help lab demo test check bench notebooks clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

lab: $(READY)  ## Open JupyterLab on the quickstart notebook
	$(BIN)/exsa-lab lab $(ARGS)

demo: $(READY)  ## Run the quickstart without a browser and write quickstart.html
	$(BIN)/exsa-lab demo $(ARGS)

test: $(READY)  ## Run every test: fast, real models, notebooks, browser
	$(BIN)/python -m pytest $(ARGS)

check: $(READY)  ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## Measure decoding on this machine
	$(BIN)/exsa-lab bench $(or $(ARGS),decode)

notebooks: $(READY)  ## Run the notebooks and store their outputs
	$(BIN)/python scripts/store_outputs.py notebooks/*.ipynb

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first interpreter that is new enough, PYTHON first where it is given.
$(READY): pyproject.toml
	@found=; for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "exsa_lab needs Python 3.11 or newer, and none was found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV). The first time, compiling llama.cpp takes about five minutes (a C/C++ compiler is needed)."; \
	[ -x $(BIN)/python ] || "$$found" -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[demo,lab,dev]"
	@touch $@
