"""Code shared by the families whose networks or tokenizers come from transformers."""
