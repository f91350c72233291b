"""Load tests: seeded workloads, an open-loop generator over HTTP, an in-process benchmark, peers.

Everything speaks HTTP and knows our packages not at all, so that it proves the wire contract; only
`loadtest.bench`, which times the engine without a server, imports `rm_core`.
"""
