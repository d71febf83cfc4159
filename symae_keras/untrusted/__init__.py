"""Loading of models that strangers may have made, as data: no code runs.

`models.load_model` is the one place of the package that gives a saved model to Keras.
`SECURITY.md` describes the threat model.
"""
