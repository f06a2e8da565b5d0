"""The models under attack: architectures, weights, training."""
