# One environment, .venv, for everything. `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lab lint notebooks weights clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY)  ## the whole road on the toy orchestra: about 8 minutes on two cores
	$(BIN)/python -m sop_core demo

test: $(READY)  ## tests/ and, through nbval, notebooks/
	$(BIN)/python -m pytest

test-fast: $(READY)  ## tests/ without the browser and the notebooks
	$(BIN)/python -m pytest tests -m "not browser"

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

lint: $(READY)  ## ruff: errors and form
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

notebooks: $(READY)  ## run every notebook from a fresh kernel and save it with its outputs
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False \
	  --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

weights: $(READY)  ## train the shipped demo weights anew and put them, with their numbers, into data/demo_weights
	$(BIN)/python -m sop_core demo --out build/weights
	mkdir -p data/demo_weights
	cp build/weights/ckpt/demo/config.json build/weights/ckpt/demo/model.safetensors \
	   build/weights/ckpt/demo/history.csv build/weights/ckpt/demo/clips.csv build/weights/ckpt/demo/metrics*.* data/demo_weights/

clean:  ## remove what was made here, but not the environment
	rm -rf data/demo ckpt/demo build

# The stamp is written last: an environment that was left half-made has none, and is made anew. One that lost
# a package loses its stamp here. An unchanged one costs a twentieth of a second.
WHOLE := import sys; from importlib.util import find_spec as f; sys.exit(not all(map(f, ("torch", "torchvision", "av", "jupyterlab", "nbval", "sop_core"))))
$(shell test -e $(READY) && ! $(BIN)/python -c '$(WHOLE)' 2>/dev/null && rm -f $(READY))

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), expected Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -e $(READY) || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@$(BIN)/python -c 'import torch, torchvision, matplotlib.pyplot, sop_core' # fails here rather than later; builds the font cache
	@touch $(READY)
