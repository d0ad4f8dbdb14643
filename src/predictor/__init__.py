"""Mix or merge, before anything is trained twice: features of specialists, an atlas, a fitted predictor."""
