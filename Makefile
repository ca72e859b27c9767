# make help lists what there is.
SERVICES := common/test/services/services.sh

# Of `make drills` and `make soak`.
DRILLS := target/drills
MODES := queue inline service
SECONDS := 600

.PHONY: help demo test test-heavy lint services-install services bench aims memory profile screenshot drills soak alerts compose-live images-live
help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: ## see it work: a simulated Home Assistant, an embedded database, 30 seconds
	cargo run --release -p producer -- demo --seconds 30

services-install: ## install what the tests talk to: RabbitMQ, InfluxDB, nginx, Chromium (Debian)
	$(SERVICES) install

services: services-install ## start private services, print their addresses, stop them on Ctrl-C
	$(SERVICES) up

test: services-install ## all tests but the heavy ones, once, against the real services
	cargo test --workspace --no-run
	$(SERVICES) run -- cargo test --workspace --no-fail-fast -- --skip heavy::

test-heavy: services-install ## drills, load scenarios and a real Home Assistant (PyPI), once; CI runs it after test
	$(SERVICES) install home-assistant
	cargo test --workspace --no-run
	$(SERVICES) run -- cargo test --workspace --test suite heavy::

lint: ## what CI checks before the tests
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

aims: services-install ## every aim for speed but memory over half an hour: aim, measured, holds or not, command (three quarters of an hour; QUICK=1 is a trial)
	cargo build --profile dist -p producer -p worker -p loadtest
	target/dist/loadtest bench $(if $(QUICK),--quick)

memory: services-install ## half an hour at 10,000 events/s, then the table of the aims
	cargo build --profile dist -p producer -p worker -p loadtest
	target/dist/loadtest bench --only memory

profile: services-install ## where the processor time of producer and worker goes at RATE=10000 events/s, by crate (linux-perf)
	cargo build --profile dist -p producer -p worker -p loadtest
	loadtest/profile.sh $(RATE)

bench: aims ## the table of the aims, and benchmarks of the enrichment core and of the wire's codec in another
	rm -rf target/criterion
	cargo bench -p ha-enrich -p ha-batch -p ha-trace
	cargo run -q -p loadtest -- report --bench target/criterion

screenshot: services-install ## photograph the status page of a running producer into docs/images
	mkdir -p docs/images
	SCREENSHOT_DIR=$(CURDIR)/docs/images cargo test -p producer --test suite -- page::

drills: services-install ## every drill (over an hour), and docs/reliability.md of their reports
	cargo build --release -p producer -p worker -p loadtest
	failed=0; for mode in $(MODES); do \
	  target/release/loadtest run drill --fault all --mode $$mode --folder $(DRILLS) || [ $$? = 3 ] || failed=1; \
	done; \
	cargo build -p producer -p worker -p loadtest; \
	target/debug/loadtest run drill --fault worker-poison --folder $(DRILLS) || failed=1; \
	target/release/loadtest report $(DRILLS) --output docs/reliability.md && exit $$failed

alerts: services-install ## every alert's fault, firing and resolved, and every dashboard panel (a quarter of an hour)
	$(SERVICES) install prometheus alertmanager
	cargo build -p producer -p worker -p loadtest
	target/debug/loadtest alerts --output docs/alerts-proven.md

compose-live: ## run every profile of docker-compose.yml on an engine of its own, with stand-in images (root, Debian 12)
	cargo build -p producer -p worker -p loadtest
	deploy/checks/compose-live.sh target/compose-live

images-live: ## build deploy/Dockerfile on that engine, on stand-ins of what it starts from, and look at the images
	deploy/checks/dockerfile-live.sh target/compose-live

soak: services-install ## faults by chance for SECONDS=600; the report names the seed
	cargo build --release -p producer -p worker -p loadtest
	target/release/loadtest run soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))
