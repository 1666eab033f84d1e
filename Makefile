# Two commands: `make demo` runs three jobs on real input, `make test` runs all tests. Each sets up what it needs:
# Debian packages by playbooks/prepare-host.yaml (root or sudo), Python packages into .venv, pinned in constraints.txt,
# and for the tests a MySQL server into ~/.cache/turbo-hipster/engines, which installs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Debian's python3 comes without ensurepip; it is the one package that Ansible cannot install for itself
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PATH := $(CURDIR)/$(BIN):$(PATH)
# some thousand processes are started: none has to compile again what another one has compiled
export PYTHONDONTWRITEBYTECODE :=
# nor to begin with a finder of setuptools' own, which doubles the start of each: a line in a .pth file does the same
EDITABLE := --config-settings editable_mode=compat --editable

.PHONY: demo test tests lint benchmarks host host-development clean

demo: $(VENV)/installed host
	$(BIN)/python -m demo

# side by side: what waits leaves time for what computes
test: $(VENV)/installed-test host-development
	$(MAKE) --jobs=2 lint tests

# four more than there are cores, for the same reason
tests: $(VENV)/installed-test | tests/__pycache__
	$(BIN)/python -m pytest --numprocesses $(shell expr $$(nproc) + 4) --dist loadfile --no-loadscope-reorder

# the first time, one process compiles what each of those would compile for itself
tests/__pycache__: | $(VENV)/installed-test
	$(BIN)/python -m pytest --collect-only -qq

# nice: tests with a time limit may run at the same time
lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	nice $(BIN)/mypy worker demo benchmarks
	nice $(BIN)/mypy --package ansible.module_utils
	nice $(BIN)/mypy --scripts-are-modules roles/*/library/*.py roles/project/files/*.py
	nice $(BIN)/mypy --scripts-are-modules roles/*/action_plugins/*.py
	nice $(BIN)/ansible-lint --offline

benchmarks: $(VENV)/installed host
	$(BIN)/python -m benchmarks

host: $(VENV)/installed
	$(BIN)/ansible-playbook playbooks/prepare-host.yaml

host-development: $(VENV)/installed-test
	$(BIN)/ansible-playbook playbooks/prepare-host.yaml -e '{"prepare_host_development": true, "prepare_host_engines": ["mysql-9.7"]}'

$(VENV)/bin/pip:
	$(PYTHON) -c 'import ensurepip' || $(ROOT) apt-get install --yes python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg setup.py constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --constraint constraints.txt $(EDITABLE) .
	touch $@

# all in one go: on top of the other it would be resolved and built once more
$(VENV)/installed-test: setup.cfg setup.py constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --constraint constraints.txt $(EDITABLE) '.[test]'
	touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) .demo build dist *.egg-info
