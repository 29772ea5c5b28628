# Two commands: `make demo` (from nothing to the report) and `make test`. Both make their own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint benchmarks clean-environment

demo: $(READY)
	@PATH="$(BIN):$$PATH" snakemake --cores all --resources gpu=1
	@echo
	@echo "The report is $(CURDIR)/results/report.html - open it in a browser."

test: $(READY)
	@PATH="$(BIN):$$PATH" OMP_NUM_THREADS=1 pytest -n auto --dist loadgroup

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/python -m workflow.dvc_stages --check

benchmarks: $(READY)
	@for file in benchmarks/bm_*.py; do echo "== $$file"; PATH="$(BIN):$$PATH" PYTHONPATH=. python $$file || exit 1; done

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "im2hands needs Python 3.11 or newer; set PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[workflow,dev]'
	@touch $(READY)

clean-environment:
	rm -rf $(VENV)
