"""Turns model outputs into what the request asks for: cut, normalized, quantized, probabilities."""
