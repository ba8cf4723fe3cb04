"""The API of the installation's operator."""
