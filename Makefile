# Every target sets up what it needs in .venv: hashed, locked dependencies, so that a fresh machine
# gets what was tested. Needs Python 3.11 or newer and make; nothing else has to be installed.

.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin

# The first interpreter that really starts and is new enough; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

# Half as many again as there are cores: many tests wait for a time that is really to pass.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(max(2, (os.cpu_count() or 2) * 3 // 2))')
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Tests are rewritten and programs compiled in each of many processes: once is enough.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo serve test collected test-all test-fast clients test-clients test-n8n test-cluster conformance lint format bench soak lock clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

$(VENV)/run: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "ccxt-mcp needs Python 3.11 or newer: install it, or give make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (once; downloads for a minute or so, 200 MB installed)" >&2
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.lock
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/run ## serve a simulated exchange with two funded accounts (ARGS="--once" runs two workflows and stops)
	@$(BIN)/ccxt-mcp demo $(ARGS)

serve: $(VENV)/run ## serve the exchanges and accounts of ./ccxt-mcp.toml and the environment
	@$(BIN)/ccxt-mcp serve $(ARGS)

test: lint test-all ## style, types and all tests

collected: $(VENV)/dev ## rewrite the tests' assertions, ahead of the workers that would each do it (what is wrong, test-all tells)
	@$(BIN)/python -m pytest --collect-only --quiet >/dev/null || true

test-all: $(VENV)/dev ## all tests, without style and types
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

CLUSTER := tests/unit/transport tests/cluster $(addprefix tests/e2e/test_,two_workflows.py timeouts.py \
	plain_http.py client.py versions.py writes.py pool_storm.py progress.py server_status.py)

test-cluster: $(VENV)/dev ## the tests of one process behind a router over three replicas (CCXT_MCP_TEST_SEED=N draws others), on a Redis Cluster and through failovers, then behind a real nginx
	CCXT_MCP_TEST_REPLICAS=3 $(BIN)/python -m pytest -n auto $(ARGS) $(CLUSTER)
	$(BIN)/python -m pytest -n auto -m servers $(ARGS) tests/unit/store tests/cluster
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v nginx >/dev/null || { echo "the rest of test-cluster needs nginx on the PATH (your system's package: apt-get install nginx, dnf install nginx, brew install nginx); it need not run" >&2; exit 1; }
	$(BIN)/python -m pytest -m cluster $(ARGS) tests/cluster

test-fast: $(VENV)/dev ## the unit tests alone
	$(BIN)/python -m pytest tests/unit $(ARGS)

$(VENV)/langgraph/ready: examples/langgraph/requirements.txt | $(VENV)/dev
	@$(BIN)/python -m venv $(VENV)/langgraph
	@$(VENV)/langgraph/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@touch $@

%/node_modules/.package-lock.json: %/package-lock.json
	@cd $* && npm ci --silent --no-audit --no-fund --ignore-scripts

clients: $(VENV)/dev $(VENV)/langgraph/ready ## set up the foreign clients of test-clients
	@command -v curl >/dev/null || { echo "test-clients needs curl on the PATH" >&2; exit 1; }
	@node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' 2>/dev/null && command -v npm >/dev/null || { echo "test-clients needs Node.js 20 or newer with npm on the PATH (your system's package, or https://nodejs.org)" >&2; exit 1; }
	@$(MAKE) --no-print-directory tests/clients/node_modules/.package-lock.json examples/typescript/node_modules/.package-lock.json

test-clients: clients ## foreign clients against the server: TypeScript SDKs, MCP Inspector, curl, fetch, LangGraph (needs Node.js 20 or newer)
	LANGGRAPH_PYTHON=$(CURDIR)/$(VENV)/langgraph/bin/python $(BIN)/python -m pytest -n auto -m clients $(ARGS) tests/clients tests/e2e/test_concurrency_guide.py

test-n8n: $(VENV)/dev ## a real n8n imports and executes examples/n8n/workflow.json (N8N=/path/to/n8n; see tests/clients/test_n8n.py)
	$(BIN)/python -m pytest -m n8n $(ARGS) tests/clients

SUITE := tests/conformance/node_modules/installed

$(SUITE): tests/conformance/package-lock.json
	@command -v npm >/dev/null || { echo "conformance needs npm (it comes with Node.js: your system's package, or https://nodejs.org); npm fetches the suite and the Node.js 22 that it runs on" >&2; exit 1; }
	cd tests/conformance && npm ci --silent --no-audit --no-fund
	@touch $@

conformance: $(VENV)/dev $(SUITE) ## the public MCP conformance suite, both eras (needs npm)
	$(BIN)/python -m tests.conformance.run --check
	$(BIN)/python -m pytest -m conformance $(ARGS) tests/conformance

lint: $(VENV)/dev ## style and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev ## mend the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev ## measure against the references of the same run
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/dev ## load with faults, a hanging exchange, limits at full speed, a fuzz, sessions in disorder, floods, a stop under load, the client through restarts, replicas that are killed, a faulty store
	$(BIN)/python -m benchmarks.soak --seconds 120 $(ARGS)
	$(BIN)/python -m benchmarks.soak --hang
	$(BIN)/python -m benchmarks.soak_limits --seconds 60 --sessions 64
	$(BIN)/python -m benchmarks.soak_limits --seconds 60 --sessions 64 --cancel
	$(BIN)/python -m benchmarks.fuzz --cases 100000
	$(BIN)/python -m benchmarks.fuzz_api --cases 20000
	$(BIN)/python -m benchmarks.chaos --seed 1 --sessions 200 --calls 50 --rounds 3
	$(BIN)/python -m benchmarks.flood --kind session --calls 5000
	$(BIN)/python -m benchmarks.flood --kind sessions --calls 5000
	$(BIN)/python -m benchmarks.flood --kind nameless --calls 2000
	$(BIN)/python -m benchmarks.stopping --sessions 40
	$(BIN)/python -m benchmarks.pool --calls 1000
	$(BIN)/python -m benchmarks.replicas --seconds 60
	$(BIN)/python -m benchmarks.store_faults --seconds 10

lock: $(VENV)/dev ## resolve the dependencies anew
	$(BIN)/python -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet pyproject.toml --extra redis --group build -o requirements.lock
	$(BIN)/python -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet -c requirements.lock pyproject.toml --group dev -o requirements-dev.lock
	$(BIN)/python -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet examples/langgraph/requirements.in -o examples/langgraph/requirements.txt

clean: ## remove what the targets made
	rm -rf $(VENV) tests/clients/node_modules tests/conformance/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
