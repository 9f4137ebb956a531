# The commands to know: make demo, make test, .ci/run (what CI runs). Everything they need, they install.

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := .venv
BIN := $(VENV)/bin

RUN_PACKAGES := python3 python3-venv python3-dev gcc libnetfilter-queue-dev \
	nftables iproute2 curl wget ca-certificates procps python3-libvirt
TEST_PACKAGES := chromium faketime curl dpkg apt qemu-system-x86 \
	libvirt-daemon libvirt-clients
BENCH_PACKAGES := haproxy iperf3 nginx-light wrk
STOCK_KERNEL_PACKAGES := debootstrap qemu-system-x86 e2fsprogs
STOCK_KERNEL := var/stock-kernel
DEBIAN13 := var/debian13
VIRTUAL_MACHINE := var/virtual-machine
NEUTRON := var/neutron
NEUTRON_PACKAGE := neutron==29.0.0

SECONDS ?= 60
MINUTES ?= 30
SAMPLE ?= 100

# Tests that use a kernel or other programs: two at a time, but those that may not be.
SYSTEM_TESTS := tests/clients tests/system
# pytest, with what `make test` wants of a run.
PYTEST := $(BIN)/python -m pytest --hypothesis-profile=checked
# A target that is made ready further to what `make test` needs: CI's second kernel.
ALSO ?=

.PHONY: help demo demo-stop test checked ready test-unit test-system coverage \
	test-stock-kernel stock-kernel test-release test-debian13 test-clients \
	properties fuzz mutants lint bench install clean

help:
	@echo "make demo          show the main job with real packets (root); KEEP=1 leaves it running"
	@echo "make demo-stop     stop what KEEP=1 left running"
	@echo "make test          lint and every test, on this kernel (root)"
	@echo "make test-unit     of these, only what needs neither root nor network; branch coverage"
	@echo "make test-stock-kernel   what depends on the kernel, on Debian's own, emulated (root)"
	@echo "make test-release  what is tried once per release, besides what CI runs (root)"
	@echo "make test-clients  of these, only: real Nova, cloud-init, botocore (root)"
	@echo "make coverage      branch coverage of each room; raises the floors in tests/coverage"
	@echo "make properties    the properties of the tests, with ten times as many examples, new ones"
	@echo "make fuzz          look for input that breaks a parser's promise; SECONDS=60, TARGETS="
	@echo "make mutants       do the unit tests notice faults that are put in? MINUTES=30, SAMPLE=100 (percent), MODULES="
	@echo "make lint          ruff, mypy, direction of imports"
	@echo "make bench         figures beside those of rivals, in one run (root)"
	@echo "make install       only what is needed to run from this checkout, into $(VENV)"
	@echo "make clean         remove what the above made in this checkout"

demo: $(VENV)/.run
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

demo-stop: $(VENV)/.run
	@$(BIN)/python -m demo --stop

# What is installed meanwhile takes as long as lint and unit tests.
test: $(VENV)/.test
	@.ci/timed "lint, unit tests and installing, side by side" \
		$(MAKE) --no-print-directory --jobs=2 --output-sync=target checked ready
	@$(MAKE) --no-print-directory test-system ALSO=

checked: lint
	@$(MAKE) --no-print-directory test-unit

ready: $(VENV)/.run
	@.ci/debian-packages $(TEST_PACKAGES) $(BENCH_PACKAGES)
	@.ci/timed "installing what tests use" sh -c \
		'tests/clients/install $(PYTHON) && \
		tests/virtual_machine/build $(VIRTUAL_MACHINE) && \
		.ci/python-environment $(PYTHON) $(NEUTRON) $(NEUTRON_PACKAGE)'
	@$(if $(ALSO),$(MAKE) --no-print-directory $(ALSO))

test-unit: $(VENV)/.test
	@mkdir -p var
	@.ci/timed "unit and contract tests" \
		$(PYTEST) --numprocesses=auto --cov --cov-report= tests/unit tests/contract
	@$(BIN)/python -m tests.coverage

test-system: $(VENV)/.test ready
	@.ci/timed "system tests, two at a time" \
		$(PYTEST) --numprocesses=2 --dist=loadgroup -m "not alone" $(SYSTEM_TESTS)
	@.ci/timed "system tests that are alone on the machine" \
		$(PYTEST) -m alone $(SYSTEM_TESTS)

coverage: $(VENV)/.test
	@mkdir -p var
	$(PYTEST) --numprocesses=auto --cov --cov-report= tests/unit tests/contract
	@$(BIN)/python -m tests.coverage --raise

test-stock-kernel: stock-kernel
	@.ci/timed "tests on Debian's own kernel" \
		tests/stock_kernel/run $(STOCK_KERNEL) $(BIN)/python $(TESTS)

test-debian13: $(VENV)/.test
	@.ci/debian-packages debootstrap
	@.ci/timed "demo and unit tests on Debian 13" \
		tests/debian13/run $(DEBIAN13) $(RUN_PACKAGES)
	@.ci/timed "rules in force and saved, with Debian 13's nft" \
		tests/debian13/with_nft $(DEBIAN13) $(PYTEST) \
		tests/system/test_system_in_force.py tests/system/test_system_saved_rulesets.py

# What CI has no time for with each change. It ends at the first that fails.
test-release:
	@$(MAKE) --no-print-directory test-debian13
	@$(MAKE) --no-print-directory properties
	@.ci/timed "fuzzing" $(MAKE) --no-print-directory fuzz SECONDS=1800
	@$(MAKE) --no-print-directory test-stock-kernel TESTS="-m system tests/system"

stock-kernel: $(VENV)/.run
	@.ci/debian-packages $(STOCK_KERNEL_PACKAGES)
	@.ci/timed "building Debian with its own kernel" \
		tests/stock_kernel/build $(STOCK_KERNEL) $(BIN)/python

test-clients: $(VENV)/.test
	@.ci/debian-packages $(TEST_PACKAGES)
	@tests/clients/install $(PYTHON)
	$(BIN)/python -m pytest tests/clients

properties: $(VENV)/.test
	@.ci/timed "properties, many examples" $(BIN)/python -m pytest tests/unit \
		-m hypothesis --hypothesis-profile=release --numprocesses=auto

fuzz: $(VENV)/.fuzz
	@$(BIN)/python -m tests.fuzz $(SECONDS) $(TARGETS)

mutants: $(VENV)/.mutants
	@$(BIN)/python -m tests.mutants --minutes $(MINUTES) --sample $(SAMPLE) $(MODULES)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.run
	@.ci/debian-packages $(BENCH_PACKAGES)
	@.ci/python-environment $(PYTHON) $(NEUTRON) $(NEUTRON_PACKAGE)
	@tests/clients/install $(PYTHON)
	@$(BIN)/python -m bench

install: $(VENV)/.run

$(VENV)/.run: setup.py
	@.ci/debian-packages $(RUN_PACKAGES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing vagent and its libraries into $(VENV) (about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "Installing what tests and lint need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--editable ".[test,lint]"
	@touch $@

$(VENV)/.fuzz: $(VENV)/.test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--editable ".[fuzz]"
	@touch $@

$(VENV)/.mutants: $(VENV)/.test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--editable ".[mutants]"
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info build .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache bench/results.json $(STOCK_KERNEL) \
		$(VIRTUAL_MACHINE) $(DEBIAN13) var/coverage* var/clients var/fuzz var/mutants $(NEUTRON)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
