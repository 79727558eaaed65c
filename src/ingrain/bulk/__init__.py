"""Embeds large data sets: on Ray, on Spark, or from file to file."""
