# Two commands matter: `make demo` and `make test`. Both set everything up first; the second time they start at once.

BIN := .venv/bin
PYTHON3 ?= python3
PARALLEL ?= -n 2 --dist loadgroup --no-loadscope-reorder

PYTEST ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick soak gpu check fmt links docs clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: .venv/.ready ## .venv with ratoon and everything it needs

.venv/.ready: pyproject.toml constraints.txt tools/setup.py
	@command -v $(PYTHON3) >/dev/null 2>&1 || { \
	  echo "$(PYTHON3) not found. On Debian and Ubuntu: sudo apt install python3 python3-venv"; exit 1; }
	@$(PYTHON3) tools/setup.py

demo: .venv/.ready ## a base model through three rounds, on this machine
	$(BIN)/ratoon run recipes/demo.toml --run runs/demo

test: .venv/.ready ## the whole test suite, the real model included
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST)

quick: .venv/.ready ## the tests that need no model and no Prefect server
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not prefect and not soak" $(PYTEST)

soak: .venv/.ready ## the sweeps of faults and kills at full size (half an hour)
	RATOON_SOAK=1 $(BIN)/python -m pytest -m soak $(PYTEST)

gpu: .venv/.ready ## the tests that need a GPU
	$(BIN)/python -m pytest -m gpu $(PYTEST)

check: .venv/.ready links ## ruff, mypy, import boundaries, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p ratoon
	$(BIN)/python -m pytest -q tests/test_boundaries.py tests/test_docs.py

fmt: .venv/.ready ## format and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.ready ## write the generated reference pages anew
	$(BIN)/python tools/gen_docs.py

links: ## .links/, for static checkers (see CONTRIBUTING.md)
	@$(PYTHON3) -c 'import tomllib' 2>/dev/null && $(PYTHON3) tools/links.py || $(BIN)/python tools/links.py

clean: ## remove .venv, links and caches; runs stay
	rm -rf .venv .links build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
