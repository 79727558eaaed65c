"""Many requests in, few engine calls out."""
