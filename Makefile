.PHONY: build test race fuzz lint crash exchange bench clean ci

build:
	CGO_ENABLED=0 go build -trimpath -o posthorn .

test:
	go test -timeout 15m ./...

race:
	go test -race -timeout 20m ./...

# Each fuzz target for FUZZ_TIME (5s), one after the other.
fuzz:
	.ci/run fuzz

lint:
	.ci/run lint

# Kills, power cuts and full disks around commits: nothing acknowledged may be
# lost. CRASH_ROUNDS kills and ten times as many power cuts; docs/durability.md.
CRASH_ROUNDS ?= 50
crash:
	POSTHORN_CRASH_ROUNDS=$(CRASH_ROUNDS) go test -v -count=1 -timeout 60m -run 'Crash|Kill|Disk' ./storage/... ./integration_test/...

# Two servers that send each other mail, also while they are killed; docs/queue.md.
EXCHANGE ?= 5m
exchange:
	POSTHORN_EXCHANGE=$(EXCHANGE) go test -v -count=1 -timeout 60m -run TestTwoServersExchange ./integration_test

bench:
	go test -run '^$$' -bench . -benchmem -timeout 30m ./...

clean:
	rm -f posthorn
	go clean -testcache

# What the project's CI does.
ci:
	.ci/run
