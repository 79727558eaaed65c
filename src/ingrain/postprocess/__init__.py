"""Converts model outputs: cuts, normalizes and quantizes vectors, and turns logits into probabilities."""
