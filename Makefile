# `make run` and `make test` need Python 3.11 or newer with venv, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Many tests wait for containers: three times as many at once as a small machine has cores.
WORKERS ?= 6
# What Python has compiled is kept, also for whom it keeps nothing else: a suite starts some hundred Pythons, and each
# would compile the package, and each worker of pytest every test, again.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/pytest --numprocesses $(WORKERS)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.PHONY: help run test test-all test-bounds lock test-fast test-faults test-known-stops test-engines test-servers test-searches lint format docs site known-stops field-guide benchmark accuracy programs base-image example clean

help:
	@echo "make run         set up .venv, run the shipped scenarios, write a report"
	@echo "make test        set up .venv and run the tests (Docker tests are skipped where no engine answers)"
	@echo "make test-all    what \`make test\` leaves out: comparisons with other programs, long simulations, known stops"
	@echo "make test-fast   the tests that start no container"
	@echo "make test-faults  runs behind an engine that fails, as a table; FAULTS_ARGS=--write puts it into docs/failing-engines.md"
	@echo "make test-known-stops  the tests on images whose stops were measured; STOP_HARNESS_KNOWN_STOPS names their folder"
	@echo "make test-searches  \`explore\` finds what is wrong with each of its samples, and nothing wrong with the cured ones"
	@echo "make test-servers the servers of the field guide at work, and programs of every kind under every init of Debian"
	@echo "make test-engines  Docker 20.10, 26.1, 28.5 and Podman 4.3, 5.4, 5.8, each in a folder of its own; as root"
	@echo "make test-bounds the tests that use them, with the oldest and the newest of each dependency"
	@echo "make lock        write requirements/*.txt again: the hashes that development, CI, the site, a release and the image install"
	@echo "make lint        ruff, mypy --strict, the import contracts of pyproject.toml, and bandit"
	@echo "make docs        write the generated parts of docs/ again"
	@echo "make site        build the documentation site into build/site; a warning is an error"
	@echo "make known-stops  stop those images and write docs/known-stops.md and the README's line again"
	@echo "make field-guide stop the servers and samples of field-guide/ and write their figures and docs/field-guide.md again"
	@echo "make example     write reports/example again from the shipped scenarios"
	@echo "make programs    compile the witness and what disturbs packets again; no byte may change unless its source did"
	@echo "make base-image  make a base image from Debian's packages (needs mmdebstrap and Docker, no registry)"
	@echo "make benchmark   measure against docker commands, xargs, testcontainers and raw API calls; a quarter of an hour"
	@echo "make accuracy    durations against a program that knows the truth; slow"

# Exit code 3 is let pass: the samples that need a container engine do not run without one. To show the others is enough here.
run: $(VENV)/.installed
	@$(BIN)/stop-harness run scenarios/ || [ $$? -eq 3 ]

test: $(VENV)/.compiled
	@$(PYTEST) $(PYTEST_ARGS)

test-all: $(VENV)/.compiled test-known-stops
	@$(PYTEST) --oracles --long -m "oracle or long" $(PYTEST_ARGS)

test-fast: $(VENV)/.compiled
	@$(PYTEST) -m "not docker" $(PYTEST_ARGS)

test-faults: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.faults $(FAULTS_ARGS)

test-known-stops: $(VENV)/.installed-dev
	@$(BIN)/pytest --known-stops tests/test_known_stops.py $(PYTEST_ARGS)

test-searches: $(VENV)/.installed-dev
	@$(BIN)/pytest --searches -m searches $(PYTEST_ARGS)

test-servers: $(VENV)/.installed-dev
	@$(BIN)/pytest --servers -m servers $(PYTEST_ARGS)

test-engines: $(VENV)/.installed-dev
	@.ci/engines $(ENGINES)

test-bounds: $(VENV)/bin/pip
	@PYTHON=$(PYTHON) .ci/bounds

lock: $(VENV)/bin/pip
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(LOCK) --extra dev pyproject.toml --output-file requirements/dev.txt
	@$(LOCK) --extra ecs pyproject.toml --output-file requirements/image.txt
	@$(LOCK) --group docs --output-file requirements/docs.txt
	@$(LOCK) --group release --output-file requirements/release.txt

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml harness/stop_harness 2>/dev/null

format: $(VENV)/.installed-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev
	@$(BIN)/python docs/generate.py

# With tools of its own: the pages are only read, so the site needs nothing of the project.
site: build/site-tools/.installed
	@rm -rf build/site
	@build/site-tools/bin/sphinx-build --quiet --fail-on-warning --keep-going -c docs . build/site
	@echo "build/site/index.html"

build/site-tools/.installed: requirements/docs.txt
	@$(PYTHON) -m venv build/site-tools
	@build/site-tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

known-stops: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.known_stops --write --under-load 3

field-guide: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.field_guide $(FIELD_GUIDE_ARGS)
	@$(BIN)/python docs/generate.py

example: $(VENV)/.installed
	@$(BIN)/python docs/make_example.py

benchmark: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.run $(BENCHMARK_ARGS)

accuracy: $(VENV)/.installed-dev
	@$(BIN)/python benchmarks/accuracy.py

programs: $(VENV)/.installed-dev
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[programs]'
	@$(BIN)/python harness/stop_harness/engines/docker/programs/build.py

base-image:
	mmdebstrap --variant=minbase --include=python3 bookworm - | docker import - debian:bookworm-slim

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with make PYTHON=…")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/pip pyproject.toml
	@echo "setting up $(VENV) (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

# What is developed and tested with is what was locked: nothing is installed whose hash is not in the file.
$(VENV)/.installed-dev: $(VENV)/bin/pip pyproject.toml requirements/dev.txt
	@echo "setting up $(VENV) with the test tools (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(VENV)/.installed $@

# Each worker of pytest loads every test; where nothing was compiled before, each would compile all of them at once.
$(VENV)/.compiled: $(VENV)/.installed-dev
	@$(BIN)/pytest --collect-only -qq >/dev/null 2>&1 || true
	@touch $@
