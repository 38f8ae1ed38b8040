# icav2-copy-batch: what people do with it. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
UV_VERSION := 0.13.9

# Three environments: ours, SAM CLI's and ministack's, since the last two pin different versions of botocore.
TOOLS := $(CURDIR)/.tools
UV := $(TOOLS)/uv/bin/uv
BIN := $(CURDIR)/.venv/bin
SAM := $(TOOLS)/sam/bin/sam

export PATH := $(TOOLS)/uv/bin:$(TOOLS)/sam/bin:$(PATH)
export UV_SYSTEM_CERTS := 1
export SAM_CLI_TELEMETRY := 0

SEEDS ?= 10000

.PHONY: help setup demo local test coverage soak replay mutants bench screenshot check build validate deploy format lock clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/.done .tools/sam/.done .tools/ministack/.done ## Install everything, below this folder

demo: setup ## Copy a sequencing run on a local AWS against a simulated ICA (MANIFEST=path for another)
	@PYTHONPATH=src $(BIN)/python -m local.demo $(if $(MANIFEST),--manifest "$(MANIFEST)")

local: setup ## Leave the same stack running until Ctrl-C (variables: see README, "Run it locally")
	@PYTHONPATH=src $(BIN)/python -m local.serve

test: setup ## Unit, integration and end-to-end tests
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

coverage: setup ## Unit and integration tests, with the lines and branches that they leave out
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term-missing:skip-covered tests/unit tests/integration

soak: setup ## The promise, over 10,000 seeds of the simulated world (SEEDS=number)
	@PYTHONPATH=src $(BIN)/python -m tests.simulation.soak --seeds $(SEEDS)

replay: setup ## One seed of the simulated world, with all that happens in it: make replay SEED=123
	@PYTHONPATH=src $(BIN)/python -m tests.simulation.soak --replay $(SEED)

mutants: setup ## Take each condition of the table away, one at a time: its tests have to fail (some minutes)
	@PYTHONPATH=src $(BIN)/python -m tests.mutants

bench: setup ## Measure speed, ICA calls, scale and cost, and write docs/ (ONLY=makespan,ingest for some parts)
	@PYTHONPATH=src $(BIN)/python -m local.bench $(if $(ONLY),--only "$(ONLY)")

screenshot: setup ## The pictures of reports in docs/ (CHROME=path, where Chromium is not on the path)
	@PYTHONPATH=src $(BIN)/python -m tests.browser.screenshot

check: setup ## Lint, types and template
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SAM) validate --lint --region us-east-1

build: .tools/sam/.done ## Build the functions for AWS into .aws-sam/build
	$(SAM) build

deploy: build ## Deploy to AWS, asking for the parameters
	$(SAM) deploy --guided

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV) ## Pin all requirements anew
	$(UV) pip compile -q --upgrade --universal --no-header --no-annotate --extra ica --extra cli --group dev pyproject.toml -o tests/requirements.txt
	$(UV) pip compile -q --upgrade --universal --no-header --no-annotate -c tests/requirements.txt pyproject.toml \
		--no-emit-package boto3 --no-emit-package botocore -o src/requirements.txt
	$(UV) pip compile -q --upgrade --universal --no-header --no-annotate -c tests/requirements.txt --extra ica pyproject.toml \
		--no-emit-package boto3 --no-emit-package botocore -o src/requirements-ica.txt
	$(UV) pip compile -q --upgrade --universal --no-header --no-annotate --group sam -o local/requirements-sam.txt
	$(UV) pip compile -q --upgrade --universal --no-header --no-annotate --group ministack -o local/requirements-ministack.txt

clean: ## Remove all that was installed or built
	rm -rf .venv .tools .aws-sam .mypy_cache .pytest_cache .ruff_cache

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(TOOLS)/uv
	$(TOOLS)/uv/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)

.venv/.done: tests/requirements.txt | $(UV)
	$(UV) venv -q --clear --python $(TOOLS)/uv/bin/python .venv
	$(UV) pip sync -q --python .venv $<
	@touch $@

.tools/%/.done: local/requirements-%.txt | $(UV)
	$(UV) venv -q --clear --python $(TOOLS)/uv/bin/python $(@D)
	$(UV) pip sync -q --python $(@D) $<
	@touch $@
