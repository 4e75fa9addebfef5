# The commands of this repository. `make demo` and `make test` install what they need first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test faults lint bench replicate dashboards report-example lock clean
demo: .venv/run.stamp
	@tools/need-programs mariadbd mariadb mariadb-install-db >&2
	@exec $(BIN)/axiomd demo $(ARGS)

test: .venv/test.stamp lint
	@tools/need-programs mariadbd mariadb mariadb-install-db curl openssl prometheus promtool alertmanager amtool \
		mosquitto mosquitto_passwd mosquitto_pub mosquitto_rr mosquitto_sub
	OPENBLAS_NUM_THREADS=1 PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/pytest --numprocesses 2 --dist worksteal $(ARGS)

# What `make test` does for a minute, for an hour.
faults: .venv/test.stamp
	@tools/need-programs mariadbd mariadb mariadb-install-db mosquitto mosquitto_passwd mosquitto_pub mosquitto_sub
	PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/python -m tests.faults $(ARGS)
	AXIOMD_MODEL_EXAMPLES=500 $(BIN)/pytest tests/faults/test_model.py

lint: .venv/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/test.stamp
	@tools/need-programs mariadbd mariadb mariadb-install-db
	$(BIN)/python -m benchmarks

# Every claim of every experiment over eight seeds, and a figure of each: half an hour on two cores.
replicate: .venv/run.stamp
	$(BIN)/axiomd experiments replicate
	$(BIN)/axiomd experiments figures

# Grafana's dashboards, and their pictures from a minute of the demo.
dashboards: .venv/test.stamp
	@tools/need-programs mariadbd mariadb mariadb-install-db prometheus
	OPENBLAS_NUM_THREADS=1 PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/python -m grafana --figures docs/figures

# The example in docs/ of what `axiomd report` writes: a minute of the demo.
report-example: .venv/run.stamp
	@tools/need-programs mariadbd mariadb mariadb-install-db
	PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/axiomd demo --duration 60 --seed 11 --report docs/report-example.html

.venv/run.stamp: requirements/run.txt pyproject.toml tools/make-venv
	@tools/make-venv $(PYTHON) run >&2

.venv/test.stamp: requirements/test.txt pyproject.toml tools/make-venv
	@tools/make-venv $(PYTHON) test >&2

# Pins every dependency, with hashes, from pyproject.toml.
lock: .venv/test.stamp
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --no-emit-options --no-header --allow-unsafe --extra build --output-file requirements/run.txt pyproject.toml
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --no-emit-options --no-header --allow-unsafe --extra build --extra test --output-file requirements/test.txt pyproject.toml

clean:
	rm -rf .venv .tools build *.egg-info
