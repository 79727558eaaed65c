"""What families have in common whose networks or tokenizers are of transformers."""
