"""Runs untrusted programs: `Sandbox` is what the rest of the package uses."""
