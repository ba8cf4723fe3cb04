"""What operators see of a running gate: where a call belongs, numbers, spans. Imports nothing of ours."""
