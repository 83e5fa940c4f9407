# Two commands: `make lab` opens the course, where you left off; `make test` runs every test. Each sets up what it needs first.
# All is done by start.py, which needs no make: `python start.py lab`. PYTHON=/path/to/python3.12 chooses another interpreter.
PYTHON3 := $(shell command -v python3.11 || command -v python3 || command -v python)
START := $(or $(PYTHON3),python3) start.py $(if $(PYTHON),--python $(PYTHON))

.PHONY: lab present setup slides site handout class test test-fast test-machines doctor lock clean

lab setup slides site handout class test test-fast test-machines doctor:
	@$(START) $@

# Another notebook: make present NOTEBOOK=07_mixture_of_experts
present:
	@$(START) present $(NOTEBOOK)

# For maintainers: the dependency list resolved anew (UPGRADE=--upgrade: with the newest versions)
lock:
	python3 -m venv .venv/lock && .venv/lock/bin/python -m pip install -q uv
	PATH=$(CURDIR)/.venv/lock/bin:$$PATH python3 .github/lock.py $(UPGRADE)
	rm -rf .venv/lock

clean:
	rm -rf .venv build *.egg-info
