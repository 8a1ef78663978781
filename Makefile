PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11
MAIN := .venv/.main
DEV := .venv/.dev

.PHONY: quickstart dev test test-slow settings lint coverage docs lock wheel

quickstart: $(MAIN)
	$(BIN)/python run.py experiment=quickstart

# The environment alone, with all that tests, linters and each command need.
dev: $(DEV)

test: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

# Over the fast tests; htmlcov/index.html shows the lines that none runs.
coverage: $(DEV)
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report --skip-covered

# What is made from the settings of the code: a page of the documentation, and a schema for editors.
settings: $(DEV)
	$(BIN)/python -m cifar settings --markdown > docs/settings.md
	$(BIN)/python -m cifar settings --json-schema > conf/schema.json

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ as a site in site/.
docs: $(DEV)
	$(BIN)/mkdocs build --strict --quiet

# The versions that are installed, for Python 3.11 to 3.13. Those that still fit stay: remove the files to have the newest.
lock: .venv/.pip
	$(PIP) install "uv>=0.9,<1"
	$(LOCK) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(LOCK) --constraints requirements-dev.lock --output-file requirements.lock requirements.txt

wheel: $(DEV)
	$(BIN)/python -m hatchling build --target wheel

$(MAIN): requirements.lock .venv/.pip
	$(PIP) install --require-hashes --no-deps --requirement requirements.lock
	touch $@

$(DEV): requirements-dev.lock .venv/.pip
	$(PIP) install --require-hashes --no-deps --requirement requirements-dev.lock
	touch $@

.venv/.pip:
	$(PYTHON) -m venv .venv
	$(PIP) install "pip>=26.3,<27"
	touch $@
