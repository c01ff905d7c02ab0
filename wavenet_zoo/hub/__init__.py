"""Weights on the Hub: publishing them with everything that says what they are, and getting them back."""
