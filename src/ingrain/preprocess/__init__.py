"""Turns texts and images into model inputs."""
