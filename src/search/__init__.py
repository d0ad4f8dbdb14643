"""Search for the best merge point: a space of keys, Optuna's samplers, and a loop that survives interruptions."""
