"""Training by a recipe: the loop, what it is built from, and the folder of a run."""
