# Every habit of this project is one target here; the hooks and the CI call nothing else.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PORT ?= 8000
DOCKER ?= docker
COMPOSE ?= $(DOCKER) compose
# Where torch comes from. Empty: the CPU build on a machine without an NVIDIA driver, else PyPI's
# CUDA build; a package source that pip's own configuration names is left alone.
TORCH_INDEX ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := .demo
VERSION := $(shell cat rm_client/VERSION)
# Processes of tests: one for each core, one thread each. WORKERS=0: in this process, for a debugger.
WORKERS ?= logical
XDIST := -n $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder
CPU_TORCH_INDEX := https://download.pytorch.org/whl/cpu

##@ Start here
.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(STAMP) ## Make .venv with everything at its pinned version (PYTHON= another interpreter)

$(STAMP): pyproject.toml setup.py rm_client/pyproject.toml rm_client/VERSION constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "No $(PYTHON) here. Install Python 3.11 or newer, or name it: make setup PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "rewardd needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1). Name another: make setup PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	@index='$(TORCH_INDEX)'; \
	if [ -z "$$index" ] && ! command -v nvidia-smi >/dev/null \
	  && ! $(BIN)/python -m pip config list | grep -E 'index-url|find-links' >/dev/null; then \
	  index=$(CPU_TORCH_INDEX); \
	fi; \
	echo "Installing torch into $(VENV)"; \
	$(BIN)/python -m pip install -c constraints.txt $${index:+--extra-index-url "$$index"} torch
	@echo "Installing everything else (a minute or two)"
	@$(BIN)/python -m pip install -q -c constraints.txt -e ./rm_client -e '.[dev]'
	@touch $@

.PHONY: demo
demo: $(STAMP) ## Train both reward models on the bundled sample, show scores, serve (PORT=8000)
	@$(BIN)/rewardd demo --directory $(DEMO) --port $(PORT) $(ARGS)

##@ Work on it
.PHONY: test
test: $(STAMP) ## Run every test (ARGS= goes to pytest)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(XDIST) $(ARGS)

.PHONY: cov
cov: $(STAMP) ## Run every test and hold the floors of branch coverage: all 90 %, rm_core/rewards 100 %
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(XDIST) --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --skip-covered --fail-under=90
	$(BIN)/coverage report --include='rm_core/rewards/*' --fail-under=100

REQUIREMENTS := tests/integration/requirements
TRAINERS := trainers ppo clients pytriton
TRAINERS_STAMPS := $(TRAINERS:%=.venv-%/.installed)

$(TRAINERS_STAMPS): .venv-%/.installed: $(REQUIREMENTS)/%.txt $(STAMP)
	@$(@D)/bin/python -c 'import pip' 2>/dev/null || "$(PYTHON)" -m venv --clear $(@D)
	@echo "Installing $< into $(@D)"
	@index='$(TORCH_INDEX)'; \
	if [ -z "$$index" ] && ! command -v nvidia-smi >/dev/null \
	  && ! $(@D)/bin/python -m pip config list | grep -E 'index-url|find-links' >/dev/null; then \
	  index=$(CPU_TORCH_INDEX); \
	fi; \
	if grep -q '^trl' $<; then \
	  constraints='-c constraints.txt'; \
	  $(@D)/bin/python -m pip install -q $$constraints $${index:+--extra-index-url "$$index"} torch; \
	fi; \
	$(@D)/bin/python -m pip install -q $$constraints -r $<
	@touch $@

# Each environment runs what its packages are there for; the rest is not collected in it.
INTEGRATION := -m pytest -W default tests/integration/clients
.PHONY: test-integrations
test-integrations: $(TRAINERS_STAMPS) ## Real trainers and clients against a real server, in .venv-trainers and its kin
	.venv-clients/bin/python $(INTEGRATION) $(ARGS)
	.venv-pytriton/bin/python $(INTEGRATION) $(ARGS)
	.venv-trainers/bin/python $(INTEGRATION) tests/integration/trainers $(ARGS)
	.venv-ppo/bin/python -m pytest -W default tests/integration/trainers/test_trl_ppo.py $(ARGS)

.PHONY: test-cuda
test-cuda: $(STAMP) ## Run the tests that need a CUDA device; elsewhere they skip themselves
	$(BIN)/python -m pytest -m cuda $(ARGS)

.PHONY: chaos
chaos: $(STAMP) ## Attack real server processes for as long as it was meant (ARGS='--chaos-seed N' repeats)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/chaos --chaos full --chaos-seed $$RANDOM $(ARGS)

.PHONY: mutate
mutate: $(STAMP) ## Put one mistake after another into a copy of the tree: each must turn its tests red
	$(BIN)/python -m tests.mutation.run $(ARGS)

.PHONY: check
check: $(STAMP) ## What the CI runs: lint, types, import contracts, documents, tests
	@$(MAKE) -j2 -Otarget lint types imports docs
	@$(MAKE) test

.PHONY: lint
lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(STAMP) ## Check types, strictly
	$(BIN)/mypy

.PHONY: imports
imports: $(STAMP) ## Check who imports whom
	$(BIN)/lint-imports

.PHONY: docs
docs: $(STAMP) ## Build the documents' site into build/site; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict

.PHONY: fix
fix: $(STAMP) ## Format, and mend what ruff can mend; the only target that edits files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: hooks
hooks: $(STAMP) ## Install the git hooks of .pre-commit-config.yaml
	$(BIN)/pre-commit install

.PHONY: dist
dist: $(STAMP) ## Build both distributions into dist/, and try the wheels in a fresh environment
	rm -rf dist build/dist *.egg-info rm_client/*.egg-info
	$(BIN)/python -m build -q --outdir dist rm_client
	$(BIN)/python -m build -q --outdir dist .
	"$(PYTHON)" -m venv build/dist
	build/dist/bin/python -m pip install -q -c constraints.txt dist/rewardd_client-$(VERSION)-*.whl
	cd build/dist && bin/python -c 'import rm_client; print("rewardd-client", rm_client.__version__)'
	build/dist/bin/python -m pip install -q -c constraints.txt dist/*.whl
	cd build/dist && bin/rewardd --help >help.txt
	cd build/dist && ! timeout 10 bin/rewardd info --url http://127.0.0.1:9 2>answer.txt && grep -q 'no connection' answer.txt
	cd build/dist && ! bin/rewardd info --safety-model . 2>answer.txt && grep -q "pip install 'rewardd\[" answer.txt
	! build/dist/bin/python -c 'import torch' 2>/dev/null
	@echo "Both distributions are in dist/ and work in build/dist, which has no torch"

.PHONY: constraints
constraints: $(STAMP) ## Write constraints.txt anew from .venv
	@{ sed '/^[^#]/,$$d' constraints.txt; \
	  $(BIN)/python -m pip freeze --all --exclude-editable --exclude pip --exclude wheel \
	  | sed 's/+[a-z0-9.]*$$//' | grep -viE '^(nvidia|cuda|triton)' | LC_ALL=C sort -f; } > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt
	@touch $(STAMP)
	@echo "Now make lock, so that the image installs the same"

##@ Watch what it is made of
# Tools with files of known sha256, in an environment of their own; all three need the network.
TOOLS := .venv-tools

$(TOOLS)/.installed: requirements/tools.txt
	"$(PYTHON)" -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install -q --require-hashes --no-deps -r requirements/tools.txt
	@touch $@

.PHONY: lock
lock: $(TOOLS)/.installed ## Write requirements/ anew from constraints.txt: what the image installs, with hashes
	$(TOOLS)/bin/python requirements/lock.py

.PHONY: audit
audit: $(TOOLS)/.installed ## Ask PyPI for known vulnerabilities of all that the images hold; one not looked up fails
	$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements/train.txt -r requirements/torch-cuda.txt $(ARGS)

.PHONY: sbom
sbom: $(TOOLS)/.installed ## Write build/sbom-cpu.json and build/sbom-cuda.json: CycloneDX, of the train image
	@mkdir -p build
	for torch in cpu cuda; do \
	  cat requirements/train.txt requirements/torch-$$torch.txt \
	  | $(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	    --of JSON -o build/sbom-$$torch.json -; \
	done

##@ Run it
.PHONY: serve
serve: $(STAMP) ## Serve the demo's models (ARGS= more flags; `rewardd serve --help` lists them)
	@REWARDD_SAFETY_MODEL="$${REWARDD_SAFETY_MODEL-$(DEMO)/models/safety}" \
	REWARDD_HELPFULNESS_MODEL="$${REWARDD_HELPFULNESS_MODEL-$(DEMO)/models/helpfulness}" \
	REWARDD_STATE_DIR="$${REWARDD_STATE_DIR-$(DEMO)/state}" \
	exec $(BIN)/rewardd serve --port $(PORT) $(ARGS)

.PHONY: bench-cuda
bench-cuda: $(STAMP) ## Time the engine on a GPU: 8B and 0.5B shapes, as they are and compiled, into build/
	@mkdir -p build
	for model in 8b 0.5b; do for layers in plain compiled; do \
	  $(BIN)/python -m loadtest bench --model $$model --device cuda $(ARGS) \
	    $$([ $$layers = plain ] || echo --compile) \
	    --json build/cuda-$$model-$$layers.json --markdown build/cuda-$$model-$$layers.md; \
	done; done

.PHONY: report-picture
report-picture: $(STAMP) ## Make docs/guides/training-report.png anew from the sample (needs Chromium)
	$(BIN)/rewardd train-sample --output build/sample
	chromium --headless=new --no-sandbox --hide-scrollbars --blink-settings=preferredColorScheme=1 \
	  --window-size=1180,1602 --screenshot=build/report.png \
	  "file://$(CURDIR)/build/sample/safety.run/report/report.html"
	$(BIN)/python -c "from PIL import Image; \
	  Image.open('build/report.png').convert('RGB').quantize(128).save('docs/guides/training-report.png', optimize=True)"

.PHONY: image
image: ## Build the container image (ARGS= goes to docker build)
	$(DOCKER) build -t rewardd:$(VERSION) -t rewardd:latest --build-arg VERSION=$(VERSION) $(ARGS) .

.PHONY: up
up: ## Train where needed, serve and scrape in containers (COMPOSE="docker compose")
	$(COMPOSE) up --build $(ARGS)

.PHONY: clean
clean: ## Remove caches, builds and the demo's models; .venv stays
	rm -rf $(DEMO) build dist *.egg-info rm_client/*.egg-info rm_client/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
