# make demo   caption drawings: install, train, evaluate, look      make test   every gate that CI runs
# make notebooks   run all notebooks anew, outputs included          make bench  measure speed and memory          make clean  remove what make made
PYTHON ?= python3
# Where CPU builds of torch are; on Linux the default index brings gigabytes of CUDA libraries. "" turns it off.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
.DEFAULT_GOAL := help
.PHONY: help demo test notebooks bench clean

help:
	@sed -n '1,2s/^# //p' Makefile

# One environment; made again only when the requirements change.
.venv/installed: settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "imgcap needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d; try: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv .venv
	@# torch alone first: from the CPU index when it answers, else it comes with the rest
	@test -z "$(TORCH_INDEX)" || $(PIP) install -q --no-deps --retries 0 --timeout 20 --index-url $(TORCH_INDEX) $(TORCH) 2>/dev/null || echo "no CPU build of torch at $(TORCH_INDEX); taking the default one"
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/imgcap demo

test: .venv/installed
	$(BIN)/python tests/gates.py

notebooks: .venv/installed
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace nbs/*.ipynb
	$(BIN)/nbdev_clean

bench: .venv/installed
	$(BIN)/python bench/data.py
	$(BIN)/python bench/metrics.py

clean:
	rm -rf .venv .venv-wheel build dist runs *.egg-info
