"""Readers of users' files, one module a format; `symae_keras.data.load` picks one.

A reader takes a path and the name of the group column, and returns `GroupedData`. Its
errors are sentences that go behind "my.csv: "; `load` adds the file, and tells whatever
else a parser raises as "my.csv cannot be read".
"""
