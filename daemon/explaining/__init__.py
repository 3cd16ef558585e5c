"""What a stored forecast looked at: found in the store, told as text, as JSON and as a picture."""
