"""What the commands do; each works in Python too, and prints nothing but progress."""
