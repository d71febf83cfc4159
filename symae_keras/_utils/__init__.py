"""Private building blocks of the package."""
