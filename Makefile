# make run · test · check · conformance · docs · bench · bench-batch · azure-smoke · launcher · clean. Each sees to what it needs, once.
PYTHON_IN_VENV := .venv/bin/python

.PHONY: run test check conformance docs bench bench-batch azure-smoke launcher clean

run: .venv/run.stamp
	@$(PYTHON_IN_VENV) -m tesgw_local.machine
	@$(PYTHON_IN_VENV) -m scripts.first_task $(ARGS)

# Without an engine, or Azurite, the tests that need one are skipped, or fail where CI=true: tests/conftest.py decides.
test: .venv/test.stamp
	@$(PYTHON_IN_VENV) -m tesgw_local.machine || true
	@$(PYTHON_IN_VENV) -m tesgw_batch.azurite || true
	@$(PYTHON_IN_VENV) -m pytest $(ARGS)

check: .venv/check.stamp
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@$(PYTHON_IN_VENV) -m scripts.check_budgets
	@$(PYTHON_IN_VENV) -m scripts.docs --check

# What the conformance suite finds of each backend, for the tests to compare with and for the README's table.
conformance: .venv/test.stamp
	@$(PYTHON_IN_VENV) -m tesgw_local.machine
	@$(PYTHON_IN_VENV) -m tesgw_batch.azurite
	@$(PYTHON_IN_VENV) -m scripts.conformance
	@$(PYTHON_IN_VENV) -m scripts.docs

docs: .venv/run.stamp
	@$(PYTHON_IN_VENV) -m scripts.docs

bench: .venv/run.stamp
	@$(PYTHON_IN_VENV) -m tesgw_local.machine
	@$(PYTHON_IN_VENV) -m benchmarks.run $(ARGS)

bench-batch: .venv/test.stamp
	@$(PYTHON_IN_VENV) -m benchmarks.batch $(ARGS)

# Against the real Batch account that the gateway's settings in the environment name.
azure-smoke: .venv/test.stamp
	@$(PYTHON_IN_VENV) -m scripts.azure_smoke $(ARGS)

launcher: .venv/test.stamp
	@$(PYTHON_IN_VENV) -m scripts.build_launcher

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis .import_linter_cache build dist

.venv/%.stamp: pyproject.toml scripts/venv.sh
	@sh scripts/venv.sh $*
	@touch $@
