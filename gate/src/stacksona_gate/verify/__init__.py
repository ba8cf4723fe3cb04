"""What needs neither a gate nor its database: checking what a gate handed out, and witnessing its checkpoints."""
