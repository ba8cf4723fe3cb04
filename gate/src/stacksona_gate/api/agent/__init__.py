"""The API that agents and verifiers call."""
