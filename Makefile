.PHONY: help setup demo demo-dify check test bench bench-report chaos format lock

help: ## these lines
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

setup: ## .venv with the gate in it
	@scripts/setup gate

demo: setup ## serve the gate on http://127.0.0.1:8420 with a demo agent
	@.venv/bin/stacksona-gate demo

demo-dify: setup ## run the Dify refund workflow in Dify's engine against the demo gate
	@scripts/dify-engines
	@.venv-graphon-0.8/bin/python integrations/dify/demo.py --amount $(or $(AMOUNT),500)

check: ## format, lint, types and the fast tests
	@scripts/setup dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy gate/src gate/tests bench chaos sdk/python/src sdk/python/tests integrations/bridge/src integrations/bridge/tests
	.venv/bin/mypy --python-version 3.10 sdk/python/src
	.venv/bin/pytest -q -m "not slow and not browser" -n auto --dist worksteal

test: ## everything, browser included
	@scripts/test

bench: ## ratios, side by side in one run
	@scripts/setup dev
	.venv/bin/python -m bench

bench-report: ## everything and the peers, into docs/benchmarks.md; SHORT=1 for short rounds
	@scripts/bench-peers
	.venv/bin/python -m bench.page $(if $(SHORT),--short)

chaos: ## faults under load, checked: MINUTES=3 SEED=… DATABASE=postgresql|sqlite|pair|both|all FAULTS=a,b
	@scripts/setup dev
	.venv/bin/python -m chaos --minutes $(or $(MINUTES),3) --database $(or $(DATABASE),postgresql) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

format:
	@scripts/setup dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

lock:
	@scripts/lock
