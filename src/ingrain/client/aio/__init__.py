"""The client for programs with an event loop. The modules of ``sync`` are made of these: `make docs` after a change."""
