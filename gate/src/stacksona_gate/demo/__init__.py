"""A prepared gate and an agent that asks it about refunds."""
