"""A finished run's model as files that other programs take; nothing of this project is needed to read them."""
