"""What the tools share: connection, parameters read strictly, questions, outputs. Nothing in here knows Dify."""
