"""The maintained collection: models, weights, and publishing them on the Hub."""
