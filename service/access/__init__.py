"""Who may call what: scopes, the API keys that carry them, and the file that keys are kept in."""
