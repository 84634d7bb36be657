"""One module per deployment target: export a model to a file, load the file, describe it."""
