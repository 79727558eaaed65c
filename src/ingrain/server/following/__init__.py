"""Follows requests through their stages: traces, the access log, ``Server-Timing`` and the metrics of stages."""
