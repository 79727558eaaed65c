"""The client for programs without an event loop; `make docs` writes its modules, ``transport.py`` apart."""
