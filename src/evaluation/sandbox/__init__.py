"""Run untrusted programs; the rest of the package uses only `Sandbox`."""
