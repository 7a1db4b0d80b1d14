# make test     on a fresh clone: virtual environment, installation, tests (the longer ones beside the many short ones)
# make test-browser  the report in a browser; Debian's chromium and npm's axe-core are installed where they are missing
# make demo     the whole pipeline on a toy category that it makes itself
# make fuzz     the property tests with many examples, other ones each time (`make test` takes the same few every time)
# make check    lint, format and types

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

AXE := $(VENV)/axe/node_modules/axe-core/axe.min.js
# What `make test` runs beside the unit tests, two at once: the server's tests wait half of their time.
BESIDE ?= test-server test-runs test-real

# The modules with tests of a mark: pytest imports all that it is given before it looks at marks.
marked = $(shell grep -l "mark\.$(1)" tests/test_*.py)
# Each of the tests' processes would otherwise compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test test-unit test-runs test-server test-real test-browser fuzz demo check clean

test: $(INSTALLED)
	$(MAKE) --no-print-directory --jobs=2 --output-sync --keep-going $(BESIDE) > .beside-tests.log 2>&1 & beside=$$!; \
	$(MAKE) --no-print-directory test-unit; unit=$$?; \
	wait $$beside; status=$$?; cat .beside-tests.log; exit $$((unit + status))

test-unit: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not runs and not server and not real_data and not browser"

test-runs: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "runs and not server" $(call marked,runs)

test-server: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m server $(call marked,server)

test-real: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m real_data $(call marked,real_data)

test-browser: $(INSTALLED) $(AXE)
	command -v chromium > /dev/null && command -v chromedriver > /dev/null || \
	  (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver)
	OMP_NUM_THREADS=1 AXE_SCRIPT=$(AXE) $(BIN)/python -m pytest -m browser $(call marked,browser)

$(AXE): | $(INSTALLED)
	command -v npm > /dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends npm)
	npm install --silent --no-audit --no-fund --no-save --prefix $(VENV)/axe axe-core@4

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m hypothesis --hypothesis-profile fuzz -o timeout=7200

demo: $(INSTALLED)
	$(BIN)/defectfill demo configs/toy.yaml

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo out build *.egg-info

# Without compiling: Python compiles what it loads, a minute is saved.
$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[dev]"
	touch $@
