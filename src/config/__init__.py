"""What a user may type: schemas of the six scripts, checks across fields, and the command line around them."""
