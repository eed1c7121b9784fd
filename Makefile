# Everything runs in .venv, which the first target that needs it makes from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RELEASE := .release/tools

.PHONY: help train test lint flags docs canary lock release-check clean

help:            ## show what there is to make
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 15

train: $(INSTALLED)  ## train the ring classifier: synthetic data, nothing to download
	$(BIN)/python scripts/train.py

test: $(INSTALLED)   ## check style and types, then run all tests
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)   ## check style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

flags: $(INSTALLED)  ## write the flags of train again, from the constructors of models, data modules and Trainer
	$(BIN)/python scripts/write_flags.py

docs: $(INSTALLED)   ## build the documentation, in build/docs
	$(BIN)/mkdocs build --strict --site-dir build/docs

canary: $(INSTALLED) ## test the loops with the newest Lightning and torchmetrics, in .canary
	rm -rf .canary
	$(BIN)/python -m venv .canary
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$(.canary/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth"
	.canary/bin/pip install --quiet --ignore-installed --no-deps pytorch-lightning torchmetrics lightning-utilities
	.canary/bin/pip list 2>/dev/null | grep -E '^(pytorch-lightning|torch|torchmetrics) '
	.canary/bin/python -m pytest -q tests/integration/test_lightning_parity.py tests/unit/loops \
		tests/unit/utils/test_lightning_internals.py

# Versions that still fit are kept; ARGS=--upgrade takes the newest ones.
lock: $(RELEASE)     ## pin all dependencies, in requirements.lock with hashes, in constraints.txt without
	$(RELEASE)/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --extra dev --extra release --output-file requirements.lock $(ARGS) pyproject.toml
	{ echo '# The exact versions that the tests pass with, written by make lock.'; \
		sed -n '/^[a-z]/s/ \\$$//p' requirements.lock; } > constraints.txt

release-check: $(RELEASE)  ## build the package, and test the wheel in empty environments, in .release
	.ci/release-check

clean:           ## remove what was installed and cached
	rm -rf $(VENV) .canary .release .pytest_cache .mypy_cache .ruff_cache build *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "make: Python 3.10 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); try make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(RELEASE): constraints.txt
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --constraint constraints.txt build twine uv
	@touch $@
