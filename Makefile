# Two commands matter: `make run` (the demo) and `make test`. Each sets up .venv when it is missing.
# `make check` runs the tests that `make test` leaves out: long ones, those that play a market in real time, and all examples of properties.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOWNLOAD := Installing into $(VENV): about 300 MB are downloaded with a CPU build of torch, 3 GB with CUDA. It may be silent for minutes.

# Seconds for each venue in `make fuzz`.
FUZZ_SECONDS ?= 60

.PHONY: run test check lint bench skill soak soak-many fuzz simulate dashboards clean

run: $(VENV)/.ready-run
	$(BIN)/forecastd demo

# The tests start many processes, each of which would compile every source where the caller forbids bytecode.
test check: export PYTHONDONTWRITEBYTECODE :=

# Two processes; the end-to-end tests run after them in one process, because they depend on real time.
test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not long" --ignore=tests/e2e
	$(BIN)/python -m pytest -q -m "not long" tests/e2e

check: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "long or hypothesis" --hypothesis-profile thorough --ignore=tests/e2e
	$(BIN)/python -m pytest -q -m long tests/e2e

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m grafana.build --check
	deploy/systemd/verify

bench: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks

# The account of docs/skill.md; about 35 minutes on 2 cores, and an interrupted run resumes where it stopped. SKILL=... selects other years, see --help.
SKILL_DATA ?= ../shared/data/hourly
SKILL ?= --write
skill: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks.skill --data $(SKILL_DATA) $(SKILL)

fuzz: $(VENV)/.ready-fuzz
	$(BIN)/python -m tests.fuzz.fuzz_parsers --seconds $(FUZZ_SECONDS)

# The daemon against seven simulated exchanges with faults; about 45 minutes. SOAK=... selects other lengths, see --help.
# Then a daemon at a broker that refuses, limits and takes over, and with a store that is locked; about 9 minutes.
SOAK ?= --bars 500 --report soak-report.json
SOAK_BROKER ?= --bars 100
soak: $(VENV)/.ready-dev
	$(BIN)/python -m tests.soak $(SOAK)
	$(BIN)/python -m tests.soak.broker_faults $(SOAK_BROKER)

# One daemon with 300 instruments at two venues, undisturbed; SOAK_MANY=... for other sizes, see --help.
SOAK_MANY ?= --instruments 300 --minutes 10
soak-many: $(VENV)/.ready-dev
	$(BIN)/python -m tests.soak.many $(SOAK_MANY)

# Fresh seeds of worlds on a simulated clock, around the pipeline; SIMULATE=... for others and their faults, see --help.
# Without two faults of which about one world in 160 still fails (e.g. seeds 1795882813365 and 1795882813372).
SIMULATE ?= --seconds 120 --without pauses_per_minute,time_lies_per_minute
simulate: $(VENV)/.ready-dev
	$(BIN)/python -m tests.simulation $(SIMULATE)

dashboards: $(VENV)/.ready-dev
	$(BIN)/python -m grafana.build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "forecastd needs Python 3.11 or newer: set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "The venv module is missing: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Every file that is installed has one of the hashes in the lock files; $(1) is run, dev or fuzz. Where pip is set up to find PyTorch's CPU
# build (e.g. by PIP_FIND_LINKS), that one is installed, without the libraries of CUDA.
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
CPU_BUILD := torch-2\.13\.0(\+|%2B)cpu-cp311-cp311-manylinux_2_28_x86_64
TORCH_LOCK = $$($(PIP) install --dry-run --ignore-installed --no-deps --report - torch==2.13.0 | grep -qE '$(CPU_BUILD)' && echo torch-cpu || echo torch)
define install
	@echo '$(DOWNLOAD)'
	$(PIP) install --require-hashes -r requirements/$(1).txt -r requirements/$(TORCH_LOCK).txt
	$(PIP) install --no-deps --no-build-isolation -e .
endef

$(VENV)/.ready-run: pyproject.toml requirements/run.txt | $(BIN)/python
	$(call install,run)
	touch $@

$(VENV)/.ready-dev: pyproject.toml requirements/dev.txt | $(BIN)/python
	$(call install,dev)
	touch $@ $(VENV)/.ready-run

$(VENV)/.ready-fuzz: requirements/fuzz.txt $(VENV)/.ready-dev
	$(call install,fuzz)
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .fuzz
