"""What leaves the gate over the network: calls to addresses that were checked, signed where they are webhooks."""
