"""The API behind the inbox, for people and their programs."""
