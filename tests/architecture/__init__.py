"""The rules of the source tree, as functions that return what breaks them."""
