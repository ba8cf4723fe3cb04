"""The API for admins."""
