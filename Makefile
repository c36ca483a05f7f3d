# The front door; continuous integration calls the same targets. On Windows: the plain commands in README.md.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := PATH="$(CURDIR)/$(BIN):$$PATH"
TORCH  ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help setup demo pipeline ui serve test test-all lint format types bench weights clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and by its version: a range would let pip choose a CUDA build of several gigabytes
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

setup: $(VENV)/.installed weights  ## virtual environment, packages and the FID network

weights: $(VENV)/.installed  ## fetch and verify the FID network
	$(BIN)/mammogan weights

demo: setup pipeline  ## install, run the whole pipeline on the sample data, say how to look
	@echo
	@echo "Done. Look:   reports/report.html    the report, one page"
	@echo "              make ui                the eighteen runs in MLflow"
	@echo "              make serve             synthetic mammograms over HTTP"

pipeline:  ## dvc repro
	$(RUN) dvc repro

ui:  ## MLflow on loopback
	$(RUN) mammogan ui

MODEL ?= dcgan
serve:  ## the champion over HTTP on loopback (MODEL=stylegan for the other one)
	$(RUN) mammogan serve $(MODEL)

test: setup  ## the default tests
	$(BIN)/python -m pytest

test-all: setup  ## every test, the slow ones too
	$(BIN)/python -m pytest -m ""

lint: setup  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup  ## mypy --strict
	$(BIN)/mypy

bench: setup  ## the benchmarks behind every claim of speed
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python benchmarks/dcgan_step.py
	$(BIN)/python benchmarks/stylegan_step.py
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/fid.py
	$(BIN)/python benchmarks/training_overheads.py
	$(BIN)/python benchmarks/prepare_dicom.py
	$(BIN)/python benchmarks/prepare_workers.py
	$(BIN)/python benchmarks/copies.py

clean:  ## remove results and stores; data, code and settings stay
	rm -rf prepared studies registry synthetic reports checkpoints mlflow.db* optuna.db* .cache .locks
	find mlruns -mindepth 1 ! -name README.md -delete
