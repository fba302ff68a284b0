# `make help` lists everything. What takes long is done once: stamps inside .venv remember it.

PYTHON ?= python3
ARGS ?=
VENV := .venv
FLOORS := .venv-floors
BENCH := .venv-bench
BIN := $(VENV)/bin
READY := $(VENV)/.latentkit

.DEFAULT_GOAL := help
.PHONY: help lab doctor test test-fast lint types format labs book wheel floors bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

lab: $(READY) ## set up once, then open the labs in JupyterLab (ARGS=--no-browser and such are passed on)
	$(BIN)/jupyter lab labs --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

doctor: $(READY) ## can the labs run here, and how to mend what is missing
	@$(BIN)/latentkit doctor $(ARGS)

test: $(READY) ## every check there is; the last line counts passed, failed and skipped
	@$(BIN)/python tests/run.py

test-fast: $(READY) ## the fast tests, in seconds
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist=worksteal $(ARGS)

lint: $(READY) ## style of the code, the tests and the labs' masters
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## type check of the package
	@$(BIN)/mypy

format: $(READY) ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

labs: $(READY) ## build the notebooks from labs/source, where a master has changed
	$(BIN)/python -m latentkit.course.build $(ARGS)

book: $(READY) ## build the book from the solved notebooks into book/_build/html
	$(BIN)/jupyter-book build . --config book/_config.yml --toc book/_toc.yml --path-output book -W --keep-going

wheel: $(READY) ## build the installable package into dist/
	$(BIN)/python -m hatchling build -t wheel

floors: ## the fast tests under the lowest versions that pyproject.toml allows, in an environment of its own
	$(PYTHON) -m venv --clear $(FLOORS)
	$(FLOORS)/bin/python tests/floors.py > $(FLOORS)/requirements.txt
	$(FLOORS)/bin/python -m pip install -q -r $(FLOORS)/requirements.txt
	$(FLOORS)/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	$(FLOORS)/bin/python -m pytest -q -W default --ignore=tests/browser --ignore=tests/book $(ARGS)

bench: $(READY) ## time our models against other packages, in an environment of their own; writes data/benchmarks/
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt -r benchmarks/requirements.txt
	$(BENCH)/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	for script in benchmarks/*.py; do $(BENCH)/bin/python $$script || exit 1; done

clean: ## remove what was built (the environment stays; rm -r .venv for that too)
	rm -rf book/_build dist .reports .pytest_cache .mypy_cache .ruff_cache .hypothesis $(FLOORS) $(BENCH)
	find . -path ./$(VENV) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

$(VENV)/.requirements: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) --version); latentkit needs Python 3.11 or newer: make lab PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

# Besides the kernel of the virtual environment: JupyterLab is told not to ask whether it may fetch news.
$(READY): $(VENV)/.requirements pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m ipykernel install --sys-prefix --name latentkit --display-name "Python (latentkit)" > /dev/null
	@mkdir -p $(VENV)/share/jupyter/lab/settings
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
		> $(VENV)/share/jupyter/lab/settings/overrides.json
	@touch $@
