# Two commands on a fresh machine with Python 3.11 or later, make and git:
#   make demo    super-resolve the example photo
#   make test    ruff, mypy, pytest
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint clean

demo: $(VENV)/installed
	$(BIN)/vspsr upscale examples/cat.png -o demo --samples 10 --mean --stddev --contact-sheet --overwrite
	$(BIN)/vspsr check demo/cat_x4_s00.png examples/cat.png
	@echo "Look at demo/cat_x4_sheet.png (all side by side) and demo/cat_x4_stddev.png (what is uncertain)."

test: $(VENV)/installed-dev lint
	$(BIN)/pytest -q

# The same and the slow checks: every image of the test sets, bit for bit.
test-all: $(VENV)/installed-dev lint
	$(BIN)/pytest -q -m "slow or not slow"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -e ".[dev,eval,train]"
	@touch $@

clean:
	rm -rf $(VENV) demo
