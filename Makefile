# `make demo` and `make test` are all that a newcomer needs: Python 3 and make are enough.
# uv is taken from the PATH, or put into .tools/ ; the environment goes into .venv/ .

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .tools/uv/bin/uv)
BIN := .venv/bin
# What the tests need: CytoDL and the extras, in the versions of versions.txt.
EXTRAS := annotation,bioimageio,cloud,cytodl,czi,dask,demo,onnx,postgresql,study,viewer,volumes
# Three files of tests at a time, each on one core: some wait for servers and other processes.
# Without a screen, the tests of the viewer get a virtual one; without Xvfb they are skipped. With a
# screen and a Qt, matplotlib would open windows: Agg draws files only.
SCREEN := $(if $(DISPLAY),,$(shell command -v xvfb-run >/dev/null && echo xvfb-run -a -s '"-screen 0 1280x800x24"'))
PYTEST := OMP_NUM_THREADS=1 MPLBACKEND=Agg $(SCREEN) $(BIN)/pytest -n 3 --dist loadfile
# The Debian packages with which napari runs where there is no screen.
SCREEN_PACKAGES := xvfb xauth libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0 \
  libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-image0 libxcb-render-util0 libxcb-xinerama0 \
  libdbus-1-3 libfontconfig1

# Extra wheel folders that pip is told of are told to uv too (a CPU build of torch may lie there).
WHEELS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
empty :=
space := $(empty) $(empty)
comma := ,
ifneq ($(strip $(WHEELS)),)
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(WHEELS)))
endif

# Without bytecode files each process compiles what it imports anew; torch alone takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup upgrade licences docs pictures demo test test-slow lint bench ui view setup-screen clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready ## make the environment in .venv, with the versions in versions.txt

.venv/.ready: pyproject.toml versions.txt .python-version
	@command -v $(UV) >/dev/null || $(MAKE) --no-print-directory .tools/uv/bin/uv
	$(UV) venv --quiet --allow-existing .venv
	$(UV) pip install --quiet --python .venv --constraints versions.txt --group dev \
	  --editable ".[$(EXTRAS)]"
	@touch $@

upgrade: ## make versions.txt anew from the latest releases, and run the tests with them
	@command -v $(UV) >/dev/null || $(MAKE) --no-print-directory .tools/uv/bin/uv
	$(UV) pip compile --quiet --universal --upgrade --python-version 3.11.4 --group dev \
	  $(foreach extra,$(subst $(comma), ,$(EXTRAS)),--extra $(extra)) pyproject.toml \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --output-file .versions.new
	sed -E -e '/^-/d' -e '/^(nvidia|cuda)-/d' -e 's/(==[0-9.]+)\+[a-z0-9]+/\1/' .versions.new > versions.txt
	@rm .versions.new
	$(MAKE) test test-slow

.tools/uv/bin/uv:
	$(PYTHON) -m venv .tools/uv
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv

demo: setup ## the loop on a real stack, first without a label, about 2 minutes on 2 CPU cores; leaves demo/
	$(BIN)/cytoloop demo --output demo

test: setup lint ## lint, types, fast and integration tests
	$(PYTEST) -m "not slow"

test-slow: setup ## whole loops, the wheel, the notebooks
	$(PYTEST) -m slow

lint: setup ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: setup ## speed and quality tables (see docs/benchmarks.md)
	@for file in benchmarks/*.py; do echo "$$file"; $(BIN)/python $$file || exit 1; done

ui: setup ## the MLflow UI on this folder's runs, or on the demo's
	cd $(if $(wildcard mlflow.db),.,$(if $(wildcard demo/mlflow.db),demo,.)) && \
	  $(CURDIR)/$(BIN)/cytoloop ui

# Without a data set here: that of the demo, else the images of the demo.
view: setup ## napari with the CytoLoop panels
	@test -e dataset/dataset.csv -o -d demo || $(BIN)/cytoloop demo --images stacks --output demo
	@if test -e dataset/dataset.csv; then $(BIN)/cytoloop view data.path=dataset; \
	elif test -e demo/round1/dataset.csv; then $(BIN)/cytoloop view data.path=demo/round1; \
	else $(BIN)/cytoloop view input=demo; fi

setup-screen: ## (Debian, as root) what the tests of the viewer need where there is no screen
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(SCREEN_PACKAGES)

docs: setup ## the documentation site, into build/site (open index.html)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: setup ## the pictures of the documentation, from demo/, synthetic images and DSB 2018
	$(BIN)/python scripts/pictures.py

licences: setup ## write docs/reference/licences.md from the installed packages
	$(BIN)/python scripts/licences.py

clean: ## remove the environment, the tools and the demo's output
	rm -rf .venv .tools demo build dist uv.lock
