"""The HTTP service: wire, queue, durable statistics. It imports rm_core and nothing of training."""
