# Two commands: `make lab` opens the course, `make test` runs every test. Each sets up what it needs first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Idle threads of torch sleep instead of spinning: with anything else running, small steps are a hundred times faster.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: lab test assets lint lock clean

lab: assets
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb --ServerApp.ip=127.0.0.1 \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.news_url=None

test: assets lint
	$(BIN)/python -m pytest

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
