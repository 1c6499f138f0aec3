# make run           a gateway on 127.0.0.1:${PORT:-8787}
# make test          lint, types, floors, tests and coverage
# make test-clients  real SDKs against a real gateway, in environments of their own
# make load          the speed table (load_tests/README.md)
# make docs          the tables of the README and of plugins/README.md, from the code
# make clean         removes the environments and caches

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
PORT ?= 8787

PLUGINS := $(wildcard plugins/*/pyproject.toml)
EDITABLE := -e . $(foreach p,$(PLUGINS),-e $(dir $(p)))
# Companies' certificates are in the system's store, where uv does not look by itself.
export UV_SYSTEM_CERTS = 1
# Never this machine's other environment, and no cached copies in the tree.
UV = .venv/bin/uv pip install --quiet --python .venv/bin/python
CLIENTS := $(patsubst tests/clients/requirements-%.txt,%,$(wildcard tests/clients/requirements-*.txt))

.PHONY: run test lint test-clients load docs clean $(CLIENTS:%=test-client-%)
.DELETE_ON_ERROR:

run: .venv/.runtime
	exec .venv/bin/aiogateway serve --host 127.0.0.1 --port $(PORT)

test: .venv/.dev lint
	.venv/bin/python -m pytest -n 2 --cov --cov-report=term

lint: .venv/.dev
	.venv/bin/ruff check --quiet .
	.venv/bin/mypy
	@for plugin in $(dir $(PLUGINS)); do echo "mypy $$plugin"; MYPYPATH=$$plugin .venv/bin/mypy $$plugin || exit 1; done
	.venv/bin/lint-imports

test-clients: $(CLIENTS:%=test-client-%)

# Each family of SDKs is one requirements-<name>.txt beside one directory of tests; the gateway has every plugin.
$(CLIENTS:%=test-client-%): test-client-%: .venv/.dev .venv-clients/%/.installed
	AIOGATEWAY_PYTHON=$(CURDIR)/.venv/bin/python .venv-clients/$*/bin/python -m pytest tests/clients/$*

load: .venv/.dev
	.venv/bin/python -m load_tests $(LOAD)

docs: .venv/.dev
	.venv/bin/python -m tests.docs
	.venv/bin/python -m tests.plugin_page

clean:
	rm -rf .venv .venv-clients .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/.uv:
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/.runtime: .venv/.uv pyproject.toml
	$(UV) -e .
	@touch $@

.venv/.dev: .venv/.runtime pyproject.toml $(PLUGINS)
	$(UV) --group dev $(EDITABLE)
	@touch $@

.venv-clients/%/.installed: .venv/.uv tests/clients/requirements-%.txt
	.venv/bin/python -m venv --without-pip .venv-clients/$*
	.venv/bin/uv pip install --quiet --python .venv-clients/$*/bin/python -r tests/clients/requirements-$*.txt
	@touch $@
