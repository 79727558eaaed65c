"""The model family of OpenCLIP."""
