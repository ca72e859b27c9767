# make help lists what there is.
SERVICES := common/services/services.sh

.PHONY: help demo test lint services-install services bench screenshot
help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: ## see it work: a simulated Home Assistant, an embedded database, 30 seconds
	cargo run --release -p producer -- demo --seconds 30

services-install: ## install RabbitMQ, InfluxDB, Home Assistant (PyPI) and the rest that the tests talk to (Debian)
	$(SERVICES) install

services: services-install ## start private services, print their addresses, stop them on Ctrl-C
	$(SERVICES) up

test: services-install ## everything, against the real services
	cargo build --workspace --bins
	$(SERVICES) run -- cargo test --workspace

lint: ## what CI checks before the tests
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: ## benchmarks of the enrichment core
	cargo bench -p ha-enrich

screenshot: services-install ## photograph the status page of a running producer into docs/images
	mkdir -p docs/images
	SCREENSHOT_DIR=$(CURDIR)/docs/images cargo test -p producer --test suite -- page::
