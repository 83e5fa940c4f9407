# Two commands: `make lab` opens the course, where you left off; `make test` runs every test. Each sets up what it needs first.
# For a lecture: `make present` (JupyterLab, large, one notebook at a time), `make slides` and `make site` (no kernel needed).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Idle threads of torch sleep instead of spinning: with anything else running, small steps are a hundred times faster.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: lab present slides site handout test test-fast assets lint lock clean

LAB := $(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.news_url=None

lab: assets
	$(LAB) $$($(BIN)/python -m course_utils.progress)

# JupyterLab in its presentation mode (View > Presentation Mode, which no option starts: hence the extension), one document at a time.
# Another notebook: make present NOTEBOOK=07_mixture_of_experts
NOTEBOOK ?= 00_start_here
present: assets
	$(LAB) --LabApp.extra_labextensions_path=course_utils/static/lab --LabApp.default_url=/doc/tree/notebooks/$(NOTEBOOK).ipynb

slides site: .venv/ready
	$(BIN)/python -m course_utils.export $@

handout: .venv/ready
	$(BIN)/python -m course_utils.handout

test: assets lint
	$(BIN)/python -m pytest -n auto

# While you work: no notebook is run, no browser opened, and no test that takes long.
test-fast: lint
	$(BIN)/python -m pytest -n auto tests --ignore tests/browser -m "not slow"

lint: .venv/ready
	$(BIN)/ruff check course_utils tests data/recipes

assets: .venv/ready
	$(BIN)/python -m course_utils.assets

.venv/ready: pyproject.toml requirements.lock
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "Python 3.11 is needed: install it, or name it with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar off -q -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

# Resolve the dependency list anew. The local build tag of torch is dropped: which build is right is the machine's affair.
lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --progress-bar off -q .
	.venv/lock/bin/python -m pip freeze --exclude many-models | sed -e 's/^torch==\([0-9.]*\)+.*/torch==\1/' -e "s/^triton==.*/&; sys_platform == 'linux'/" > requirements.lock
	rm -rf .venv/lock build

clean:
	rm -rf .venv build *.egg-info
