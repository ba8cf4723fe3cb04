"""SQL by noun, common to all databases."""
