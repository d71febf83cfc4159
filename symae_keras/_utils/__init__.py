"""What the rest of the package is built with; nothing here is public."""
