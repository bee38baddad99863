# make demo   caption drawings: install, train, evaluate, look      make test   every test that CI runs
# make docs   build the site       make site   try it in a browser      make translations   extract its texts
# make lint   ruff and mypy        make notebooks   run all notebooks anew, and say which printed numbers moved
# make bench  speed and memory     make jupyter  run them in JupyterLab, in a browser     make colab  try the set-up cell
# make mutants   do the tests notice what is changed in the code?
# make oldest, make newest   all tests with the oldest and with the newest libraries     make clean  remove what make made
PYTHON ?= python3
# How many tests run side by side
JOBS ?= 2
# Where CPU builds of torch are; on Linux the default index brings gigabytes of CUDA libraries. "" turns it off.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
VENV = .venv
BIN = $(VENV)/$(SCRIPTS)
PIP = $(BIN)/python -m pip --disable-pip-version-check
.DEFAULT_GOAL := help
.PHONY: help demo test notebooks jupyter colab bench docs site translations lint mutants oldest newest dist clean

help:
	@sed -n '1,6s/^# //p' Makefile

# $(call install,TORCH,WHAT): an environment in VENV. torch comes alone first, from the CPU index when that answers,
# else with the rest.
define install
@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "imgcap needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d; try: make PYTHON=python3.12 ..." % v)'
$(PYTHON) -m venv $(VENV)
@test -z "$(TORCH_INDEX)" || $(PIP) install -q --no-deps --retries 0 --timeout 20 --index-url $(TORCH_INDEX) $(1) 2>/dev/null || echo "no CPU build of torch at $(TORCH_INDEX); taking the default one"
$(PIP) install -q $(2)
endef

# One environment; made again only when the requirements change.
.venv/installed: settings.ini setup.py imgcap/extras.py constraints.txt
	$(call install,$(TORCH),-c constraints.txt -e '.[dev]')
	@touch $@

demo: .venv/installed
	$(BIN)/imgcap demo

test: .venv/installed
	$(BIN)/python -m pytest -n $(JOBS) --durations=15

notebooks: .venv/installed
	$(BIN)/python scripts/rerun.py

jupyter: .venv/installed
	$(BIN)/python tests/lab.py

colab: .venv/installed
	$(BIN)/python tests/colab.py

bench: .venv/installed
	$(BIN)/imgcap bench
	$(BIN)/python bench/data.py
	$(BIN)/python bench/metrics.py
	$(BIN)/python bench/infer.py
	$(BIN)/python bench/train.py
	$(BIN)/python bench/chat.py

docs: .venv/installed
	$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs docs/_build/html

site: .venv/installed
	$(BIN)/python -m pytest tests/test_site.py

translations: .venv/installed
	$(BIN)/python -m sphinx -q -b gettext docs docs/_build/gettext

lint: .venv/installed
	$(BIN)/python -m ruff check -q imgcap tests bench scripts docs
	$(BIN)/python -m mypy

# 100 changed places; MUTANTS="metrics --count 20" for others, as scripts/mutants.py --help says
mutants: .venv/installed
	$(PIP) install -q -c constraints.txt cosmic-ray pytest-cov
	$(BIN)/python scripts/mutants.py $(MUTANTS)

# What a weekly run tries: all tests with the oldest versions that are allowed, and with the newest that pip finds,
# each in an environment of its own. ruff, mypy and the wheel do not depend on them.
OTHER_VERSIONS = $(BIN)/python -m pytest -n $(JOBS) --slow --ignore tests/test_code.py --ignore tests/test_wheel.py

oldest: VENV = .venv-oldest
oldest:
	@mkdir -p $(VENV)
	$(PYTHON) scripts/bounds.py > $(VENV)/oldest.txt
	$(call install,$$(grep ^torch== $(VENV)/oldest.txt),-r $(VENV)/oldest.txt -e .)
	$(OTHER_VERSIONS)

newest: VENV = .venv-newest
newest:
	$(call install,torch,--upgrade -e '.[dev]')
	$(OTHER_VERSIONS)

# The wheel of a release; TAG=v1.2.3 must be the version in settings.ini
dist: .venv/installed
	@test -z "$(TAG)" || test "$(TAG)" = "v$$(sed -n 's/^version = //p' settings.ini)" || { echo "tag $(TAG) is not the version in settings.ini"; exit 1; }
	rm -rf build dist
	$(PIP) wheel -q . --no-deps --no-build-isolation -w dist
	WHEEL=$$(ls dist/*.whl) $(BIN)/python -m pytest tests/test_wheel.py

clean:
	rm -rf .venv .venv-wheel .venv-oldest .venv-newest build dist runs *.egg-info .pytest_cache .mutants
