"""The pocket world: a generated benchmark and a model of about one million parameters, both derived from a seed."""
