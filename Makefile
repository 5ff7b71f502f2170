# `make demo` and `make test` set up what they need in .venv, once, with pip as you have
# configured it.

PYTHON ?= python3
BIN := .venv/bin
# Python compiles what it imports. Compiling all that is installed takes most of a minute.
INSTALL := $(BIN)/python -m pip install --no-compile
BENCHMARKS := start_up nearest data_path task2vec supernet_step embedding_time

# The oldest versions that pyproject.toml allows, without torch (docs/decisions/dependencies.md), and
# the tests that run with them again.
OLDEST := $(filter-out torch==% torchvision==%, $(shell \
	sed -n '/^dependencies = /,/^]/s/.*"\(.*\)>=\([0-9.]*\)".*/\1==\2/p' pyproject.toml))
NEED_TORCH := timm==% torchmetrics==%
# Where libraries read, write, send and compute for us. Races, hostile answers, filters and signatures
# are our own code, and so is a registry in a directory.
OLDEST_TESTS := $(patsubst %,tests/registry/stores/contract/test_%.py,cards copying nearest reads versions yanks_and_aliases) \
	$(patsubst %,tests/registry/stores/huggingface/test_%.py,access address cards damaged_version \
	faults fetching index_format index_updates offline repository_record) \
	tests/registry/hub_server tests/registry/artifact tests/registry/embedding \
	tests/registry/publishing tests/sdk/data tests/cli/test_huggingface_registry.py tests/cli/test_help.py \
	tests/sdk/task2vec/test_loading.py tests/sdk/models/test_timm_model.py \
	tests/sdk/models/test_evaluation.py tests/sdk/pipelines/test_evaluate.py \
	tests/sdk/runs/test_shared_work.py
# The committed schema is as the newest pydantic writes it, and sigstore's program, which some tests of
# signatures run, needs newer libraries than this one.
NEWEST_ALONE := tests/registry/artifact/test_manifest.py::test_schema_is_committed
NEWEST_ALONE += tests/registry/artifact/test_signing.py
# Long, and of our own code.
NEWEST_ALONE += tests/registry/artifact/test_limits.py tests/sdk/data/test_split.py
NEWEST_ALONE += $(patsubst %,tests/registry/stores/huggingface/test_index_updates.py::test_%, \
	a_client_fetches_only_what_is_new a_forged_index_is_found_out_and_not_remembered)
# Of the databases SQLite alone: the driver of PostgreSQL is an extra, so it is not among the oldest.
NEWEST_ALONE += $(patsubst %,tests/sdk/runs/test_shared_work.py::test_%,a_wrong_password_is_not_shown \
	a_database_that_goes_away_is_waited_for)

.DEFAULT_GOAL := help
.PHONY: help demo test oldest audit lint bench scale fuzz faults soak docs clean \
	types pyright imports layout messages

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

# One thread: these networks are tiny, so threads wait for each other more than they work.
demo: .venv/.demo-installed ## Set up, then run the main job on a small dataset (minutes).
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/wsdarts-hub demo

# Work is stolen so that each process has whole modules, whose fixtures are then made once. Three
# processes for two cores, since many tests wait for others or for a browser.
test: lint ## Set up, then run every check and every test.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal --durations=25 --durations-min=10

# The newest platformdirs has a plugin of pytest that the oldest lacks; what is old uses what newer
# libraries have deprecated.
oldest: .venv/.oldest-installed ## Set up, then run some tests with the oldest dependencies that are allowed.
	OMP_NUM_THREADS=1 PYTHONPATH=.venv/oldest $(BIN)/python -m pytest -n 2 --dist worksteal \
	  -p no:platformdirs -W ignore::DeprecationWarning -W ignore::FutureWarning \
	  -m "not slow" -k "not [directory and not postgresql" \
	  $(addprefix --deselect=,$(NEWEST_ALONE)) $(OLDEST_TESTS)

audit: .venv/.dev-installed ## List licences, a bill of materials and known vulnerabilities in audit/.
	@test -x .venv/audit-tools/bin/pip-audit || { $(PYTHON) -m venv .venv/audit-tools && \
	  .venv/audit-tools/bin/python -m pip install --quiet "pip-audit>=2.9"; } || true
	$(BIN)/python -m tests.audit

lint: .venv/.dev-installed ## Set up, then check style, types, the direction of imports and the layout.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@$(MAKE) --no-print-directory --jobs 2 types pyright imports layout messages

types:
	$(BIN)/mypy

pyright:
	$(BIN)/pyright

imports:
	$(BIN)/lint-imports

layout:
	$(BIN)/python -m tests.layout

# The page of all messages is read from the source, so any change may make it out of date.
messages:
	$(BIN)/python -m pytest --quiet tests/registry/test_errors.py

bench: .venv/.dev-installed ## Set up, then measure briefly what docs/speed.md measures (minutes).
	for name in $(BENCHMARKS); do \
	  echo "== $$name" && $(BIN)/python benchmarks/$$name.py --quick || exit 1; \
	done

scale: .venv/.dev-installed ## Set up, then measure registries of 100,000 artifacts (hours, 12 GB of disk).
	for name in index_scale directory_scale approximate_nearest; do \
	  echo "== $$name" && $(BIN)/python benchmarks/$$name.py || exit 1; \
	done

fuzz: .venv/.dev-installed ## Set up, then read 100,000 spoilt files, and ask a hostile Hub (INPUTS=N SESSIONS=N SEED=N).
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs $(or $(INPUTS),100000) --seed $(or $(SEED),1)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.hub_sessions --sessions $(or $(SESSIONS),2000) --seed $(or $(SEED),1)

faults: .venv/.dev-installed ## Set up, then kill work 200 times, and let disks fail under it (KILLS=N DISKS=N SEED=N; an hour).
	$(BIN)/python -m tests.faults --kills $(or $(KILLS),200) --disks $(or $(DISKS),200) \
	  --seed $(or $(SEED),1) --save

soak: .venv/.dev-installed ## Set up, then let 8 processes use two registries for an hour (SOAK=SECONDS SEED=N).
	$(BIN)/python -m tests.soak --seconds $(or $(SOAK),3600) --seed $(or $(SEED),1) --save

# The variable silences a notice about the theme's successor. Not --quiet: warnings that are not
# shown are not counted, either, so nothing would fail.
docs: .venv/.docs-installed ## Set up, then write the documentation as a site into site/.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

clean: ## Remove the virtual environment, caches, the site and the demo's runs.
	rm -rf .venv site audit runs/demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.oldest-installed: pyproject.toml .venv/.dev-installed
	@rm -rf .venv/oldest
	@$(INSTALL) --quiet --ignore-installed --target .venv/oldest \
	  $(filter-out $(NEED_TORCH), $(OLDEST))
	@$(INSTALL) --quiet --no-deps --target .venv/oldest \
	  $(filter $(NEED_TORCH), $(OLDEST))
	@touch $@

.venv/.%-installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing wsdarts-hub[$*] into .venv, which takes some minutes the first time"
	@$(INSTALL) --quiet --quiet --editable '.[$*]'
	@touch $@
