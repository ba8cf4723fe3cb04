"""Stacksona Gate: the decision and evidence layer in front of what AI agents do."""
