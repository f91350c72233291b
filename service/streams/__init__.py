"""Streams: running statistics and the ledger of what was counted, durable in SQLite."""
