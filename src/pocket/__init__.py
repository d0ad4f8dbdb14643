"""The pocket world: a generated benchmark and a model of about one million parameters, both from a seed."""
