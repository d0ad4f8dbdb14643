"""What a user may type: schemas of the five scripts, checks across fields, and the command line around them."""
