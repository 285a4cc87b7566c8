"""What operators see: metrics, debugger events, structured logs."""
