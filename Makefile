# make demo     everything on a fresh machine: install, render a town, index it, find 400 pictures
# make test     the tests; at the end, what was skipped and why
# make test-services   what fetches, against real servers on this machine: Panoramax, titiler,
#                      MapProxy, PostgreSQL; installs them first (one by apt-get, as root)
# make test-engines   what runs on engines too large for CI: Ray, torchrun; installs Ray first (0.3 GB)
# make check    lint, format, types
# make mutants  change numbers that people feel, one at a time; a test must notice each
# make bench    the benchmarks; make bench NAME=index runs one
# make model    train the packaged model of Earth anew, from ORTHO=folder with the open orthophotos
# make model NAME=town   train the packaged model of towns anew (about 82 minutes on 2 cores)
# make tables   write the tables of methods in the documents anew, from the methods' pages
# make docs     the documentation as a site, site/index.html; a broken link fails it
# make links    ask for every address outside of the project that the documents name
# make locks    write requirements/*.txt anew: what constraints.txt says, with hashes (needs a network)
# make release-check   build what would be released, look at it, install it, run the demo from it;
#                      DEMO=token runs a small one, PUBLISH=yes looks at what an index asks for, too
# make release VERSION=0.5.0   say what would become of "Unreleased"; COMMIT=yes commits and tags it
# make vendor   refresh the browser libraries that the pages carry (needs npm and a network)
# Other interpreters: make test PYTHON=python3.12

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check
LOCKED = $(PIP_INSTALL) --require-hashes -r requirements
ITSELF = $(PIP_INSTALL) --no-deps --no-build-isolation
SOURCES := $(shell find src -type f -not -name '*.pyc')
NAME ?=
DEMO ?= whole
VERSION ?=

export PIP_NO_INPUT = 1

.PHONY: demo test test-services test-engines check mutants bench model model-earth model-earth-trained model-town vendor locks release-check release \
	tables docs links clean
.DEFAULT_GOAL := demo

demo: .venv/.installed
	.venv/bin/crossview demo

test: .venv-dev/.installed
	.venv-dev/bin/python -m pytest -n 2 --dist worksteal

# Each server in an environment of its own: they pin other versions of what crossview uses.
test-services: .venv-dev/.installed .venv-services/street/.installed .venv-services/maps/.installed \
	.venv-services/postgresql/.installed
	@bash tests/services/install_postgresql.sh
	.venv-dev/bin/python -m pytest tests/services --durations=8

# Engines that are too large for CI, in an environment that also sees what the tests need.
test-engines: .venv-dev/.installed .venv-engines/.installed
	.venv-engines/bin/python -m pytest tests/engines --durations=8

check: .venv-dev/.installed
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy

mutants: .venv-dev/.installed
	.venv-dev/bin/python -m scripts.mutants $(NAME)

ifeq ($(NAME),)
bench: .python
	@$(PYTHON) -m benchmarks.run
else
bench: .venv-dev/.installed
	@.venv-dev/bin/python -m benchmarks.run $(NAME)
endif

# The packaged models: render, train, export. Every line goes on where it was interrupted.
model: model-$(or $(NAME),earth)

# Towns and worlds of every country at once, then one training in stages that leave a checkpoint each;
# scripts/earth_on_gpu.sh final does the same on a GPU. Neither has been run to its end yet.
EARTH_DATA = --data pairs:runs/earth/towns/pairs.csv \
	--data pairs:$(subst $(space),$(comma),$(patsubst %/sample.csv,%/pairs.csv,$(wildcard runs/earth/*/sample.csv)))
comma := ,
space := $(subst ,, )
ORTHO ?= ../shared/data/ortho

model-earth: runs/earth/.rendered
	@$(MAKE) --no-print-directory model-earth-trained

runs/earth/.rendered: | .venv-dev/.installed
	.venv-dev/bin/python -m scripts.earth_on_gpu render --work runs/earth --ortho $(ORTHO) \
		--town-pairs 10800 --pairs 3000
	@touch $@

model-earth-trained: .venv-dev/.installed
	for stage in 1000 2000 3000; do .venv-dev/bin/crossview train --method compass --recipe earth \
		$(EARTH_DATA) --weights src/crossview/packaged_models/town --out runs/earth-1 \
		--until $$stage --save-every 100 --val-share 0 || exit 1; done
	.venv-dev/bin/crossview export runs/earth-1 --half --name earth --out src/crossview/packaged_models/earth
	.venv-dev/bin/python -m scripts.earth_facts src/crossview/packaged_models/earth

model-town: .venv-dev/.installed
	.venv-dev/bin/crossview train --method compass --data town:runs/town-pairs --out runs/town-1 \
		--until 1900 --save-every 100 --validate-every 800
	.venv-dev/bin/crossview train --method compass --data town:runs/town-pairs --out runs/town-2 \
		--weights runs/town-1/model.safetensors --steps 1250 --lr 1.2e-3 \
		--config warmup_steps=60 --config move_m=4.5 --config panoramas=0.2 \
		--config fov_deg=[55,150] --config ema_decay=0.995 --config smoothing=0.05 \
		--save-every 100 --validate-every 600
	.venv-dev/bin/crossview train --method compass --data town:runs/town-pairs --out runs/town-3 \
		--weights runs/town-2/model.safetensors --steps 1000 --lr 1.2e-3 --config batch=128 \
		--config warmup_steps=60 --config move_m=4.5 --config panoramas=0.12 \
		--config fov_deg=[60,130] --config ema_decay=0.995 --config smoothing=0.03 \
		--save-every 100 --validate-every 500
	.venv-dev/bin/crossview export runs/town-3 --half --name town --out src/crossview/packaged_models/town

vendor: | .python
	$(PYTHON) scripts/vendor.py

clean:
	rm -rf .venv .venv-dev .venv-release .venv-docs .venv-services .venv-engines site .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build demo-out

# The practitioner's environment: no torch. Made anew when the package's own files change. Every file
# that is installed has a sha256 in requirements; hatchling, which builds the package, too.
.venv/.installed: pyproject.toml requirements/install.txt $(SOURCES) | .python
	@echo "Installing crossview into .venv"
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@.venv/bin/python $(LOCKED)/install.txt
	@.venv/bin/python $(ITSELF) .
	@touch $@

# The builders' environment: training and tools, the package itself read from src.
.venv-dev/.installed: pyproject.toml requirements/dev.txt | .python
	@echo "Installing the tools and PyTorch into .venv-dev (several GB, once)"
	@test -x .venv-dev/bin/pip || $(PYTHON) -m venv .venv-dev
	@.venv-dev/bin/python $(LOCKED)/dev.txt
	@.venv-dev/bin/python $(ITSELF) -e .
	@touch $@

.venv-release/.installed: requirements/release.txt | .python
	@test -x .venv-release/bin/pip || $(PYTHON) -m venv .venv-release
	@.venv-release/bin/python $(LOCKED)/release.txt
	@touch $@

.venv-services/%/.installed: requirements/services-%.txt | .python
	@echo "Installing the servers of $(@D)"
	@test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(LOCKED)/services-$*.txt
	@touch $@

.venv-engines/.installed: requirements/engines.in | .venv-dev/.installed .python
	@echo "Installing Ray into .venv-engines"
	@test -x .venv-engines/bin/pip || $(PYTHON) -m venv .venv-engines
	@.venv-engines/bin/python $(PIP_INSTALL) -r requirements/engines.in
	@.venv-engines/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" | \
		xargs -I{} sh -c '.venv-dev/bin/python -c \
		"import sysconfig; print(sysconfig.get_path(\"purelib\"))" > {}/development.pth'
	@touch $@

# The site is built from the files alone: crossview is not installed for it, and nothing is fetched.
# Not with --quiet: it hides warnings from --strict, too.
.venv-docs/.installed: requirements/docs.txt | .python
	@echo "Installing the tools of the site into .venv-docs"
	@test -x .venv-docs/bin/pip || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python $(LOCKED)/docs.txt
	@touch $@

tables: .venv-dev/.installed
	.venv-dev/bin/python -m scripts.method_tables

docs: .venv-docs/.installed
	@NO_MKDOCS_2_WARNING=1 PATH="$(CURDIR)/.venv-docs/bin:$$PATH" .venv-docs/bin/mkdocs build
	@echo "site/index.html"

links: | .python
	$(PYTHON) -m scripts.links

release-check: .venv-release/.installed
	.venv-release/bin/python -m scripts.release_check --demo $(DEMO) $(if $(PUBLISH),--publish)

release: | .python
	@$(PYTHON) -m scripts.release $(VERSION) $(if $(COMMIT),--commit)

# Versions are chosen in constraints.txt and pyproject.toml; the hashes of all their files, for every
# system and Python from 3.11 on, are read from PyPI.
LOCK = .venv-release/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-annotate --no-header -c constraints.txt
locks: .venv-release/.installed
	$(LOCK) pyproject.toml requirements/build.in -o requirements/install.txt
	$(LOCK) --extra train --extra heif --extra report --extra serve --extra data --extra dev \
		pyproject.toml requirements/build.in -o requirements/dev.txt
	$(LOCK) --extra serve --extra heif pyproject.toml -o requirements/serve.txt
	$(LOCK) --extra train --extra heif --extra report --extra data pyproject.toml \
		-o requirements/train.txt
	$(LOCK) requirements/release.in -o requirements/release.txt
	$(LOCK) requirements/docs.in -o requirements/docs.txt
	$(subst -c constraints.txt,,$(LOCK)) requirements/services-street.in -o requirements/services-street.txt
	$(subst -c constraints.txt,,$(LOCK)) requirements/services-maps.in -o requirements/services-maps.txt
	$(subst -c constraints.txt,,$(LOCK)) requirements/services-postgresql.in -o requirements/services-postgresql.txt

.PHONY: .python
.python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. On Debian: apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make environments. On Debian: apt install python3-venv"; exit 1; }
