"""The command line: schemas of the six scripts, checks across fields, and the frame around a script."""
