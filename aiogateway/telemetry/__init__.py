"""What is known of calls afterwards: metrics, and records on their way to sinks. No call waits for anything here."""
