# Every target sets up what it needs on a bare machine, in .venv, and reuses it afterwards.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
AGAINST := .venv-against

.PHONY: demo quick test test-against lint bench docs gallery pictures chromium

demo: $(READY)
	$(BIN)/bitlens demo --out bitlens-demo
	@echo "To go on: $(BIN)/bitlens --help; or source $(BIN)/activate, then bitlens --help."

# The daily loop: what takes more than a few seconds waits for `make test`.
quick: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow and not against"

test: lint docs chromium
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -rs

# What other libraries make of the same thing. They want another numpy, so they live apart.
test-against: $(AGAINST)/ready
	OMP_NUM_THREADS=1 GPTQMODEL_CPU_WORKERS=2 $(AGAINST)/bin/python -m pytest -m against -rs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/sweep.py

# The documentation as build/site, built strictly: a link or a name that leads nowhere fails.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Reports to show, of the embedded model and of MODELS="path/to/one other/two", on TEXT=a file.
gallery: $(READY)
	$(BIN)/python tools/gallery.py $(if $(TEXT),--text $(TEXT)) $(MODELS)

# The README's pictures of the page, of the demo's report.
pictures: demo chromium
	$(BIN)/python tools/readme_pictures.py bitlens-demo

define python-3.11
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bitlens needs Python 3.11 or later: make PYTHON=python3.11")'
endef

# torch first: what comes after must find it, and never decide which one it is.
$(READY): pyproject.toml constraints.txt
	$(python-3.11)
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# dictionary-learning comes alone: what it asks for brings torchvision, which breaks transformers.
$(AGAINST)/ready: pyproject.toml constraints-against.txt
	$(python-3.11)
	test -x $(AGAINST)/bin/pip || $(PYTHON) -m venv $(AGAINST)
	$(AGAINST)/bin/pip install --quiet -c constraints-against.txt torch==2.13.0
	$(AGAINST)/bin/pip install --quiet -c constraints-against.txt -e '.[dev,against]'
	$(AGAINST)/bin/pip install --quiet -c constraints-against.txt --no-deps dictionary-learning
	touch $@

# The report is tested in a browser. Without one those tests skip, and pytest lists them.
chromium:
	@command -v chromium > /dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get > /dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; \
	} || echo "There is no chromium and it could not be installed: the browser tests will skip."
