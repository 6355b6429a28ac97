# One environment, .venv, for everything, of the versions in requirements.lock. `make` alone lists the targets.
PYTHON ?= python3
TORCH ?= $(shell cat .venv/.torch 2>/dev/null)# cpu or nothing: as the environment was made
BIN := .venv/bin
READY := .venv/.ready
PIP := -m pip install --quiet --disable-pip-version-check
PAIR := torch==2.14.1 torchvision==0.29.1# what `make lock` takes: one is built for the other, and all was tried with these
CPU_WHEELS ?= https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-newest test-lowest lab lint lock notebooks weights solos scratch clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## the whole road on the toy orchestra: 4 minutes on two cores that compute in bf16, 7 on older ones
	$(BIN)/python -m sop_core demo

# Two processes side by side, with a thread each. One by one: the browser's, which hears sounds as they play; notebooks, which share folders.
BESIDE := OMP_NUM_THREADS=1
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: lint  ## lint, then tests/ and, through nbval, notebooks/
	$(BESIDE) $(BIN)/python $(PYTEST) tests -m "not browser"
	$(BIN)/python -m pytest tests/browser notebooks

test-fast: $(READY)  ## tests/ without the browser and the notebooks
	$(BESIDE) $(BIN)/python $(PYTEST) tests -m "not browser"

# In an environment of its own: which versions it has, and the fast tests.
TRY = $(1)/bin/python --version; $(1)/bin/python -m pip list | grep -E '^(torch|torchvision|av|numpy|scipy|pandas|librosa) '; \
  $(BESIDE) $(1)/bin/python $(PYTEST) tests -m "not browser"

test-newest:  ## tests/ and a short demo on the newest Python found, with the newest packages, without the lock
	@set -e; python=$$(.ci/newest-python) || { echo "test-newest: no Python from 3.12 on is here, so nothing was tested"; exit 0; }; \
	$$python -m venv --clear build/newest; build/newest/bin/python $(PIP) -e '.[dev]'; $(call TRY,build/newest); \
	rm -rf build/newest-demo; build/newest/bin/python -m sop_core demo --out build/newest-demo --set epochs=1

test-lowest: build/uv/bin/uv  ## tests/ with the lowest packages that pyproject.toml admits
	$(PYTHON) -m venv --clear build/lowest
	build/uv/bin/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct -e '.[dev]'
	@set -e; $(call TRY,build/lowest)

lab: $(READY)  ## JupyterLab on the notebooks; as root in a container: LAB="--allow-root --ip=0.0.0.0"
	$(BIN)/jupyter lab --notebook-dir=notebooks $(LAB)

# With the system's node, and without a look for newer versions: pyright fetches nothing.
PYRIGHT := PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

lint: $(READY)  ## errors and form (ruff), who imports whom (import-linter), types (pyright)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	@if command -v node >/dev/null; then $(PYRIGHT); else echo "lint: no node here, so pyright did not run"; fi

lock: build/uv/bin/uv  ## the newest versions of everything into requirements.lock, for all Pythons at once, with checksums
	printf '%s\n' $(PAIR) > build/pair.txt
	build/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --extra dev --constraint build/pair.txt \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

build/uv/bin/uv:
	$(PYTHON) -m venv --clear build/uv && build/uv/bin/python $(PIP) uv

notebooks: $(READY)  ## run every notebook from a fresh kernel and save it with its outputs
	@test ! -e data/real || { echo "notebooks: a picture of data/real would be saved in notebook 05; move that folder away first"; exit 1; }
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False \
	  --ExecutePreprocessor.record_timing=False notebooks/*.ipynb
	$(BIN)/python .ci/finished-bars notebooks/*.ipynb

weights: $(READY)  ## train the shipped demo weights anew and put them, with their numbers, into data/demo_weights
	rm -rf build/weights/ckpt
	$(BIN)/python -m sop_core demo --out build/weights
	cd build/weights && ../../$(BIN)/python -m sop_core evaluate ckpt/demo --index data/demo/test.csv --pairs ckpt/demo/metrics.pairs.csv \
	  --duets data/demo/test.csv --truth data/demo/truth --baselines nmf random
	mkdir -p data/demo_weights
	cp build/weights/ckpt/demo/config.json build/weights/ckpt/demo/model.safetensors \
	   build/weights/ckpt/demo/history.csv build/weights/ckpt/demo/clips.csv build/weights/ckpt/demo/metrics*.* data/demo_weights/

# General MIDI's programs for the labels that are not called like one
PROGRAMS ?= accordion=21 acoustic_guitar=24 acoustic_guitar=25 banjo=105 clarinet=71 flute=73 harp=46 piano=0 piano=1 \
  saxophone=64 saxophone=65 saxophone=66 trombone=57 trumpet=56 trumpet=59 tuba=58 violin=40 xylophone=13
PLAYED = $(foreach p,$(PROGRAMS),$(if $(wildcard $(PHOTOS)/$(firstword $(subst =, ,$(p)))),$(p)))
SOLOS := build/solos

solos: $(READY)  ## train data/weights anew: make solos PHOTOS=... SOUNDS=... SOUNDFONTS="...": see data/weights/README.md
	@test -n "$(PHOTOS)" -a -n "$(SOUNDS)$(SOUNDFONTS)" || { echo "solos: expected PHOTOS=FOLDER, and SOUNDS=FOLDER or SOUNDFONTS=\"FILE ...\""; exit 1; }
	$(BIN)/python -m sop_core compose $(PHOTOS) $(SOUNDS) --out $(SOLOS)/videos --solos 54 --duets 0 --dry --test-ratio 0 \
	  $(if $(SOUNDFONTS),--soundfont $(SOUNDFONTS) $(if $(PLAYED),--program $(PLAYED)))
	$(BIN)/python -m sop_core preprocess $(SOLOS)/videos --out $(SOLOS)/data --fps 1 --rate 22050 --audio-format wav
	$(BIN)/python -m sop_core index $(SOLOS)/data --test-ratio 0
	$(BIN)/python -m sop_core train --preset solos --train $(SOLOS)/data/train.csv --val $(SOLOS)/data/val.csv \
	  --id solos --ckpt $(SOLOS)/ckpt --resume
	$(BIN)/python -c "from sop_core.training.checkpoint import halve; halve('$(SOLOS)/ckpt/solos', 'data/weights')"

SCRATCH := absent=0 backbone=resnet18 pretrained=false image=112 frame_stride=8 frame_width=16 frame_groups=3 frame_dilation=false lr_fc=4e-4 lr_frame=4e-4

scratch: $(READY)  ## train the demo with eyes that start at random; its history goes beside the shipped weights, for notebook 03
	rm -rf ckpt/scratch
	$(BIN)/python -m sop_core train --preset demo --train data/demo/train.csv --val data/demo/val.csv --id scratch --set $(SCRATCH)
	mkdir -p data/demo_weights/from_scratch && cp ckpt/scratch/history.csv data/demo_weights/from_scratch/

clean:  ## remove what was made here, but not the environment
	rm -rf data/demo ckpt/demo build

# The stamp is written last: an environment that was left half-made has none, and is made anew. One that lost
# a package loses its stamp here. An unchanged one costs a tenth of a second.
WHOLE := import re; from importlib.metadata import requires, distribution; [distribution(re.match(r"[\w.-]+", r)[0]) for r in requires("sop-core")]
$(shell test -e $(READY) && ! $(BIN)/python -c '$(WHOLE)' 2>/dev/null && rm -f $(READY))

# TORCH=cpu: torch and torchvision of the same versions from PyTorch's own index, and nothing of what only GPUs need.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), expected Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -e $(READY) || $(PYTHON) -m venv --clear .venv
ifeq ($(TORCH),cpu)
	$(BIN)/python $(PIP) --no-deps --index-url $(CPU_WHEELS) $$(grep -oE '^torch(vision)?==[0-9.]+' requirements.lock)
	awk '/^[a-z]/ { cuda = /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==/ } !cuda' requirements.lock > .venv/cpu.lock
	$(BIN)/python $(PIP) --no-deps --require-hashes -r .venv/cpu.lock
else
	$(BIN)/python $(PIP) --no-deps --require-hashes -r requirements.lock
endif
	$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import torch, torchvision, matplotlib.pyplot, sop_core' # fails here rather than later; builds the font cache
	@echo '$(TORCH)' > .venv/.torch
	@touch $(READY)
