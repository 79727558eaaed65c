"""The HTTP APIs of the server: one module or folder for each dialect; ``table.py`` lists them."""
