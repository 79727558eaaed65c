"""A loaded model: its preprocessing, and a queue for each of its graphs."""
