"""Bundles: published models in one file, for machines without a network.

A bundle is a tar file without compression, whose members are, in this order::

    ingrain-bundle.json     the header: format, models, and size and checksum of every further object
    ingrain-bundle.sig      optional: the Ed25519 signature of the header's bytes
    objects/<sha256>        manifests and their files, named by checksum and sorted by name

No member's name comes from a model, so none leads anywhere. The same models give the same bytes.
"""
