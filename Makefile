# make demo   sets up everything, starts Hearth, deploys examples/hello, invokes it, stops
# make test   sets up everything and runs every check and every test
# make bench  prints warm, cold, CPU and idle figures as ratios to a floor measured beside them
#             (bench-decisions: the decisions alone; bench-control: 10,000 versions; fuzz: all inputs)
# make bench-streaming  prints how late streamed bytes reach the client, and what 200 MB of them cost
# make bench-cold  prints what starts cost, each row with its target (bench-cold-node: of Node.js)
# make bench-events  prints how fast events are accepted and begun, beside the engine's own rates
# make crash-async   kills everything, again and again: is any event lost?  (8 minutes)
# make flood-async   200,000 events of a throttled function: do they delay those of another?
# make bench-freeze  prints what freezing an idle sandbox costs, and thawing it
# make leak   lets 2,000 sandboxes of each kind come and go, and looks for what they leave
# make third-party    builds what is made with AWS's crates and AWS's C++ client, for the tests; needs cargo and cmake
# make kill   kills parts of a running Hearth 28 times, and looks for what the next start leaves
#
# All of them need git, make and Python >= 3.11 with venv; everything else comes from PyPI.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format unit bench bench-cold bench-cold-node bench-decisions bench-control bench-streaming fuzz leak kill lock clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Hearth needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: third-party
third-party: setup
	@$(BIN)/python tests/third_party/build.py

demo: setup
	@$(BIN)/python tools/demo.py

test: check unit

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests bench tools
	$(BIN)/lint-imports

unit: setup
	@$(BIN)/python tools/run_tests.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	@$(BIN)/python bench/run.py

bench-decisions: setup
	@$(BIN)/python bench/decisions_bench.py

bench-control: setup
	@$(BIN)/python bench/control_plane.py

fuzz: setup
	@$(BIN)/python tools/fuzz.py --seconds 60

bench-streaming: setup
	@$(BIN)/python bench/streaming.py

bench-cold: setup
	@$(BIN)/python bench/cold.py

bench-cold-node: setup
	@$(BIN)/python bench/cold_node.py

.PHONY: bench-events crash-async flood-async
bench-events: setup
	@$(BIN)/python bench/events.py

crash-async: setup
	@$(BIN)/python tools/crash_async.py

flood-async: setup
	@$(BIN)/python tools/flood_async.py

.PHONY: bench-freeze
bench-freeze: setup
	@$(BIN)/python bench/freeze.py

leak: setup
	HEARTH_TEST_SANDBOXES=2000 $(BIN)/pytest -q tests/integration/test_leaks.py

kill: setup
	HEARTH_TEST_KILLS=28 $(BIN)/pytest -q tests/compat/test_kills.py

# After a change of the dependencies in pyproject.toml.
lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
