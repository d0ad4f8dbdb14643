"""The figures of a study: each function turns tables into a `Picture`."""
