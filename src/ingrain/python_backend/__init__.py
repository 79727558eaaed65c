"""Model code for Triton's Python backend; its source files are copied into the model repository."""
