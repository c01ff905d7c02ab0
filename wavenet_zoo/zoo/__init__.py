"""The maintained collection of models and weights, and publishing weights on the Hub."""
