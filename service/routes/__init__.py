"""One module per route; each exposes `router`, which `service.app` mounts."""
