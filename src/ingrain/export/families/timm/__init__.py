"""The model family of timm."""
