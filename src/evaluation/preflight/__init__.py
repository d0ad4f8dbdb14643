"""Confounds of a comparison, found in records and configs of its models before their scores are compared."""
