"""`diagnose.py predict=true`: features of specialists, and what the fitted predictor says of them."""
