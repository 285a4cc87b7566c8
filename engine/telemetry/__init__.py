"""What is told to operators: metrics, debugger events, structured logs."""
