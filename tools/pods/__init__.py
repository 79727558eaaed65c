"""Runs the pods that the Helm chart renders as processes of this machine, without a cluster and without containers."""
