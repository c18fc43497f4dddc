# make check is what must pass before a change is taken. Everything else here is for comfort.

GO      ?= go
FUZZTIME ?= 30s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.PHONY: all build check fmt vet staticcheck test tidy vuln size bench torture interop fuzz generate clean

all: build

build: ## the binary, reproducible
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o postern ./cmd/postern

check: fmt vet staticcheck tidy test size vuln ## all that must pass
	@echo "check: all passed"

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt -w these:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...

staticcheck:
	$(GO) tool staticcheck ./...

tidy:
	$(GO) mod tidy -diff
	$(GO) mod verify

# Without this every process sleeps for a second before it exits, and some tests start dozens.
test: export GORACE = atexit_sleep_ms=0
test: ## every test, with the race detector, in random order
	$(GO) test -race -shuffle=on -timeout 5m ./...

size: ## warns of what grew too large, and never fails
	@$(GO) test -count=1 -run '^TestSize$$' -v . | grep warning || true

# govulncheck needs its database. Where that cannot be reached it says so and goes on; a fault that it finds is one.
vuln:
	@if out=$$($(GO) tool govulncheck ./... 2>&1); then echo "govulncheck: no known vulnerability is called"; \
	elif echo "$$out" | grep -qE 'dial tcp|no such host|fetching vulnerabilities|i/o timeout|proxyconnect|Forbidden|status code'; then \
		echo "govulncheck: skipped, its database cannot be reached"; \
	else echo "$$out"; exit 1; fi

bench: ## beside Postfix, in about eight minutes, then the benchmarks of every package
	$(GO) run ./bench
	$(GO) test -short -run '^$$' -bench . -benchtime 200ms -benchmem $$($(GO) list ./... | grep -v /bench)

torture: ## kill -9, faults, the order of writes and of events, at length: prints what it counted
	$(GO) test ./bench -count=1 -v -timeout 6h -args -long
	$(GO) test ./routing -count=1 -v -timeout 6h -run 'ExactlyOnce|Privacy' -rapid.checks=100000
	$(GO) test ./dsn -count=1 -v -run 'Mangled|Golden|FalseFailures' -args -long

# OpenPGP.js reads what RFC 9580 brought, which no program in Debian does yet; without npm it is left out.
interop: ## every OpenPGP program with every kind of key, and with 25 MB
	-cd pgp/testdata/openpgpjs && npm install --no-save --no-package-lock --no-audit --no-fund
	$(GO) test ./pgp -count=1 -v -timeout 30m -run 'Readers|GPG|SQ|OpenPGPJS|SealCopyRead' -args -long

fuzz: ## every fuzz target for $(FUZZTIME)
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "== $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

generate: ## what is written by programs: docs/states.md
	$(GO) generate ./...

clean:
	rm -f postern
