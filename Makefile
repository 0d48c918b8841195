# Two commands: `make demo` and `make test`. Everything else is listed by `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Where it is set, as in many images, every process would compile scikit-learn and MLflow again.
unexport PYTHONDONTWRITEBYTECODE
LOCKS := layers/core layers/analysis layers/registry layers/serving training/sources training functions frontend localstack tests
SAM := SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam
ENV ?= aws
STACK ?= dropforge

.PHONY: help setup docs tutorial demo up down status test test-browser screenshots check format lock clean deep-clean bench-analysis bench-verdict bench-training bench-workers bench-warm-start bench-uploads bench-publish bench-first-prediction try-datasets deploy destroy verify-aws permissions
.PHONY: faults faults-mutations soak
.PHONY: bench-serving bench-gate bench-coverage bench-budget bench-intervals fuzz-api

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.runtime ## Set up, start the local cloud, run real data from upload to prediction, leave it running
	@$(BIN)/dropforge demo

setup: .venv/.runtime ## Set up the environment: .venv/bin/dropforge

docs: .venv/.runtime ## Write docs/reference/ from the types, and the picture from its text
	@$(BIN)/python docs/make_reference.py
	@$(BIN)/python docs/pictures/draw_architecture.py

.PHONY: docs-site
docs-site: .venv-docs/.ready ## The documentation as a site in build/site, with search; ends at a link that leads nowhere or a misspelt word
	@.venv-docs/bin/codespell docs README.md CHANGELOG.md CONTRIBUTING.md layers/core/dropforge training/dropforge_training cli localstack/dropforge_local frontend/dropforge_ui
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet --config-file mkdocs.yml

.PHONY: recording
recording: .venv/.runtime .venv-docs/.ready ## Record the README's commands in a terminal, for the first page of the site; writes build/recording/
	@$(BIN)/python docs/pictures/record_terminal.py

tutorial: .venv/.runtime ## Run every command of docs/tutorial.md, in a folder of its own
	@$(BIN)/python docs/run_tutorial.py

up: .venv/.runtime ## Start the local cloud (idempotent)
	@$(BIN)/dropforge up

down: ## Stop what `up` or `demo` started
	@if [ -x $(BIN)/dropforge ]; then $(BIN)/dropforge down; else echo "nothing was set up"; fi

status: .venv/.runtime ## Show what runs
	@$(BIN)/dropforge status

test: .venv/.dev ## Set up and run the tests of every change, in two processes; ORDER=random shuffles them
	@$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder $(if $(filter random,$(ORDER)),--random-order)

.PHONY: test-drills
test-drills: .venv/.dev ## Backup and restore, queues of a stack of its own, attacks in Chromium, deaths of whole systems
	@CAMPAIGNS=full $(BIN)/pytest --drills -m "drill or campaign"

.PHONY: test-campaigns
test-campaigns: .venv/.dev ## Simulations and generated cases with many repeats; `make test` runs a few of each
	@CAMPAIGNS=full $(BIN)/pytest -n 2 --dist loadgroup -m repeated tests/unit

test-browser: .venv/.dev ## The whole way through the web app in Chromium; PICTURES=folder keeps screenshots
	@$(BIN)/pytest tests/e2e --browser $(if $(PICTURES),--pictures $(PICTURES))

.PHONY: test-erase
test-erase: .venv/.dev ## Erase a person from a local cloud that trained on their rows, and look for a byte that is left
	@$(BIN)/pytest tests/integration/test_erase.py --erase

.PHONY: test-containers
test-containers: .venv/.dev .venv-sam/.ready ## Build the images and run them beside the local cloud, and every function in sam local; needs Docker and the base images
	@$(BIN)/pytest tests/containers --containers

.PHONY: test-emulator test-localstack test-mlflow
test-mlflow: .venv/.dev ## The contract tests of MLflow on a server of another version (MLFLOW=3.4.0)
	@MLFLOW=$(or $(MLFLOW),3.4.0) .ci/test_mlflow.sh

test-emulator: .venv/.dev ## The integration suite on the emulator at AWS_ENDPOINT_URL, which runs already
	@.ci/test_emulator.sh

test-localstack: .venv/.dev ## LocalStack 4.14.0 in host mode: the contract tests, and with Docker the integration suite; needs Python 3.13
	@PYTHON=$(if $(filter python3,$(PYTHON)),python3.13,$(PYTHON)) .ci/test_localstack.sh

screenshots: .venv/.dev ## Take the documentation's pictures of the web app in the browser tests; writes docs/pictures/web-*.webp
	@$(BIN)/pytest tests/e2e --browser --pictures .cache/pictures
	@$(BIN)/python docs/pictures/publish_screenshots.py .cache/pictures

.PHONY: report-pictures
report-pictures: .venv/.dev ## Take pictures of the demo's report beside those of three other tools; writes docs/pictures/report-*.webp
	@$(BIN)/python benchmarks/analysis/report_pictures.py $(if $(KEEP),--keep $(KEEP))

check: .venv/.dev ## Lint, docstrings of every public name, types, import rules, template
	@$(BIN)/ruff check --extend-select D100,D101,D102,D103,D104,D106 . # not D105, D107: special methods and constructors follow from their class
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/cfn-lint template.yaml bootstrap.yaml network.yaml
	@$(BIN)/cfn-lint --regions us-east-1 -- budget.yaml

deploy: .venv/.runtime .venv-sam/.ready ## Build and deploy (ENV=aws, dev, staging, prod, or local: what `make up` started); asks the first time. SAM_BUILD=--use-container without python3.13
	@$(SAM) build $(SAM_BUILD)
	@if [ "$(ENV)" = local ]; then exec $(BIN)/python -m dropforge_local.sam; else exec $(BIN)/dropforge deploy --env $(ENV); fi

destroy: .venv/.runtime ## Delete the stack STACK on AWS with all its data, after asking, and prove that nothing is left
	@DROPFORGE_STACK=$(STACK) $(BIN)/dropforge destroy

verify-aws: .venv/.dev .venv-sam/.ready .venv-checkov/.ready .ci/tools/asl/node_modules/.ready ## What can be proven of AWS without it: lint, rules, build, sizes, sam deploy to prediction to sam delete
	@$(SAM) validate --lint --region us-east-1
	@$(BIN)/cfn-lint --regions $$($(BIN)/python -c 'from dropforge_local.regions import REGIONS; print(*REGIONS)') -- template.yaml bootstrap.yaml network.yaml
	@$(BIN)/python .ci/state_machine.py
	@.venv-checkov/bin/checkov --file template.yaml bootstrap.yaml network.yaml --config-file .checkov.yaml
	@$(SAM) build $(SAM_BUILD)
	@$(BIN)/python .ci/verify_aws.py
	@CAMPAIGNS=full $(BIN)/pytest -q tests/architecture/test_layers.py

.PHONY: walk-deploy
walk-deploy: .venv/.dev .venv-sam/.ready ## Record the first deploy on an emulator with nothing in it; writes docs/deploy-walk.md
	@$(SAM) build $(SAM_BUILD)
	@$(BIN)/python .ci/walk_deploy.py

permissions: .venv/.dev ## Measure what each role may do on the local cloud; writes docs/permissions.md
	@$(BIN)/python .ci/permissions.py

format: .venv/.dev ## Format the code and mend what the linter can
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench-analysis: .venv/.dev ## Compare two files beside Evidently and ydata-profiling; writes benchmarks/results/analysis.json
	@$(BIN)/python benchmarks/analysis/rivals.py --json benchmarks/results/analysis.json

bench-verdict: .venv/.dev ## False alarms and power of the drift verdict; writes benchmarks/results/false_alarms.json
	@$(BIN)/python benchmarks/analysis/false_alarms.py --json benchmarks/results/false_alarms.json

.PHONY: bench-rules
bench-rules: .venv/.dev ## What 20 rules cost on 1,000,000 rows, beside the same run without
	@$(BIN)/python benchmarks/analysis/rules.py

.PHONY: bench-clean-samples bench-silent-changes
bench-clean-samples: .venv/.dev ## Samples without drift of five tables, columns of 2 to 20,000 values; writes benchmarks/results/clean_samples.json
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/analysis/false_alarms.py --many --runs 60 --json benchmarks/results/clean_samples.json

bench-silent-changes: .venv/.dev ## 28 changes that pass every check of form, and clean files; writes benchmarks/results/silent_changes.json
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/analysis/silent_changes.py --json benchmarks/results/silent_changes.json

try-datasets: .venv/.runtime ## Six tables nobody prepared, each from init to a prediction; writes docs/datasets.md
	@$(BIN)/python benchmarks/datasets/try_datasets.py

bench-first-prediction: .venv/.runtime ## A clone and the README's commands up to a prediction, one clock over all; COLD=1 with empty package caches
	@$(BIN)/python benchmarks/first_prediction.py $(if $(COLD),--cold)

.PHONY: bench-wheel
bench-wheel: .venv/.runtime ## Install the wheel in empty environments: megabytes, seconds, analyze; with its extras from init to predict
	@$(BIN)/python benchmarks/wheel.py $(if $(BASE),--base)

bench-training: .venv/.dev ## Train on Adult beside FLAML, CatBoost and plain Optuna; writes benchmarks/results/training.json
	@$(BIN)/python benchmarks/training/rivals.py --json benchmarks/results/training.json

.PHONY: bench-tables
bench-tables: .venv/.dev ## The tables of a folder beside AutoML systems, TABLES=FOLDER SYSTEMS="flaml=/its/python …"; adds to benchmarks/results/tables.json
	@$(BIN)/python benchmarks/tables/compare.py $(TABLES) $(addprefix --system ,$(SYSTEMS)) --most-seconds 36000

bench-workers: .venv/.dev ## Two workers on one study, and workers killed at random; writes benchmarks/results/workers.json
	@$(BIN)/python benchmarks/training/workers.py --json benchmarks/results/workers.json

bench-warm-start: .venv/.dev ## A retrain that starts with the last study's best points; writes benchmarks/results/warm_start.json
	@$(BIN)/python benchmarks/training/warm_start.py --json benchmarks/results/warm_start.json

bench-gate: .venv/.dev ## False and found promotions in simulated uploads; writes benchmarks/results/gate.json
	@$(BIN)/python benchmarks/training/gate_simulation.py --json benchmarks/results/gate.json

bench-coverage: .venv/.dev ## Coverage of prediction sets of exported bundles over 50 splits; writes benchmarks/results/coverage.json
	@$(BIN)/python benchmarks/training/coverage.py --json benchmarks/results/coverage.json

bench-budget: .venv/.dev ## Seconds asked and seconds waited; TABLES="FILE.csv:TARGET …", else Adult
	@$(BIN)/python benchmarks/training/budget.py $(TABLES) --json benchmarks/results/budget.json

bench-intervals: .venv/.dev ## Coverage and width of regressions' intervals over 50 splits; TABLES="FILE.csv:TARGET …", else made here
	@$(BIN)/python benchmarks/training/interval_coverage.py $(TABLES) --json benchmarks/results/intervals.json

.PHONY: bench-guard
bench-guard: .venv/.dev ## Seconds that the guard of the local cloud adds to the emulator's start
	@$(BIN)/python benchmarks/local/guard_start.py

bench-serving: .venv/.dev ## The prediction function beside `mlflow models serve`; needs `make demo` running; writes benchmarks/results/serving.json
	@$(BIN)/python benchmarks/serving/compare.py --json benchmarks/results/serving.json

fuzz-api: .venv/.dev ## More than 5,000 generated requests over all routes (ROUTES="uploads or models": some); CLOUD=1 sends them to a local cloud; counts in .cache/fuzz-api.tsv
	@mkdir -p .cache && rm -f .cache/fuzz-api.tsv
	@DROPFORGE_FUZZ_EXAMPLES=$(or $(EXAMPLES),250) DROPFORGE_FUZZ_LOG=.cache/fuzz-api.tsv $(if $(CLOUD),DROPFORGE_FUZZ_CLOUD=1) $(BIN)/pytest -q --timeout=0 tests/faults/test_fuzz_api.py $(if $(ROUTES),-k "$(ROUTES)")
	@awk -F'\t' '{n += $$1; if ($$2 >= 500) bad += $$1} END {printf "%d answers, %d of 500 or more\n", n, bad}' .cache/fuzz-api.tsv

bench-uploads: .venv/.dev ## Requests and seconds of lists of 20,000 uploads; writes benchmarks/results/uploads.json
	@$(BIN)/python benchmarks/uploads/index.py --json benchmarks/results/uploads.json

bench-publish: .venv/.dev ## Write docs/benchmarks.md and its picture from the results
	@$(BIN)/python benchmarks/publish.py

FAULTS_UPLOADS ?= 40
FAULTS_KILLS ?= worker=3,emulator=2,mlflow=1
faults: .venv/.dev ## Break everything on purpose and write docs/reliability.md (FAULTS_UPLOADS=200 for the long campaign)
	@mkdir -p .dropforge/faults
	@CAMPAIGNS=full $(BIN)/pytest -q tests/faults $$($(BIN)/python tests/faults/reliability.py --tests) --junitxml=.dropforge/faults/tests.xml || true
	@$(BIN)/python tests/faults/campaign.py --uploads $(FAULTS_UPLOADS) --kills $(FAULTS_KILLS) --json .dropforge/faults/kills.json
	@$(BIN)/python tests/faults/reliability.py .dropforge/faults/tests.xml --kills .dropforge/faults/kills.json --soak .dropforge/faults/soak.json

faults-mutations: .venv/.dev ## Break the code on purpose: each promise's test must fail
	@$(BIN)/python tests/faults/mutations.py

FILES ?= 100
.PHONY: burst
burst: .venv/.dev ## FILES part files within a minute: one training, no row lost, replayed in any order
	@mkdir -p .dropforge/faults
	@$(BIN)/python tests/faults/burst.py --files $(FILES) --json .dropforge/faults/burst.json

HOURS ?= 2
soak: .venv/.dev ## Predictions, switches and uploads for HOURS; answers, latencies, memory and handles; written into docs/reliability.md
	@mkdir -p .dropforge/faults
	@$(BIN)/python tests/faults/soak.py --minutes $$(($(HOURS) * 60)) --json .dropforge/faults/soak.json
	@$(BIN)/python tests/faults/reliability.py --soak .dropforge/faults/soak.json

lock: .venv/.installer ## Resolve every requirements.in again into a hashed lock
	@cd tests && ../$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" -o requirements.txt requirements.in
	@for d in $(filter-out tests,$(LOCKS)); do \
	  root=$$(realpath --relative-to=$$d .); \
	  (cd $$d && $$root/$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 -c $$root/tests/requirements.txt \
	    --custom-compile-command "make lock" -o requirements.txt requirements.in); \
	done
	@cd localstack && ../$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" -o installer.txt installer.in
	@for t in sam checkov docs; do \
	  (cd .ci/tools && ../../$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" -o $$t.txt $$t.in); \
	done

clean: down ## Stop the local cloud and forget its data
	@rm -rf .dropforge

deep-clean: clean ## Forget the environment as well
	@rm -rf .venv .mypy_cache .ruff_cache .aws-sam

# --- the environment -------------------------------------------------------------------------------------------------
# uv installs from the index pip is set to (a mirror in pip's configuration is honoured); every file is checked by hash.
INDEX = $$($(BIN)/pip config get global.index-url 2>/dev/null || true)
INSTALL = index=$(INDEX); UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; [ -n "$$UV_DEFAULT_INDEX" ] && export UV_DEFAULT_INDEX || unset UV_DEFAULT_INDEX; \
	export UV_LINK_MODE="$${UV_LINK_MODE:-hardlink}" UV_NO_PROGRESS=1; $(BIN)/uv pip install --quiet

.venv/.installer: localstack/installer.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Dropforge needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11 …"; exit 2; }
	@echo "setting up .venv" >&2
	@$(PYTHON) -m venv .venv || { echo "The venv module is missing. On Debian: apt-get install python3-venv"; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r localstack/installer.txt
	@$(BIN)/python -m pip uninstall --quiet --yes setuptools # as old as the interpreter that made .venv, and nothing here needs one
	@touch $@

.venv/.runtime: .venv/.installer localstack/requirements.txt pyproject.toml
	@echo "installing packages" >&2
	@$(INSTALL) --require-hashes -r localstack/requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.runtime tests/requirements.txt
	@echo "installing development tools" >&2
	@$(INSTALL) --require-hashes -r tests/requirements.txt
	@touch $@

# SAM CLI and checkov pin what the functions use at other versions: each has an environment of its own.
.venv-sam/.ready .venv-checkov/.ready .venv-docs/.ready: .venv-%/.ready: .ci/tools/%.txt .venv/.installer
	@echo "setting up $(@D)" >&2
	@$(PYTHON) -m venv $(@D)
	@$(INSTALL) --python $(@D)/bin/python --require-hashes -r $<
	@touch $@

.ci/tools/javascript/node_modules/.ready: .ci/tools/javascript/package-lock.json
	@command -v npm >/dev/null || { echo "the examples of dropforge export and the accessibility tests need node and npm (Debian: apt-get install npm)"; exit 2; }
	@cd .ci/tools/javascript && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

.ci/tools/asl/node_modules/.ready: .ci/tools/asl/package-lock.json
	@command -v npm >/dev/null || { echo "verify-aws checks the state machine with asl-validator, which needs node and npm (Debian: apt-get install npm)"; exit 2; }
	@cd .ci/tools/asl && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

.PHONY: bench-web-app
bench-web-app: .venv/.dev ## Milliseconds until the web app of the running local cloud shows something, tab by tab; needs Chromium
	@$(BIN)/python benchmarks/frontend/paint_times.py

.PHONY: bench-batch soak-serving
soak-serving: .venv/.dev ## Ask for MINUTES while a training runs, models are switched and MLflow stops; every answer is checked
	@$(BIN)/python benchmarks/serving/soak.py --minutes $(or $(MINUTES),10)

bench-batch: .venv/.dev ## Score one file of many rows beside the pipeline's predict_proba; writes benchmarks/results/batch.json
	@$(BIN)/python benchmarks/serving/batch.py --json benchmarks/results/batch.json
