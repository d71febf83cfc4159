"""The commands of `symae`, which only read options and print; jobs do the work."""
