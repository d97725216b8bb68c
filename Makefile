# Two commands do everything on a fresh machine: `make demo` and `make test`. ARGS are passed on, e.g. make demo ARGS=--once
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ARGS ?=
PIP = .venv/bin/pip --disable-pip-version-check --quiet

.PHONY: demo test check bench clean

demo: .venv/run
	@.venv/bin/waymark demo $(ARGS)

test: .venv/dev
	@.venv/bin/pytest -n 2 --dist worksteal $(ARGS)

check: .venv/dev
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@$(MAKE) --no-print-directory test

bench: .venv/dev
	@.venv/bin/python -m benchmarks.run $(ARGS)

clean:
	rm -rf .venv build demo .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# What runs Waymark, and what also tests it. Versions are pinned in .ci/constraints.txt.
.venv/run: pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Waymark needs Python 3.11 or later; try: make PYTHON=python3.11")'
	@echo "Setting up .venv (once; a minute or so) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) install -c .ci/constraints.txt -e .
	@touch $@

.venv/dev: .venv/run
	@echo "Adding what the tests need ..."
	@$(PIP) install -c .ci/constraints.txt -e '.[dev]'
	@touch $@
